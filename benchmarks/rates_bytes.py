"""Bytes of what the platform keeps, counted where they lie: in the online store, on their way to the brokers, in the lake.

Tests compare a plan with these for other numbers of users and events than the rates were measured with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any

import psycopg
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from msgspec import msgpack
from msgspec.structs import replace

from tastemaker.domain import AnyEvent, Decision, History, UserState, encode_event
from tastemaker.features import states
from tastemaker.features.counters import ItemCounters
from tastemaker.registry import live
from tastemaker.slates.stored import decode_whole
from tastemaker.storage import Storage
from tastemaker.storage.kv import KeyValue
from tastemaker.storage.kv.entries import DAY, entry_of, name_of
from tastemaker.storage.log import Packed
from tastemaker.storage.log.kafka_messages import messages_of
from tastemaker.storage.log.kafka_producer import LINGER, SETTINGS

SAMPLE = 2_000
TOGETHER = 100  # events that one flush sends, to eight partitions
EPOCH = "0123456789abcdef"


def online(storage: Storage) -> dict[str, float]:
    """What states, marks, slates and counters take, keys included."""
    kv = storage.kv
    now = live.read(kv)
    assert now is not None
    found = state_parts([(key, states.unpack(value)) for key, value in sample(kv, "state:")])
    found["mark_bytes"] = fmean(len(key) + len(value) for key, value in sample(kv, "mark:"))
    found["front_bytes"] = fmean(len(key) + len(value) for key, value in sample(kv, f"slate:{now.version}:"))
    wholes = [(key, value, decode_whole(value)) for key, value in sample(kv, f"whole:{now.version}:")]
    bare = [len(msgpack.encode(replace(slate, items=()))) for _, _, slate in wholes]
    found["whole_bytes"] = fmean(len(key) + size for (key, _, _), size in zip(wholes, bare, strict=True))
    slots = sum(len(slate.items) for _, _, slate in wholes)
    found["slot_bytes"] = (sum(len(value) for _, value, _ in wholes) - sum(bare)) / slots
    counters = [value for _, value in kv.scan("items:")]
    found["counter_bytes"] = sum(map(len, counters)) / sum(len(ItemCounters.from_bytes(value).accs) for value in counters)
    return found


def sample(kv: KeyValue, prefix: str) -> list[tuple[str, bytes]]:
    """Some of the keys under a prefix."""
    return [pair for _, pair in zip(range(SAMPLE), kv.scan(prefix), strict=False)]


def state_parts(found: Sequence[tuple[str, UserState]]) -> dict[str, float]:
    """What a state takes without its events, and what each event of its history and each remembered id adds."""
    whole = sum(len(states.pack(state)) for _, state in found)
    unread = sum(len(states.pack(replace(state, history=History()))) for _, state in found)
    forgotten = sum(len(states.pack(replace(state, recent=()))) for _, state in found)
    history, recent = whole - unread, whole - forgotten
    return {
        "state_bytes": (whole - history - recent) / len(found) + fmean(len(key) for key, _ in found),
        "history_bytes": history / sum(len(state.history.items) for _, state in found),
        "recent_bytes": recent / sum(len(state.recent) for _, state in found),
    }


def raw(values: Mapping[str, bytes]) -> int:
    """Bytes of keys and values."""
    return sum(len(key) + len(value) for key, value in values.items())


def used_memory(client: redis.Redis) -> int:
    info: Any = client.info("memory")
    return int(info["used_memory"])


def redis_factors(url: str, kv: KeyValue, small: Mapping[str, bytes], large: Mapping[str, bytes]) -> dict[str, float]:
    """Overhead of a key, and of a byte, in a Redis that nobody else uses; as entries of a cache that end after a day.

    ``small`` values (marks) show what a key takes beside its bytes, ``large`` ones what the allocator adds to a byte.
    """
    client = redis.Redis.from_url(url)
    write(kv, small)  # buffers of connections are there from now on
    kv.drop("")
    began = used_memory(client)
    write(kv, small)
    middle = used_memory(client)
    write(kv, large)
    end = used_memory(client)
    client.close()
    # two equations: bytes x factor + keys x overhead is what was used
    (b1, k1), (b2, k2) = (raw(small), len(small)), (raw(large), len(large))
    used1, used2 = middle - began, end - middle
    value = (used2 - used1 * k2 / k1) / (b2 - b1 * k2 / k1)
    return {"redis_value": value, "redis_key": (used1 - b1 * value) / k1}


def write(kv: KeyValue, values: Mapping[str, bytes]) -> None:
    """As the cache writes them: under the epoch's names, with an end."""
    pairs = list(values.items())
    for start in range(0, len(pairs), 500):
        kv.put({name_of(key, EPOCH): entry_of(value) for key, value in pairs[start : start + 500]}, DAY)


def postgresql_factor(url: str, kv: KeyValue, values: Mapping[str, bytes]) -> float:
    """Bytes of the database for a byte of keys and values."""
    with psycopg.connect(url, autocommit=True) as connection:

        def size() -> int:
            [(bytes_,)] = connection.execute("SELECT pg_database_size(current_database())").fetchall()
            return int(bytes_)

        began = size()
        pairs = list(values.items())
        for start in range(0, len(pairs), 1024):
            kv.fill(dict(pairs[start : start + 1024]))
        return (size() - began) / raw(values)


def sent_to_kafka(url: str, events: Sequence[AnyEvent], partitions: int = 8) -> float:
    """Bytes that go to the broker for each event, all of the protocol included: what it keeps, and a little more.

    The platform's messages through the platform's producer settings; the client library counts what it sends.
    """
    address, _, topic = url.removeprefix("kafka://").partition("/")
    told: list[int] = []
    client = Producer(
        {**SETTINGS, "bootstrap.servers": address, "linger.ms": LINGER, "statistics.interval.ms": 100, "log_level": 3}
        | {"stats_cb": lambda text: told.append(sum(broker["txbytes"] for broker in json.loads(text)["brokers"].values()))}
    )  # fmt: skip
    admin = AdminClient({"bootstrap.servers": address})
    for made in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        made.result(30)
    client.list_topics(topic, 10)
    before = settled(client, told)
    for start in range(0, len(events), TOGETHER):
        packed = [Packed(owner(event), encode_event(event)) for event in events[start : start + TOGETHER]]
        for partition, key, body in messages_of(packed, partitions):
            client.produce(topic, body, key, partition)
        client.flush(30)
    return (settled(client, told) - before) / len(events)


def settled(client: Producer, told: list[int]) -> int:
    """What the library says it has sent, once that stays the same."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        client.poll(0.25)
        if len(told) > 2 and told[-1] == told[-2]:
            return told[-1]
    raise TimeoutError("the client library does not tell what it has sent")


def owner(event: AnyEvent) -> str:
    return str(getattr(event, "user", "") or getattr(event, "item", ""))


def lake_bytes(storage: Storage, name: str) -> float:
    """Bytes of a table's files for each row, compacted."""
    storage.lake.compact(name)
    rows = len(storage.lake.read(name, columns=["offset"]))
    return sum(Path(path).stat().st_size for path in storage.lake.files(name)) / rows


def decisions_of(storage: Storage, count: int) -> list[AnyEvent]:
    """Decisions that the log holds, those of all partitions mixed as requests come."""
    each = [
        [record.event for record in storage.log.read(partition, 0, count) if isinstance(record.event, Decision)] if end else []
        for partition, end in enumerate(storage.log.ends())
    ]
    mixed = chain.from_iterable(zip_longest(*each))
    return [event for event in mixed if event is not None][:count]
