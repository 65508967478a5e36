"""Arms that follow a kind of model: what they get of each run, and what they learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import world
from api import api
from tastemaker.config import Config
from tastemaker.domain import Arm, Experiment, ModelCard, UserChange
from tastemaker.errors import InputError
from tastemaker.experiments.assignment import assign
from tastemaker.models import create
from tastemaker.models.artifact import load_model
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.parts import of_users
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.steps.retain import needed
from tastemaker.pipelines.training import training_set
from tastemaker.registry import experiments, live
from tastemaker.storage import Storage
from tastemaker.streaming.worker import Worker

KINDS = (Arm("control", model="popular"), Arm("other", model="als"))
DIVERTED: dict[str, Any] = {"training": "diverted"}


def begun(storage: Storage, arms: tuple[Arm, ...] = KINDS, **more: Any) -> Experiment:
    experiments.create(storage, Experiment("cards", arms, **more), 1)
    return experiments.start(storage, "cards", 2)


def served(storage: Storage) -> dict[str, str]:
    found = storage.tables.experiments.get("cards")
    assert found is not None
    return {arm.name: arm.serves for arm in found.arms}


def daily(storage: Storage, config: Config) -> dict[str, Any]:
    """A run; the summary of its step ``arms``."""
    run = run_pipeline(storage, config, pipeline("daily"))
    summary: dict[str, Any] = storage.tables.runs.get(run.id).steps["arms"]["summary"]  # type: ignore[union-attr]  # it has just run
    return summary


def card_of(storage: Storage, version: str) -> ModelCard:
    card = storage.tables.models.get(version)
    assert card is not None
    return card


def test_an_arm_that_names_a_kind_has_the_newest_version_of_every_run(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage)
    first = served(storage)
    assert {name: version.partition("-")[0] for name, version in first.items()} == {"control": "popular", "other": "als"}
    told = daily(storage, config)
    second = served(storage)
    assert told == {"arms": {f"cards/{name}": version for name, version in second.items()}, "left_out": {}}
    assert all(second[name] > first[name] for name in first)
    running = experiments.running(storage.kv.get(["experiments"])[0])
    assert {arm.name: arm.version for arm in running[0].arms} == second
    now = live.read(storage.kv)
    assert now is not None
    assert set(second.values()) <= needed(storage, config, now)  # nothing that is served is removed


def test_a_server_follows_within_a_look(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, (Arm("control"), Arm("other", model="popular")), forced={"u1": "other"})
    with api(storage, config) as server:
        before = server.app.recommending.current.now.arms.models
        daily(storage, config)
        server.app.recommending.current.look()
        after = server.app.recommending.current.now.arms.models
        assert server.ask("u1")["model"] == served(storage)["other"]
    assert (len(before), len(after)) == (1, 1)
    assert set(before) != set(after)


def test_a_kind_that_is_not_among_the_trained_ones_is_trained_for_its_arm(published: tuple[Storage, Config]) -> None:
    storage, config = published
    more = replace(config, train=replace(config.train, models=("popular", "als", "item_knn")))
    run_pipeline(storage, more, pipeline("daily"))
    begun(storage, (Arm("control"), Arm("other", model="item_knn")))
    told = daily(storage, config)
    assert told["arms"] == {"cards/other": served(storage)["other"]}
    card = card_of(storage, served(storage)["other"])
    assert (card.kind, card.data["users"], "arm" in card.data) == ("item_knn", 120, False)
    assert card.data["run"] == storage.tables.runs.last("daily", 1)[0].id


def test_diverted_models_learn_from_their_own_units_alone(published: tuple[Storage, Config]) -> None:
    storage, config = published
    arms = (Arm("control", model="als"), Arm("other", model="als"))
    running = begun(storage, arms, **DIVERTED)
    daily(storage, config)
    whole = training_set(storage, config, card_of(storage, live_version(storage)).data["lake"])
    users = 0
    for arm, version in served(storage).items():
        card = card_of(storage, version)
        assert card.data["arm"] == f"cards/1/{arm}"
        own = np.array([assign([running], user)["cards"].arm == arm for user in whole.users])
        assert card.data["users"] == own.sum() > 30
        users += card.data["users"]
        alone = create("als", config.models["als"]).fit(of_users(whole, own))
        kept = load_model(storage.models.folder(card.artifact))
        asked = Histories.of([([0, 5], [1.0, 1.0], [0, 0])])
        assert np.array_equal(kept.scores(asked), alone.scores(asked)[:, : len(kept.items)])
    assert users == len(whole.users)
    assert experiments.newest(storage, "als").count("-") == 1  # nobody else gets a model of an arm


def live_version(storage: Storage) -> str:
    now = live.read(storage.kv)
    assert now is not None
    return now.version


def test_segments_and_surfaces_say_whose_events_they_are(published: tuple[Storage, Config]) -> None:
    storage, config = published
    german = [world.user(number) for number in range(60)]
    storage.log.append([UserChange(f"s-{user}", 10, user, segment="de") for user in german]).result()
    worker = Worker(storage, config)
    worker.drain()
    worker.stop()
    begun(storage, (Arm("a", model="als"), Arm("b", model="als")), segments=("de",), surfaces=("home",), **DIVERTED)
    daily(storage, config)
    assert sum(card_of(storage, version).data["users"] for version in served(storage).values()) == len(german)


def test_an_arm_without_units_keeps_what_it_had_and_the_others_go_on(published: tuple[Storage, Config]) -> None:
    storage, config = published
    arms = (Arm("a", weight=1e-9, model="als"), Arm("b", weight=1 - 1e-9, model="als"))
    begun(storage, arms, **DIVERTED)
    before = served(storage)
    told = daily(storage, config)
    assert set(told["arms"]) == {"cards/b"}
    assert "none of 120 users with events is in it" in told["left_out"]["cards/a"]
    assert served(storage)["a"] == before["a"]
    assert served(storage)["b"] != before["b"]


def test_a_run_that_is_tried_again_trains_nothing_twice(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, (Arm("a", model="als"), Arm("b", model="als")), **DIVERTED)
    run = run_pipeline(storage, config, pipeline("daily"))
    made = {version: card_of(storage, version) for version in served(storage).values()}
    run_pipeline(storage, config, pipeline("daily"), now=run.end)
    assert {version: card_of(storage, version) for version in made} == made


def test_one_that_was_stopped_meanwhile_stays_stopped(published: tuple[Storage, Config]) -> None:
    storage, _ = published
    running = begun(storage)
    experiments.stop(storage, "cards", 3)
    experiments.serve(storage, running, {"other": "als-9"})
    found = storage.tables.experiments.get("cards")
    assert found is not None
    assert (found.state, "als-9" in served(storage).values()) == ("stopped", False)
    assert not experiments.running(storage.kv.get(["experiments"])[0])


@pytest.mark.parametrize(
    ("arms", "more", "says"),
    [
        ((Arm("a"), Arm("b", model="als")), DIVERTED, r"arms\[0\].model = '': with diverted training each arm names a kind"),
        (KINDS, DIVERTED | {"kind": "interleaving"}, "training = 'diverted': who is shown both"),
        ((Arm("a"), Arm("b", model="ease")), {}, "model = 'ease': no version of this kind was trained yet"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    published: tuple[Storage, Config], arms: tuple[Arm, ...], more: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        begun(published[0], arms, **more)


def test_a_draft_never_says_what_is_served(published: tuple[Storage, Config]) -> None:
    made = experiments.create(published[0], Experiment("cards", (Arm("a"), Arm("b", serves="als-1"))), 1)
    assert [arm.serves for arm in made.arms] == ["", ""]


@pytest.fixture
def data() -> Interactions:
    rows = Histories.of([([0, 1], [1.0, 2.0], [1, 2]), ([2], [3.0], [3]), ([1, 2], [4.0, 5.0], [4, 5])])
    return Interactions(
        ("a", "b", "c"), Vocabulary(("x", "y", "z")), rows, preferences=np.arange(6, dtype=np.float32).reshape(3, 2)
    )


def test_some_users_of_a_training_set(data: Interactions, tmp_path: Path) -> None:
    found = of_users(data, np.array([True, False, True]))
    assert (found.users, found.items) == (("a", "c"), data.items)
    assert (found.histories.indptr.tolist(), found.histories.items.tolist()) == ([0, 2, 4], [0, 1, 1, 2])
    assert found.histories.weights.tolist() == [1.0, 2.0, 4.0, 5.0]
    assert found.preferences.tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert len(of_users(data, np.zeros(3, np.bool_)).histories.items) == 0


def test_a_run_that_was_interrupted_between_two_arms_goes_on_with_the_second(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, (Arm("a", model="als"), Arm("b", model="als")), **DIVERTED)
    before = served(storage)

    def interrupt(step: str, done: int, total: int, note: str) -> None:
        if (step, note) == ("arms", "cards/b"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pipeline(storage, config, pipeline("daily"), watch=interrupt)
    assert (served(storage)["a"] != before["a"], served(storage)["b"]) == (True, before["b"])
    first = card_of(storage, served(storage)["a"])
    told = daily(storage, config)
    assert served(storage)["b"] != before["b"]
    assert card_of(storage, first.version) == first
    assert set(told["arms"]) == {"cards/a", "cards/b"}
