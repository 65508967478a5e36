"""A small made-up world: clusters of users who like clusters of items, for tests that need the whole platform.

Each user reads mostly within one of four categories, so a personal model beats popularity; everything follows from the
seed. ``published`` runs the daily pipeline over it and lets the nearline worker catch up: a platform after its first day.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tastemaker.config import Config, Connect, Evaluate, Gate, Log, Publish, Serving, Train
from tastemaker.domain import AnyEvent, Interaction, ItemChange, UserChange
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.storage import Storage, connect
from tastemaker.streaming.worker import Worker

CATEGORIES = ("Drama", "Comedy", "Horror", "Sci-Fi")
BASE = 1_767_225_600_000  # 2026-01-01
MINUTE = 60_000
STATED = 6  # users p0, p1, ...: nothing but stated preferences


def user(number: int) -> str:
    return f"u{number}"


def item(number: int) -> str:
    return f"i{number}"


def category(number: int) -> str:
    """An item's category, which is also that of the users whose number leaves the same remainder."""
    return CATEGORIES[number % len(CATEGORIES)]


def catalogue(items: int) -> list[ItemChange]:
    """Item events, a minute apart; each tenth item is in the next category, too."""
    changes = []
    for number in range(items):
        names = (category(number), category(number + 1)) if number % 10 == 9 else (category(number),)
        changes.append(ItemChange(f"item-{number}", BASE + number, item(number), f"Film {number}", names, released=BASE - number))
    return changes


def interactions(users: int, items: int, per_user: int, seed: int) -> list[Interaction]:
    """Clicks in the order of their times, a minute apart: everybody's first, everybody's second and so on."""
    random = np.random.default_rng(seed)
    numbers = np.arange(items)
    taken = []
    for number in range(users):
        own = numbers % len(CATEGORIES) == number % len(CATEGORIES)
        weights = np.where(own, 20.0, 1.0) / (1.0 + numbers / len(CATEGORIES)) ** 0.5
        taken.append(random.choice(items, min(per_user, items), replace=False, p=weights / weights.sum()))
    return [
        Interaction(
            f"click-{number}-{place}",
            BASE + 100 * MINUTE + (place * users + number) * MINUTE,
            user(number),
            item(int(taken[number][place])),
            "click",
        )
        for place in range(min(per_user, items))
        for number in range(users)
    ]


def preferences() -> list[UserChange]:
    """Users who never clicked and said what they like; the first dislikes something as well."""
    return [
        UserChange(
            f"user-{number}", BASE + number, f"p{number}", {category(number): 5.0} | ({"Horror": -3.0} if number == 0 else {})
        )
        for number in range(STATED)
    ]


def fill(storage: Storage, users: int = 120, items: int = 80, per_user: int = 25, seed: int = 0) -> None:
    """Catalogue and profiles into log and tables, interactions into the log."""
    changes, people = catalogue(items), preferences()
    events: list[AnyEvent] = [*changes, *people, *interactions(users, items, per_user, seed)]
    storage.log.append(events).result()
    storage.tables.items.put(changes)
    storage.tables.users.put(people)


def config_of(home: Path, models: tuple[str, ...] = ("popular", "als")) -> Config:
    """Small and patient: slow machines must not change what a test sees."""
    return Config(
        connect=Connect(home=str(home)),
        log=Log(partitions=4),
        train=Train(models=models),
        evaluate=Evaluate(bootstrap=100),
        gate=Gate(latency_ms=60_000.0),
        publish=Publish(slate=30, block=50),
        serving=Serving(port=0, deadline_ms=20_000.0),
        models={"als": {"factors": 8, "epochs": 4}},
    )


def published(home: Path, models: tuple[str, ...] = ("popular", "als")) -> Config:
    """A world with a live model, everybody's slates, and every event applied."""
    config = config_of(home, models)
    with connect(config) as storage:
        fill(storage)
        run_pipeline(storage, config, pipeline("daily"))
        worker = Worker(storage, config)
        worker.drain()
        worker.stop()
    return config
