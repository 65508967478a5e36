"""What a plan says of bytes, held against bytes: a Redis full of states and slates, events at a broker, files of the lake.

The load differs from that which the rates were measured with: more users, shorter histories, another catalogue, other seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from benchmarks import rates_bytes, rates_world
from benchmarks.world import GENRES
from msgspec.structs import replace

import servers
from tastemaker.config import Connect, Rewards
from tastemaker.domain import Interaction, ItemChange, Record, UserState
from tastemaker.features import states
from tastemaker.features.fold import advance_all
from tastemaker.models.als import Als, AlsParams
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.pipelines.sizing.plan import Plan, plan
from tastemaker.pipelines.sizing.workload import Workload
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.sources import Shelf
from tastemaker.storage import connect
from tastemaker.storage.archive import archive
from tastemaker.storage.log import partition_of
from tastemaker.streaming.update import update

USERS, ITEMS, EACH, BATCH = 20_000, 3_000, 18, 500
NEAR = 0.15


def planned(users: float, events: float, items: float) -> Plan:
    """A day's events and nothing else, without margins and copies."""
    return plan(
        Workload(
            users=users,
            events_per_day=events,
            items=items,
            visits=0,
            retention=1,
            versions=1,
            copies=1,
            replication=1,
            headroom=0,
        )
    )


def model(items: int) -> tuple[Als, Catalogue]:
    """A small model over real titles: what a slate says is what the platform would say."""
    random = np.random.default_rng(3)
    rows, taken = np.repeat(np.arange(2_000), 20), random.integers(0, items, 40_000).astype(np.int32)
    histories = Histories.grouped(rows, taken, np.ones(len(rows), np.float32), np.arange(len(rows)), 2_000)
    names = tuple(rates_world.item(number) for number in range(items))
    data = Interactions(tuple(map(str, range(2_000))), Vocabulary(names), histories)
    changes = [ItemChange(f"change-{n}", n, name, f"The title of number {n}", ("Drama",)) for n, name in enumerate(names)]
    learnt = Als(AlsParams(factors=16, epochs=2)).fit(data)
    return learnt, Catalogue.of(changes, 1)


def events() -> Iterator[list[Record]]:
    """All events of some users, batch by batch."""
    random = np.random.default_rng(4)
    for start in range(0, USERS, BATCH):
        batch = []
        for who in range(start, start + BATCH):
            for place, what in enumerate(random.choice(ITEMS, EACH, replace=False).tolist()):
                number = who * EACH + place
                made = rates_world.event(number, who, what, 1_750_000_000_000 + 60_000 * number)
                batch.append(Record(partition_of(made.user, 8), number, made))
        yield batch


@pytest.mark.slow
def test_redis_needs_what_the_plan_says_for_twenty_thousand_users(tmp_path: Path) -> None:
    learnt, catalogue = model(ITEMS)
    shelf = Shelf(catalogue, learnt)
    with servers.Redis() as server, connect(rates_world.settings(Connect(str(tmp_path), kv=server.url))) as storage:
        config = rates_world.settings(Connect(str(tmp_path)))
        client = redis.Redis.from_url(server.url)
        storage.kv.get(["live"])
        before = rates_bytes.used_memory(client)
        slates = 0
        for batch in events():
            slates += update(batch, storage.kv, config, shelf, "als-20260131T120000123").slates
        assert slates == USERS
        used = rates_bytes.used_memory(client) - before
        keys = client.dbsize()
        client.close()
    made = planned(USERS, USERS * EACH, ITEMS).figures
    assert keys == made["keys"].value
    assert used == pytest.approx(made["one copy in Redis"].value, rel=NEAR)


def clicks(count: int) -> list[Interaction]:
    random = np.random.default_rng(5)
    who, what = random.integers(0, 3_000, count).tolist(), (random.pareto(1.0, count) * 100).astype(np.int64) % ITEMS
    return [rates_world.event(10**8 + n, who[n], int(what[n]), 1_760_000_000_000 + 700 * n) for n in range(count)]


def test_a_broker_is_sent_what_the_plan_says() -> None:
    made = clicks(5_000)
    sent = rates_bytes.sent_to_kafka(servers.kafka(), made) * len(made)
    assert sent == pytest.approx(planned(3_000, len(made), ITEMS).figures["log a day"].value, rel=NEAR)


def test_the_lake_is_as_large_as_the_plan_says(tmp_path: Path) -> None:
    made = clicks(120_000)
    with connect(rates_world.settings(Connect(str(tmp_path)))) as storage:
        for start in range(0, len(made), 20_000):
            storage.log.append(made[start : start + 20_000]).result()
        archive(storage.log, storage.lake)
        size = rates_bytes.lake_bytes(storage, "interactions") * len(made)
    assert size == pytest.approx(planned(3_000, len(made), ITEMS).figures["lake"].value, rel=NEAR)


def test_a_state_takes_more_with_each_event_as_the_plan_says() -> None:
    """Histories up to their limit, remembered ids up to theirs: what a state is made of, pack by pack."""
    who, categories = rates_world.user(1), {rates_world.item(n): (GENRES[n % len(GENRES)],) for n in range(ITEMS)}
    for count in (30, 200, 600):
        records = [Record(3, n, replace(event, user=who)) for n, event in enumerate(clicks(count))]
        state = advance_all(UserState(who, 3), records, Rewards(), categories)
        size = len(states.pack(state)) + len("state:") + len(who)
        assert size == pytest.approx(planned(1, count, ITEMS).figures["states"].value, rel=NEAR), count
