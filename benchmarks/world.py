"""A made-up catalogue with made-up viewers, for benchmarks that need size rather than truth.

Viewers belong to a few clusters and mostly watch what their cluster watches; popularity within a cluster is long-tailed.
"""

from __future__ import annotations

import numpy as np

from tastemaker.config import Config
from tastemaker.domain import Interaction, ItemChange
from tastemaker.storage import Storage

START = 1_750_000_000_000
GENRES = ("Action", "Comedy", "Drama", "Horror", "Romance", "Thriller", "Documentary", "Animation")


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


def publish(storage: Storage, config: Config) -> str:
    """Runs the daily pipeline; returns the live version."""
    from tastemaker.pipelines.catalog import pipeline
    from tastemaker.pipelines.local import run_pipeline
    from tastemaker.registry.live import read

    run_pipeline(storage, config, pipeline("daily"))
    live = read(storage.kv)
    assert live is not None
    return live.version
