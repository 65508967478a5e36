"""A made-up catalogue with made-up viewers, for benchmarks that need size rather than truth.

Viewers belong to a few clusters and mostly watch what their cluster watches; popularity within a cluster is long-tailed.
"""

from __future__ import annotations

import numpy as np

from tastemaker.config import Config, Connect, Evaluate, Train
from tastemaker.domain import Interaction, ItemChange
from tastemaker.storage import Storage, connect

START = 1_750_000_000_000
USERS, ITEMS, PER_USER = 2_000, 20_000, 60
SMALL = (300, 500, 20)  # the same, where only the way is tried
GENRES = ("Action", "Comedy", "Drama", "Horror", "Romance", "Thriller", "Documentary", "Animation")


def settings(places: Connect) -> Config:
    return Config(places, train=Train(("popular", "als")), evaluate=Evaluate(metric="ndcg@10"))


def prepare(config: Config, users: int = USERS, items: int = ITEMS, per_user: int = PER_USER) -> None:
    """A platform with such a world: an als model is live, and states and slates are there for everybody."""
    from tastemaker.pipelines.catalog import pipeline
    from tastemaker.pipelines.local import run_pipeline
    from tastemaker.registry.live import promote
    from tastemaker.streaming.worker import Worker

    with connect(config) as storage:
        fill(storage, users=users, items=items, per_user=per_user)
        run_pipeline(storage, config, pipeline("daily"))
        promote(storage, next(card.version for card in storage.tables.models.all(kind="als")), START)
        worker = Worker(storage, config)
        worker.drain()
        worker.stop()
        run_pipeline(storage, config, pipeline("hourly"))


def fill(storage: Storage, *, users: int, items: int, per_user: int, seed: int = 0) -> None:
    """Appends a catalogue and a click history for everybody."""
    rng = np.random.default_rng(seed)
    changes = [
        ItemChange(f"item-{n}", START, f"i{n}", f"Title {n}", (GENRES[n % len(GENRES)],), released=START - n * 1000)
        for n in range(items)
    ]
    storage.log.append(changes).result()
    storage.tables.items.put(changes)
    clusters = 20
    of = rng.integers(0, clusters, users)
    size = items // clusters
    number = 0
    for start in range(0, users, 1000):
        block = []
        for user in range(start, min(start + 1000, users)):
            own = (rng.pareto(1.2, per_user) * size / 20).astype(np.int64) % size + of[user] * size
            stray = rng.integers(0, items, per_user)
            chosen = np.unique(np.where(rng.random(per_user) < 0.85, own, stray))
            rng.shuffle(chosen)
            times = START + np.sort(rng.integers(0, 30 * 86_400_000, len(chosen)))
            for item, time in zip(chosen.tolist(), times.tolist(), strict=True):
                block.append(Interaction(f"e{number}", time, f"u{user}", f"i{item}", "click"))
                number += 1
        storage.log.append(block).result()
