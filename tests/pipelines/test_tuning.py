"""The search: on events that the test never asks about, repeatable through kills, and true about its winner."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Self
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

import world
from tastemaker.config import Config, Evaluate, Reward, Rewards
from tastemaker.domain import Interaction, ItemChange, UserChange
from tastemaker.errors import ConfigError, Conflict, InputError, NotFound, StorageError
from tastemaker.evaluation.evaluate import lists_of, with_fallback
from tastemaker.evaluation.metrics import evaluate_lists
from tastemaker.evaluation.splits import leave_one_out, temporal
from tastemaker.models import MODELS, Progress, create, silent
from tastemaker.models.interactions import Interactions
from tastemaker.models.popular import Popular
from tastemaker.models.space import Among, Between
from tastemaker.pipelines.training import training_set
from tastemaker.pipelines.tuning.report import page, write_report
from tastemaker.pipelines.tuning.search import Found, Pace, check_extra, search
from tastemaker.pipelines.tuning.study import Study, raw_of, value_of
from tastemaker.pipelines.tuning.task import Task, folder_of, inner_split, task_of
from tastemaker.storage import Storage, connect
from tastemaker.storage.archive import archive
from tastemaker.storage.lockfile import locked

POOR = {"popular": {"half_life_days": 0.001}, "item_knn": {"user_power": 2.0, "target_power": 2.0}}


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[tuple[Storage, Config]]:
    """A small world in the lake, and a configuration that leaves room for better."""
    config = replace(world.config_of(tmp_path / "home"), models=POOR)
    with connect(config) as storage:
        world.fill(storage, users=60, items=40, per_user=15)
        archive(storage.log, storage.lake)
        yield storage, config


@pytest.fixture
def task(filled: tuple[Storage, Config]) -> Task:
    return task_of(*filled, "popular")


def tried(found: Found) -> list[tuple[dict[str, Any], float | None]]:
    return [(trial.params, trial.value) for trial in found.tried]


def events(data: Interactions) -> set[tuple[int, int, int]]:
    """(row, item, time) of every event."""
    histories = data.histories
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    return set(zip(rows.tolist(), histories.items.tolist(), histories.times.tolist(), strict=True))


# ── what is searched, and on what ───────────────────────────────────────────────────────────────────────────────────


def test_the_temporal_validation_lies_before_every_test_event(filled: tuple[Storage, Config]) -> None:
    storage, config = filled
    data = training_set(storage, config, {"interactions": storage.lake.version("interactions")})
    outer = temporal(data, config.evaluate.test_fraction)
    task = task_of(storage, config, "popular")
    learnt, asked = events(task.split.train), events(outer.train)
    assert learnt < asked < events(data)
    held_out = asked - learnt
    assert max(time for *_, time in learnt) < min(time for *_, time in held_out)
    assert max(time for *_, time in held_out) <= outer.train.now < min(time for *_, time in events(data) - asked)
    pairs = {(row, item) for row, item, _ in held_out}
    split = task.split
    wanted = {(int(row), int(item)) for place, row in enumerate(split.users) for item in split.relevant.row(place)}
    assert wanted <= pairs
    assert task.split.train.now <= max(time for *_, time in learnt)


def test_test_events_move_no_value_of_a_trial(filled: tuple[Storage, Config]) -> None:
    """The same world with another future: everybody takes the same item in the test."""
    storage, config = filled
    data = training_set(storage, config, {"interactions": storage.lake.version("interactions")})
    late = data.histories.times > temporal(data, config.evaluate.test_fraction).train.now
    assert late.any()
    items = np.where(late, np.int32(0), data.histories.items)
    other = Interactions(
        data.users, data.items, type(data.histories)(data.histories.indptr, items, data.histories.weights, data.histories.times)
    )
    a, b = inner_split(data, config), inner_split(other, config)
    assert events(a.train) == events(b.train)
    assert np.array_equal(a.relevant.items, b.relevant.items)
    assert np.array_equal(a.users, b.users)


def test_leave_one_out_leaves_out_the_last_but_one(filled: tuple[Storage, Config]) -> None:
    storage, config = filled
    config = replace(config, evaluate=replace(config.evaluate, split="leave_one_out"))
    data = training_set(storage, config, {"interactions": storage.lake.version("interactions")})
    split = inner_split(data, config)
    rows = data.histories
    for place, row in enumerate(split.users.tolist()):
        assert split.relevant.row(place).tolist() == [rows.row(row)[-2]]
    assert events(split.train) < events(leave_one_out(data).train)


def test_another_study_begins_with_other_data_or_settings_and_no_other(filled: tuple[Storage, Config]) -> None:
    storage, config = filled
    name = task_of(storage, config, "popular").name
    storage.lake.compact("interactions")
    assert task_of(storage, config, "popular").name == name, "a compacted lake holds the same events"
    assert name.startswith("popular-ndcg@10-temporal-")
    others = [
        replace(config, rewards=Rewards(kinds={"click": Reward(weight=2.0)})),
        replace(config, train=replace(config.train, seed=1)),
        replace(config, evaluate=replace(config.evaluate, test_fraction=0.2)),
        replace(config, evaluate=replace(config.evaluate, metric="recall@5")),
        replace(config, models={}),
    ]
    names = [task_of(storage, other, "popular").name for other in others]
    storage.log.append([Interaction("late", world.BASE * 2, "u1", "i1", "click")]).result()
    archive(storage.log, storage.lake)
    names.append(task_of(storage, config, "popular").name)
    storage.tables.users.put([UserChange("more", world.BASE * 2, "u1", {"Drama": 1.0})])
    names.append(task_of(storage, config, "popular").name)
    storage.tables.items.put([ItemChange("more", world.BASE * 2, "i1", "Film 1", ("Horror", "Drama"))])
    names.append(task_of(storage, config, "popular").name)
    assert len({name, *names}) == 9


class PlainParams(msgspec.Struct, frozen=True):
    """Nothing to search."""

    size: int = 1


class Plain(Popular):
    """A model without ranges."""

    Params: ClassVar[type[msgspec.Struct]] = PlainParams


class Greedy(Popular):
    """A model that runs out of memory for some of its parameters."""

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:
        if (self.params.half_life_days or 0) > 30:
            raise MemoryError("unable to allocate 9 PiB")
        return super().fit(data, seed=seed, progress=progress)


def test_what_cannot_be_searched_is_said_before_any_work(filled: tuple[Storage, Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "plain", f"{__name__}:Plain")
    storage, config = filled
    with pytest.raises(ConfigError, match=r"'poplar' is unknown; did you mean \"popular\""):
        task_of(storage, config, "poplar")
    with pytest.raises(ConfigError, match=r"models\.popular\.half_life"):
        task_of(storage, replace(config, models={"popular": {"half_life": 3}}), "popular")
    with pytest.raises(ConfigError, match=r"evaluate\.metric"):
        task_of(storage, replace(config, evaluate=Evaluate(metric="ndcg@7")), "popular")
    with pytest.raises(ConfigError, match=r"'plain' has no hyper-parameter with a range to search; models with: .*popular"):
        task_of(storage, config, "plain")


def test_without_data_the_next_step_is_said(storage: Storage, home: Config) -> None:
    with pytest.raises(NotFound, match="no interactions in the lake to tune on: use `tastemaker import`"):
        task_of(storage, home, "popular")


def test_a_world_that_cannot_be_split_twice_is_refused(home: Config) -> None:
    with connect(home) as storage:
        storage.log.append([Interaction(f"e{n}", n + 1, f"u{n}", "i", "click") for n in range(4)]).result()
        archive(storage.log, storage.lake)
        with pytest.raises(InputError, match="within the training period"):
            task_of(storage, home, "popular")


# ── the search ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_winner_is_the_best_on_the_validation_part_and_the_first_is_what_was_configured(
    filled: tuple[Storage, Config],
) -> None:
    storage, config = filled
    task = task_of(storage, config, "item_knn")
    found = search(task, trials=14)
    assert len(found.tried) == 14
    assert found.tried[0].params.items() >= POOR["item_knn"].items()
    values: list[np.ndarray[Any, Any]] = []
    for trial in found.tried:  # judged again, from nothing but the split
        model = create("item_knn", {**POOR["item_knn"], **trial.params}).fit(task.split.train, seed=0)
        standby = create("popular", POOR["popular"]).fit(task.split.train)
        lists = lists_of(with_fallback(model.recommend, standby.recommend), task.split.histories, 10, 7, lambda *_: None)
        values.append(evaluate_lists(lists, task.split.relevant, [10])["ndcg@10"])
        assert trial.value == pytest.approx(values[-1].mean())
    best = int(np.argmax([each.mean() for each in values]))
    assert found.best == found.tried[best]
    assert best > 0
    assert found.before is not None
    assert found.gain is not None
    assert found.mean.value == pytest.approx(values[best].mean())
    assert found.before.value == pytest.approx(values[0].mean())
    assert found.gain.value == pytest.approx((values[best] - values[0]).mean())
    assert found.gain.low < found.gain.value < found.gain.high
    assert found.gain.n == len(task.split)
    assert set(found.importance) == set(task.space)
    assert sum(found.importance.values()) == pytest.approx(1)


def test_what_is_configured_wins_where_nothing_is_better(filled: tuple[Storage, Config]) -> None:
    """All values tie, because one type of taste is all there is; the first of equals stays."""
    storage, config = filled
    task = task_of(storage, replace(config, models={"nmf": {"epochs": 1, "factors": 4}}), "nmf")
    only = Task(**{**vars(task), "space": {"factors": Between(4, 64, whole=True)}, "configured": {"factors": 4}, "name": "tie"})
    found = search(only, trials=4)
    assert {trial.value for trial in found.tried} == {found.tried[0].value}
    assert found.best.number == 0
    assert found.gain is not None
    assert (found.gain.low, found.gain.value, found.gain.high) == (0, 0, 0)


def test_a_search_is_repeatable_and_its_seed_counts(filled: tuple[Storage, Config], task: Task) -> None:
    storage, config = filled
    once = search(task, trials=13)
    assert tried(search(task, trials=13, fresh=True)) == tried(once)
    other = search(task_of(storage, replace(config, train=replace(config.train, seed=5)), "popular"), trials=3)
    assert tried(other)[0] == tried(once)[0]
    assert tried(other)[1] != tried(once)[1]


class Killed(BaseException):
    """Ends a process in this test."""


def test_a_search_that_was_killed_counts_its_trials_on_and_tries_the_same(task: Task) -> None:
    whole = tried(search(task, trials=14))
    for moment in (0, 1, 5, 12):  # in the trial of this number

        def kill(done: int, _total: int, note: str, moment: int = moment) -> None:
            if done == moment and note.startswith("trial"):
                raise Killed

        with pytest.raises(Killed):
            search(task, trials=14, fresh=moment == 0, watch=kill)
        left = Study(folder_of(task), task.space, 0, task.configured)
        assert len(left.tried) == moment
    begun: list[int] = []
    found = search(task, trials=14, watch=lambda done, _total, _note: begun.append(done))
    assert begun[0] == 12
    assert tried(found) == whole
    again = search(task, trials=14, watch=lambda done, _total, _note: begun.append(done))
    assert begun[-1] == 14
    assert tried(again) == whole
    assert len(search(task, trials=16).tried) == 16


def test_ctrl_c_ends_with_what_there_is(task: Task) -> None:
    def press(done: int, _total: int, note: str) -> None:
        if done == 3 and note.startswith("trial"):
            raise KeyboardInterrupt

    found = search(task, trials=10, watch=press)
    assert found.interrupted
    assert len(found.tried) == 3
    assert not search(task, trials=4).interrupted


def test_ctrl_c_before_the_first_result_is_passed_on(task: Task) -> None:
    def press(_done: int, _total: int, note: str) -> None:
        if note.startswith("trial"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(task, trials=10, watch=press)


def test_a_budget_of_time_ends_the_search_but_not_a_trial(task: Task) -> None:
    ticks = count()
    found = search(task, seconds=20.0, clock=lambda: float(next(ticks)))
    assert 1 < len(found.tried) < 20
    assert next(ticks) < 40
    both = search(task, trials=len(found.tried) + 1, seconds=1e6)
    assert len(both.tried) == len(found.tried) + 1


def test_the_time_that_is_left_is_told(task: Task) -> None:
    study = Study(Path(folder_of(task).parent.parent), task.space, 0, task.configured)
    for _ in range(2):
        study.succeeded(study.propose(), np.ones(len(task.split)), 60.0)
    pace = Pace(study, 5, None, 0.0, lambda: 0.0)
    assert pace.left() == 180.0
    assert pace.so_far() == "best 1.0000 (trial 1), about 3 min left"
    assert Pace(study, 5, 100.0, 0.0, lambda: 30.0).left() == 70.0


@pytest.mark.parametrize("budget", [{}, {"trials": 0}, {"seconds": 0.0}, {"seconds": float("nan")}])
def test_a_budget_of_nothing_is_refused(task: Task, budget: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^(trials|seconds) = "):
        search(task, **budget)


def test_models_and_values_of_trials_are_not_kept(task: Task) -> None:
    found = search(task, trials=12)
    kept = sorted(path.name for path in folder_of(task).iterdir())
    assert kept == sorted({"lock", "study.log", "trial-0.npy", f"trial-{found.best.number}.npy"})


def test_lost_values_are_judged_again(task: Task) -> None:
    found = search(task, trials=6)
    for path in folder_of(task).glob("trial-*.npy"):
        path.write_bytes(b"torn")
    again = search(task, trials=6)
    assert (again.mean, again.before, again.gain) == (found.mean, found.before, found.gain)


# ── failures ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_trial_that_the_model_refuses_is_noted_and_the_search_goes_on(task: Task) -> None:
    """Half lives of nothing are no values of ``popular``: a third of these ranges is refused."""
    odd = Task(**{**vars(task), "space": {"half_life_days": Among((0.0, 1.0, -1.0, 30.0))}, "name": "odd"})
    found = search(odd, trials=12)
    failed = [trial for trial in found.tried if trial.value is None]
    assert 0 < len(failed) < 12
    assert all(re.search(r"half_life_days = -?\d.\d: Expected `float` > 0", trial.reason) for trial in failed)
    assert {trial.params["half_life_days"] for trial in failed} <= {0.0, -1.0}
    assert found.best.value is not None
    assert tried(search(odd, trials=12)) == tried(found)
    assert "Expected `float` &gt; 0" in page(odd, found)


def test_a_trial_that_needs_too_much_memory_is_noted_like_any_other(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "popular", f"{__name__}:Greedy")
    found = search(task, trials=8)
    failed = [trial for trial in found.tried if trial.value is None]
    assert 0 < len(failed) < 8
    assert all(trial.params["half_life_days"] > 30 for trial in failed)
    assert {trial.reason for trial in failed} == {"not enough memory: unable to allocate 9 PiB"}


def test_a_search_without_a_single_success_fails_with_the_reason(tmp_path: Path) -> None:
    config = world.config_of(tmp_path / "bare")
    with connect(config) as storage:
        storage.log.append(world.interactions(40, 20, 8, 0)).result()
        archive(storage.log, storage.lake)
        task = task_of(storage, config, "nmf")  # and no item has a category
    for _ in range(2):
        with pytest.raises(InputError, match=r"models\.nmf = '4 trials': every trial failed; .*import items with categories"):
            search(task, trials=4)


def test_configured_values_that_fail_do_not_hide_the_others(task: Task) -> None:
    config = replace(task.config, models={})
    space = {"half_life_days": Among((1.0, 30.0))}
    study_of = Task(**{**vars(task), "config": config, "space": space, "configured": {"half_life_days": None}, "name": "first"})
    folder = folder_of(study_of)
    folder.mkdir(parents=True)
    Study(folder, space, 0, study_of.configured).failed({"half_life_days": None}, "no", 0.0)
    found = search(study_of, trials=3)
    assert (found.before, found.gain, found.best.number > 0) == (None, None, True)


def test_a_damaged_study_is_named_with_the_way_out(task: Task) -> None:
    search(task, trials=3)
    journal = folder_of(task) / "study.log"
    whole = journal.read_bytes()
    for damage in (b"no journal\n" + whole, b'{"op_code": 77}\n' + whole, b"[1]\n" + whole, b"\xff\xfe\n" + whole):
        journal.write_bytes(damage)
        with pytest.raises(StorageError, match=r"study.log: the file of the search is damaged .* --fresh"):
            search(task, trials=4)
    assert len(search(task, trials=2, fresh=True).tried) == 2


def test_a_line_that_was_cut_by_a_power_failure_is_taken_away(task: Task) -> None:
    search(task, trials=3)
    journal = folder_of(task) / "study.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if json.loads(line)["op_code"] == 6)  # the end of a trial
    journal.write_bytes(b"".join(lines[:last]) + lines[last][:20])
    assert len(Study(folder_of(task), task.space, 0, task.configured).tried) == 2
    assert len(search(task, trials=5).tried) == 5


def test_two_searches_for_the_same_do_not_run_at_once(task: Task) -> None:
    with locked(folder_of(task) / "lock"), pytest.raises(Conflict, match="another search for the same is under way"):
        search(task, trials=1)


def test_without_the_extra_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'tastemaker\[tune\]'"):
        check_extra()


# ── values and plots ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_tried_has_few_digits_and_lies_in_its_range() -> None:
    assert value_of(Between(0.0, 1.0), 0.123456789) == 0.1235
    assert value_of(Between(0.00012344, 0.9, log=True), 0.00012344) == 0.00012344
    assert value_of(Between(1, 9, whole=True), 4) == 4
    assert value_of(Among((None, (1, 2))), 1) == (1, 2)
    assert raw_of(Between(2, 9, whole=True), 10) is None
    assert raw_of(Between(0.1, 0.9), None) is None
    assert raw_of(Between(0.1, 0.9), 0.1) == 0.1


def test_the_page_holds_every_plot_and_needs_nothing_else(filled: tuple[Storage, Config], tmp_path: Path) -> None:
    storage, config = filled
    task = task_of(storage, config, "item_knn")
    found = search(task, trials=11)
    write_report(tmp_path / "a.html", task, found)
    text = (tmp_path / "a.html").read_text("utf-8")
    plots = re.findall(r"<svg .*?</svg>", text, re.DOTALL)
    assert len(plots) == 1 + len(task.space)
    labels = []
    for plot in plots:
        tree = ElementTree.fromstring(plot)  # whole, as XML
        labels.append(tree.get("aria-label"))
        assert tree.findall(".//{http://www.w3.org/2000/svg}use"), "points"
    assert labels == ["history", *task.space]
    for name in task.space:
        assert f"<th>{name}</th>" in text
    assert text.count("<tr>") == 1 + 11
    assert f"Best: {found.best.value:.4f} in trial {found.best.number + 1}." in text
    outside = re.findall(r"(?:src|href)=\"(?!#)[^\"]*\"|url\((?!#)[^)]*\)|@import", text)
    assert outside == []
    assert page(task, found) == text, "the same search, the same page"
