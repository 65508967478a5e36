"""The life of an experiment: what is written, what runs, what every server reads, and what is refused before it starts."""

from __future__ import annotations

import shutil

import pytest

from tastemaker.domain import Arm, Experiment, ModelCard
from tastemaker.errors import Conflict, InputError, NotFound
from tastemaker.registry import experiments
from tastemaker.registry.experiments import create, found, ramp, restore, running, start, stop
from tastemaker.storage import Storage, keys


def cards(
    name: str = "cards", *, coverage: float = 1.0, sticky: bool = False, layer: str = "default", **more: object
) -> Experiment:
    arms = (Arm("control"), Arm("diverse", settings={"diversity": 0.3}))
    return Experiment(name, arms, coverage=coverage, sticky=sticky, layer=layer, **more)  # type: ignore[arg-type]  # fields by name


def told(storage: Storage) -> list[str]:
    """What servers are told to run."""
    return [experiment.name for experiment in running(storage.kv.get([keys.EXPERIMENTS])[0])]


def test_a_draft_changes_nothing_until_it_is_started(storage: Storage) -> None:
    made = create(storage, cards(), 5)
    assert (made.state, made.version, made.made) == ("draft", 1, 5)
    assert told(storage) == []
    started = start(storage, "cards", 7)
    assert (started.state, started.started) == ("running", 7)
    assert told(storage) == ["cards"]
    assert found(storage, "cards") == started


def test_stopping_tells_every_server_and_keeps_what_was_decided(storage: Storage) -> None:
    create(storage, cards(), 1)
    start(storage, "cards", 2)
    ended = stop(storage, "cards", 9, "shipped by Ann")
    assert (ended.state, ended.ended, ended.outcome) == ("stopped", 9, "shipped by Ann")
    assert told(storage) == []


def test_what_has_run_comes_again_as_a_new_version_and_the_old_one_stays(storage: Storage) -> None:
    create(storage, cards(), 1)
    create(storage, cards(coverage=0.5), 2)
    assert [one.version for one in storage.tables.experiments.versions("cards")] == [1], "a draft is written over"
    start(storage, "cards", 3)
    with pytest.raises(Conflict, match="'cards' runs: stop it first"):
        create(storage, cards(), 4)
    stop(storage, "cards", 5)
    with pytest.raises(Conflict, match="'cards' is stopped: create it again, as a new version"):
        start(storage, "cards", 6)
    again = create(storage, cards(), 7)
    assert (again.version, again.state) == (2, "draft")
    assert [one.state for one in storage.tables.experiments.versions("cards")] == ["draft", "stopped"]


def test_what_the_platform_writes_is_not_taken_from_a_draft(storage: Storage) -> None:
    made = create(storage, cards(state="running", version=7, started=3, ended=4, outcome="won"), 1)
    assert (made.state, made.version, made.started, made.ended, made.outcome) == ("draft", 1, None, None, "")


def test_the_coverage_only_grows_while_units_would_move(storage: Storage) -> None:
    create(storage, cards(coverage=0.2), 1)
    start(storage, "cards", 2)
    assert ramp(storage, "cards", 0.6).coverage == 0.6
    assert running(storage.kv.get([keys.EXPERIMENTS])[0])[0].coverage == 0.6
    with pytest.raises(InputError, match=r"it is 0\.6, and only grows while the experiment runs"):
        ramp(storage, "cards", 0.5)
    with pytest.raises(InputError, match=r"coverage = 1\.5: expected `float` <= 1\.0"):
        ramp(storage, "cards", 1.5)
    stop(storage, "cards", 3)
    with pytest.raises(Conflict, match="nobody takes part"):
        ramp(storage, "cards", 0.9)
    with pytest.raises(Conflict, match="only one that runs can be stopped"):
        stop(storage, "cards", 4)


def test_a_sticky_experiment_may_shrink(storage: Storage) -> None:
    create(storage, cards(sticky=True), 1)
    start(storage, "cards", 2)
    assert ramp(storage, "cards", 0.1).coverage == 0.1


def test_two_that_decide_the_same_for_the_same_units_cannot_run_together(storage: Storage) -> None:
    create(storage, cards(), 1)
    start(storage, "cards", 2)
    create(storage, cards("rival"), 3)  # may be written while the other one runs
    create(storage, cards("elsewhere", layer="other"), 3)
    with pytest.raises(InputError, match="overlaps 0 to 1 of 'cards'"):
        start(storage, "rival", 3)
    with pytest.raises(InputError, match="decides diversity, too"):
        start(storage, "elsewhere", 3)
    assert told(storage) == ["cards"]
    stop(storage, "cards", 4)
    assert start(storage, "rival", 5).state == "running"


def test_halves_of_a_layer_run_side_by_side(storage: Storage) -> None:
    for name, begin, end in (("left", 0.0, 0.5), ("right", 0.5, 1.0)):
        create(storage, cards(name, start=begin, stop=end), 1)
        start(storage, name, 2)
    assert sorted(told(storage)) == ["left", "right"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Experiment("x", (Arm("a"), Arm("b", settings={"divrsity": 0.3}))), r"settings.divrsity.*did you mean.*diversity"),
        (Experiment("x", (Arm("a"), Arm("b", settings={"diversity": "much"}))), r"settings.diversity"),
        (Experiment("x", (Arm("a"), Arm("b", model="als-404"))), r"arms\[1\].model.*no such model version"),
        (Experiment("x", (Arm("a"), Arm("b")), metrics=("crt",)), r"metrics.*did you mean.*ctr"),
        (Experiment("x", (Arm("a"), Arm("b")), guardrails={"rewrd": 0.1}), r"guardrails.*did you mean.*reward"),
        (Experiment("a/b", (Arm("a"), Arm("b"))), r"name.*part of addresses"),
        (Experiment("x", (Arm("a", 0.5), Arm("b", 0.4))), r"weights of all arms add up to 1"),
        (Experiment("x", (Arm("a"), Arm("b")), forced={"ann": "c"}), r"forced\['ann'\].*no such arm"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_not_even_written(storage: Storage, wrong: Experiment, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create(storage, wrong, 1)
    assert storage.tables.experiments.all() == []


def test_a_model_that_has_gone_since_is_found_at_the_start(storage: Storage) -> None:
    folder = storage.config.model_folder / "m-1" / "model"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}", "utf-8")
    storage.tables.models.put(ModelCard("m-1", "als", "candidate", 1, {}, {}, "1", "1", "0", artifact="m-1/model"))
    create(storage, Experiment("x", (Arm("a"), Arm("b", model="m-1"))), 1)
    assert experiments.versions(storage) == {"m-1"}
    shutil.rmtree(folder.parent)
    with pytest.raises(InputError, match="its artifact is gone"):
        start(storage, "x", 2)
    assert told(storage) == []


def test_a_store_that_was_lost_is_told_again_what_runs(storage: Storage) -> None:
    restore(storage)
    assert storage.kv.get([keys.EXPERIMENTS]) == [None], "nothing ever ran"
    create(storage, cards(), 1)
    start(storage, "cards", 2)
    storage.kv.delete([keys.EXPERIMENTS])
    restore(storage)
    assert told(storage) == ["cards"]


def test_a_start_that_was_interrupted_before_servers_were_told_is_made_good(storage: Storage) -> None:
    create(storage, cards(), 1)
    start(storage, "cards", 2)
    before = storage.kv.get([keys.EXPERIMENTS])[0]
    assert before is not None
    stop(storage, "cards", 3)
    storage.kv.put({keys.EXPERIMENTS: before})
    restore(storage)
    assert told(storage) == []


def test_an_unknown_name_is_answered_with_a_near_one(storage: Storage) -> None:
    create(storage, cards(), 1)
    with pytest.raises(NotFound, match=r"'crads'.*did you mean \"cards\""):
        found(storage, "crads")
