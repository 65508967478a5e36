"""What a task of Spark does with its rows, without Spark: exact when it comes again, and silent when it comes too late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest
from msgspec.structs import replace

from tastemaker.config import Config, Streaming
from tastemaker.domain import AnyEvent, Erase, Interaction, ItemChange, Record
from tastemaker.errors import Conflict
from tastemaker.features import states
from tastemaker.features.counters import ItemCounters
from tastemaker.registry import live
from tastemaker.storage import Storage, keys
from tastemaker.storage.kv import consumer_of
from tastemaker.streaming import applying
from tastemaker.streaming.counters import FEATURE
from tastemaker.streaming.spark import task as spark_task
from tastemaker.streaming.spark.source import rows_of
from tastemaker.streaming.spark.task import ARROW, Job, Task, work
from tastemaker.streaming.update import Applied, update
from world import BASE, fill


def click(number: int, user: str = "u1") -> Interaction:
    return Interaction(f"n{number}", BASE + 10**9 + number, user, f"i{number % 50}", "click")


def batches(records: Sequence[Record], size: int = 40) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(records), size):
        part = records[start : start + size]
        yield rows_of(part[0].partition, part, part[-1].offset)


def whole(storage: Storage, partition: int) -> list[Record]:
    return storage.log.read(partition, 0, 100_000)


def done(job: Job, records: Sequence[Record]) -> dict[str, Any]:
    (batch,) = work(job, batches(records))
    assert batch.schema == ARROW
    (row,) = batch.to_pylist()
    return dict(row)


def written(storage: Storage) -> dict[str, bytes]:
    return {key: value for prefix in ("state:", "mark:", "items:") for key, value in storage.kv.scan(prefix)}


@pytest.fixture
def job(storage: Storage, home: Config) -> Job:
    fill(storage, users=30, items=50, per_user=10)
    return Job(replace(home, streaming=Streaming(batch=25)), consumer_of(storage.kv))


def test_a_task_that_comes_again_changes_nothing(storage: Storage, job: Job) -> None:
    records = whole(storage, 3)
    first = done(job, records)
    assert first["places"] == [(3, len(records))]
    assert (first["records"] > 0, first["counted"], first["buried"]) == (True, True, 0)
    before = written(storage)
    again = done(job, records)
    assert (again["records"], again["counted"]) == (0, False)
    assert written(storage) == before


def test_a_task_that_died_between_states_and_counters_is_made_up_for(storage: Storage, job: Job) -> None:
    records = whole(storage, 3)
    task = Task(job)
    task.apply([(record.partition, record.offset, body) for record, body in zip(records, bodies(records), strict=True)])
    assert storage.kv.get([keys.counters(3, FEATURE)]) == [None]
    report = done(job, records)
    assert (report["records"], report["counted"]) == (0, True)
    counted = ItemCounters.from_bytes(storage.kv.get([keys.counters(3, FEATURE)])[0] or b"")
    assert counted.offset == records[-1].offset
    assert sum(isinstance(record.event, Interaction) for record in records) > len(counted.accs) > 0


def bodies(records: Sequence[Record]) -> list[bytes]:
    return [body for batch in batches(records) for body in batch.column("body").to_pylist()]


def test_a_task_whose_partition_was_given_to_another_writes_nothing_more(storage: Storage, job: Job) -> None:
    """As one on a machine that was taken for dead does, when its driver has begun the same batch elsewhere, and went on."""
    records = whole(storage, 3)
    rows = [(record.partition, record.offset, body) for record, body in zip(records, bodies(records), strict=True)]
    slow = Task(job)
    slow.apply(rows[:10])
    done(job, records)
    before = written(storage)
    with pytest.raises(Conflict, match="another task writes the states of these partitions by now"):
        slow.apply([(3, records[-1].offset + 1, bodies([Record(3, 0, click(1, "late"))])[0])])
    with pytest.raises(Conflict, match="another task"):
        slow.end()
    assert written(storage) == before


def test_a_task_of_another_store_or_of_one_that_is_held_writes_nothing(storage: Storage, job: Job) -> None:
    before = written(storage)
    with pytest.raises(Conflict, match="not the one that nearline-gone fills"):
        done(Job(job.config, "nearline-gone"), whole(storage, 3))
    storage.kv.put({keys.HOLD: b"x"}, ttl=30)
    with pytest.raises(Conflict, match="being rebuilt"):
        done(job, whole(storage, 3))
    assert written(storage) == before


def test_the_catalogue_and_the_profiles_follow_a_task(storage: Storage, job: Job) -> None:
    done(job, whole(storage, 0))
    change = ItemChange("c", BASE + 10**10, "i2", "Film 2", ("Horror",), active=False)
    events: list[AnyEvent] = [change, Erase("e", BASE + 10**10, "p0")]
    places = storage.log.append(events).result()
    for event, (partition, offset) in zip(events, places, strict=True):
        report = done(job, [Record(partition, offset, event)])
        assert report["items"] == isinstance(event, ItemChange)
    assert storage.tables.items.get("i2") == change
    assert storage.tables.users.get("p0") is None
    assert storage.kv.get([keys.CATALOG])[0] == str(storage.tables.items.stamp()).encode()


def test_slates_are_left_to_the_requests_while_much_waits(published: tuple[Storage, Config]) -> None:
    storage, config = published
    version = (live.read(storage.kv) or pytest.fail("nothing is live")).version
    job = Job(replace(config, streaming=Streaming(batch=25, refresh_lag=30)), consumer_of(storage.kv))
    places = storage.log.append([click(number) for number in range(100)]).result()
    partition = places[0][0]
    records = storage.log.read(partition, places[0][1], 100)
    before = storage.kv.get([keys.slate(version, "u1")])
    assert done(job, records[:50])["slates"] == 0
    assert storage.kv.get([keys.slate(version, "u1")]) == before
    assert done(job, records[50:])["slates"] == 3, "one an update, of 25, 15 and 10 records, behind which little waits"
    assert storage.kv.get([keys.slate(version, "u1")]) != before
    assert states.unpack(storage.kv.get([keys.state("u1")])[0] or b"").offset == records[-1].offset


def test_a_record_that_cannot_be_applied_is_set_aside_and_the_rest_goes_on(
    storage: Storage, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is put into the update function, as an upgrade that is wrong would."""

    def faulty(records: Sequence[Record], *rest: Any, **more: Any) -> Applied:
        if any(record.event.id == "click-0-3" for record in records):
            raise ValueError("cannot digest it")
        return update(records, *rest, **more)

    monkeypatch.setattr(applying, "update", faulty)
    poisoned = next(p for p in range(8) for record in whole(storage, p) if record.event.id == "click-0-3")
    records = whole(storage, poisoned)
    report = done(job, records)
    assert report["buried"] == 1
    (letter,) = storage.tables.dead_letters.all()
    assert (letter.event().id, letter.reader) == ("click-0-3", job.group)
    applied = sum(isinstance(record.event, Interaction) for record in records)
    assert applied - 1 <= report["records"] < len(records)


def test_places_that_hold_nothing_move_a_partition_on(storage: Storage, job: Job) -> None:
    (batch,) = work(job, iter([rows_of(5, [], 77)]))
    assert batch.to_pylist()[0]["places"] == [(5, 78)]
    assert spark_task.plain(storage.log, [(5, 77, None)]) == []
