"""A world with ids of usual lengths, for figures of bytes: users of twelve characters, items of ten, events with UUIDs.

Half of the events name the decision that offered the item; all have a session and a device.
"""

from __future__ import annotations

import hashlib

import numpy as np

from benchmarks.world import GENRES, START
from tastemaker.config import Config, Connect, Evaluate, Log, Patience, Rewards, Train
from tastemaker.domain import Interaction, ItemChange
from tastemaker.storage import Storage

FACTORS = 64


def settings(places: Connect, history: int = 500) -> Config:
    """als with as many factors as a plan supposes; patient, for a busy machine must not end a measurement."""
    return Config(
        places,
        patience=Patience(connect_ms=30_000.0, timeout_ms=30_000.0),
        log=Log(partitions=8),
        rewards=Rewards(history=history),
        train=Train(("popular", "als")),
        evaluate=Evaluate(metric="ndcg@10"),
        models={"als": {"factors": FACTORS}},
    )


def user(number: int) -> str:
    return f"u{number:011d}"


def item(number: int) -> str:
    return f"i{number:09d}"


def noise(text: str) -> str:
    """32 hexadecimal digits that no compression sees through."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def event(number: int, who: int, what: int, time: int) -> Interaction:
    digits = noise(f"event {number}")
    dashed = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    offered = number % 2 == 0
    return Interaction(
        dashed,
        time,
        user(who),
        item(what),
        "click",
        decision=f"{digits[:12]}{number}" if offered else None,
        position=number % 10 if offered else None,
        session=noise(f"session {who} {time // 1_800_000}")[:16],
        context={"device": ("phone", "tablet", "television")[who % 3]},
    )


def fill(storage: Storage, users: int, items: int, per_user: int, seed: int = 0) -> int:
    """A catalogue, and clicks with a long tail that come in the order of their times. Returns the number of records."""
    random = np.random.default_rng(seed)
    changes = [
        ItemChange(f"change-{n}", START, item(n), f"The title of number {n}", (GENRES[n % len(GENRES)],), released=START - n)
        for n in range(items)
    ]
    storage.log.append(changes).result()
    storage.tables.items.put(changes)
    count = users * per_user
    who = random.permutation(np.repeat(np.arange(users), per_user))
    what = (random.pareto(1.0, count) * items / 50).astype(np.int64) % items
    times = START + np.sort(random.integers(0, 30 * 86_400_000, count))
    rows = zip(range(count), who.tolist(), what.tolist(), times.tolist(), strict=True)
    events = [event(*row) for row in rows]
    for start in range(0, count, 20_000):
        storage.log.append(events[start : start + 20_000]).result()
    return count + items
