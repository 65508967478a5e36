"""One stretch of life: a world and a platform of its own, day after day of serving, applying, and training anew.

The platform is the real one in this process: stores in files, the application that answers, the nearline worker, and the daily
pipeline. Only what background threads would do at their own times is done here after each hour of the world, so that a slow
machine does not make a slow platform.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from tastemaker.cli.simulating.doors import Door, Inside
from tastemaker.cli.simulating.platform import DAY, Platform
from tastemaker.config import Config
from tastemaker.domain import Run
from tastemaker.errors import InputError
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.serving.app import create_app
from tastemaker.simulation.circle import Turn, gini, turn
from tastemaker.simulation.policies import Chance
from tastemaker.simulation.world import Ints, Responses, Visits, World
from tastemaker.storage import Storage, connect
from tastemaker.streaming.worker import Worker

PATIENT = 60_000.0  # ms: no answer is a stand-in because the machine is busy
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Day:
    """What a day of the world came to. ``coverage``: share of the items there that were shown; ``gini``: of clicks on items."""

    visits: int
    clicks: float  # per visit
    watched: float  # per visit
    coverage: float
    gini: float
    published: str = ""  # the model version that went live at its end


@dataclass
class Life:
    """A platform that works, and the world around it."""

    storage: Storage
    config: Config
    world: World
    platform: Platform
    door: Inside
    worker: Worker
    hears: bool = True  # whether what people do is applied to what is known of them

    def daily(self) -> str:
        """The daily pipeline, now; the version that it published, empty where the gate stayed shut."""
        self.settle()
        run = run_pipeline(self.storage, self.config, pipeline("daily"), fresh=True)
        self.settle()
        return published_by(run)

    def settle(self) -> None:
        """Everything that was sent is applied, and everything that has changed is taken over."""
        self.door.app.recommending.decisions.flush()
        if self.hears:
            self.worker.drain()
        self.door.look()


def published_by(run: Run) -> str:
    found = run.steps["publish"]
    return str(found["summary"]["version"]) if found["state"] == "done" else ""


@contextmanager
def life(config: Config, world: World, begin: int, name: str) -> Iterator[Life]:
    """Opens the stores that a configuration names, in this process."""
    config = replace(config, serving=replace(config.serving, deadline_ms=PATIENT))
    with connect(config) as storage:
        worker = Worker(storage, config)
        door = Inside(create_app(storage, config, worker.condition))
        try:
            made = Life(storage, config, world, Platform(door, begin, name), door, worker)
            made.platform.after = made.settle
            made.platform.known = np.zeros(0, np.bool_)
            yield made
        finally:
            door.close()
            worker.stop()


class Before:
    """Who recommends before there is a model: chance, so that the first model learns of tastes and not of a recommender.

    The platform hears of clicks as of visits without it: they name no decision.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform, self.chance = platform, Chance()

    def lists(self, world: World, visits: Visits, k: int) -> Ints:
        return self.chance.lists(world, visits, k)

    def learn(self, world: World, visits: Visits, lists: Ints, responses: Responses) -> None:
        self.platform.learn(world, visits, lists, responses)


def warm(world: World, platform: Platform, days: int, k: int, progress: Progress) -> None:
    """Days before the first request. They end at the present."""
    after, platform.after = platform.after, lambda: None  # applied in one go
    before = Before(platform)
    for day in range(days):
        for _ in turn(world, before, 1.0, k):
            pass
        progress(day + 1, days, f"{platform.sent:,} events")
    platform.after = after
    platform.served_from = world.day


def lived(world: World, platform: Platform, k: int) -> Day:
    """One day of serving."""
    return summed(world, list(turn(world, platform, 1.0, k)))


def summed(world: World, turns: Sequence[Turn]) -> Day:
    """What some turns came to."""
    visits = sum(len(each.visits.users) for each in turns)
    shown, clicked = np.zeros(len(world.things)), np.zeros(len(world.things))
    for each in turns:
        np.add.at(shown, each.lists[each.lists >= 0], 1.0)
        np.add.at(clicked, each.lists[each.responses.clicked], 1.0)
    watched = sum(float(each.responses.watched.sum()) for each in turns)
    there = max(int(world.things.active.sum()), 1)
    return Day(
        visits, float(clicked.sum()) / max(visits, 1), watched / max(visits, 1), int((shown > 0).sum()) / there, gini(clicked)
    )


def of_server(door: Door, world: World, days: int, warm_days: int, k: int, progress: Progress) -> list[Day]:
    """Days at a running server, which trains when it likes. Its events can be told by their ids' beginning, ``simulated-``."""
    if days < 1:
        raise InputError("days", days, "give 1 or more")
    now = int(time.time() * 1000)
    platform = Platform(door, now - warm_days * DAY, f"{world.seed}-{now:x}")
    warm(world, platform, warm_days, k, lambda done, total, note: progress(done, total + days, note))
    found = []
    for day in range(days):
        found.append(lived(world, platform, k))
        progress(warm_days + day + 1, warm_days + days, f"{found[-1].clicks:.3f} clicks per visit")
    return found
