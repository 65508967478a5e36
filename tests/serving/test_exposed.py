"""Who is exposed to an experiment: that depends on what is known of the unit, and never on what its arm does."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from api import api, logged
from tastemaker.config import Config
from tastemaker.domain import Arm, Experiment, Exposure, Interaction
from tastemaker.experiments.assignment import assign
from tastemaker.registry import experiments, live
from tastemaker.storage import Storage
from tastemaker.streaming.worker import Worker


def begun(storage: Storage, arms: tuple[Arm, ...]) -> Experiment:
    """An experiment that runs."""
    experiments.create(storage, Experiment("asked", arms), 1)
    return experiments.start(storage, "asked", 2)


def popular_version(storage: Storage) -> str:
    now = live.read(storage.kv)
    assert now is not None
    return now.fallback.partition("/")[0]


def exposed(storage: Storage) -> dict[str, str]:
    """By unit, the arm of its exposure."""
    return {event.unit: event.arm for event in logged(storage) if isinstance(event, Exposure)}


def assigned(running: Experiment, units: list[str]) -> dict[str, str]:
    return {unit: assign([running], unit)[running.name].arm for unit in units}


def test_who_is_exposed_does_not_depend_on_what_the_model_of_an_arm_knows(published: tuple[Storage, Config]) -> None:
    """A model that knows none of somebody's items answers with what is popular. It has failed, and that must be counted."""
    storage, config = published
    newcomers = [f"n{number}" for number in range(40)]
    now = int(time.time() * 1000)
    clicks = [Interaction(f"{user}-1", now, user, "released-today", "click") for user in newcomers]
    storage.log.append(clicks).result()
    worker = Worker(storage, config)
    worker.drain()
    worker.stop()
    running = begun(storage, (Arm("als"), Arm("popular", model=popular_version(storage))))
    with api(storage, config) as server:
        rungs = {server.ask(user)["rung"] for user in newcomers}
        found = exposed(storage)
    assert rungs == {"popular"}
    assert found == assigned(running, newcomers)


@pytest.mark.parametrize("arm", [Arm("cards", settings={"cap": 2}), Arm("popular", model="popular")])
def test_strangers_are_exposed_where_arms_differ_for_them_in_every_arm(published: tuple[Storage, Config], arm: Arm) -> None:
    storage, config = published
    strangers = [f"nobody-{number}" for number in range(40)]
    running = begun(storage, (Arm("control"), replace(arm, model=arm.model and popular_version(storage))))
    with api(storage, config) as server:
        for user in strangers:
            server.ask(user)
        found = exposed(storage)
    assert found == assigned(running, strangers)
