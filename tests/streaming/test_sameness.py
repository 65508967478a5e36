"""All drivers of the nearline plane leave the same stores: the worker, the consumer of Kafka, and Spark over either log.

The same events go into each log in the same order, so places are the same, and then through each driver, which dies once between
applying and committing. What is compared byte for byte is all that they write. Left out is what must differ: the catalogue's
stamp, which counts in how many steps it was changed (the key ``catalog``, and eight bytes in the head of each slate's front), and
the marks under ``writer:``, which are those of Spark's tasks.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

import servers
import spark_session
import world
from tastemaker.config import Config, Streaming
from tastemaker.domain import AnyEvent, Decision, Erase, Exposure, Interaction, ItemChange, Slot, UserChange, View
from tastemaker.errors import StorageError
from tastemaker.registry import live
from tastemaker.slates.stored import HEAD, decode_whole
from tastemaker.storage import Storage, connect, keys
from tastemaker.storage.kv import consumer_of
from tastemaker.storage.log import Subscription
from tastemaker.streaming.spark.stream import Stream
from tastemaker.streaming.worker import Worker

if TYPE_CHECKING:
    from pyspark.sql import Row, SparkSession

NOW = world.BASE + 4000 * world.MINUTE
PREFIXES = ("state:", "mark:", "slate:", "whole:", "items:", keys.TRENDING, keys.LIVE, keys.STORE)
KILLED = "killed between the update and the commit"
Kept = dict[str, bytes]


def clock() -> float:
    """Always the same: what trends fades with time."""
    return NOW / 1000


def click(number: int, user: str, item: str, late: int = 0, kind: str = "click") -> Interaction:
    return Interaction(f"n{number}", NOW - 60_000 * late, user, item, kind)


def changes() -> list[AnyEvent]:
    """The catalogue changes first: under which categories an event is counted depends on when its reader sees the change."""
    return [
        ItemChange("c1", NOW, "i3", "Film 3", ("Horror", "Drama")),
        ItemChange("c2", NOW, "i4", "Film 4", ("Comedy",), active=False),
        ItemChange("c3", NOW, "new", "New", ("Drama",)),
    ]


def traffic() -> list[AnyEvent]:
    """Everything that is difficult: ids twice, events out of order, users who are erased and come back, and all other kinds."""
    events: list[AnyEvent] = []
    for number in range(900):
        user, item = f"u{number * 7 % 130}", f"i{number * 11 % 80}"
        events.append(click(number, user, item, late=number * 37 % 500, kind=("click", "play", "like")[number % 3]))
        if number % 5 == 0:
            events.append(events[-1])  # the same id at once
        if number % 90 == 89:
            events.append(Erase(f"x{number}", NOW, user))
            events.append(click(10_000 + number, user, "i1"))
        if number % 50 == 0:
            events.append(View(f"v{number}", NOW, user, "d", item))
            events.append(Decision(f"d{number}", NOW, user, slots=(Slot(item),)))
            events.append(Exposure(f"e{number}", NOW, "test", user, "a"))
            events.append(UserChange(f"p{number}", NOW, user, {"Drama": 2.0}, "de"))
    again = [event for event in events if isinstance(event, Interaction)][:200]
    return [*events, *again, click(20_000, "leaver", "i5"), Erase("y", NOW, "leaver"), Erase("z", NOW, "u1")]


def last_words() -> list[AnyEvent]:
    """Something of everybody that counts for no trend: all slates are made again, from the same catalogue and the same trends."""
    return [UserChange(f"last-{number}", NOW, f"u{number}", {"Comedy": 1.0}) for number in range(2, 130)]


class DyingWorker(Worker):
    """A worker that ends when it has applied a batch, and neither counted nor committed it."""

    def flush(self, subscription: Subscription) -> None:  # noqa: ARG002 - it does not come to use it
        raise StorageError(KILLED)


class DyingStream(Stream):
    """A stream that ends when its tasks have written all of theirs, and nothing is committed."""

    def settle(self, rows: list[Row]) -> None:  # noqa: ARG002 - as above
        raise StorageError(KILLED)


def driven_by_worker(storage: Storage, config: Config) -> None:
    for part in (changes(), traffic(), last_words()):
        storage.log.append(part).result()
        if len(part) > 1000:
            dying = DyingWorker(storage, config, clock)
            with pytest.raises(StorageError, match=KILLED):
                dying.drain()
            dying.leave()
        worker = Worker(storage, config, clock)
        worker.drain()
        worker.stop()


def driven_by_spark(storage: Storage, config: Config) -> None:
    for part in (changes(), traffic(), last_words()):
        storage.log.append(part).result()
        if len(part) > 1000:
            with pytest.raises(StorageError, match=KILLED):
                DyingStream(storage, config, clock).drain()
        stream = Stream(storage, config, clock)
        stream.drain()
        assert stream.lag() == 0


def on_files(config: Config) -> Config:
    return config


def on_kafka(config: Config) -> Config:
    return replace(config, connect=replace(config.connect, log=servers.kafka()))


DRIVERS: dict[str, tuple[Callable[[Config], Config], Callable[[Storage, Config], None]]] = {
    "worker": (on_files, driven_by_worker),
    "kafka": (on_kafka, driven_by_worker),
    "spark": (on_files, driven_by_spark),
    "spark over kafka": (on_kafka, driven_by_spark),
}


def kept(storage: Storage) -> Kept:
    found = {key: value for prefix in PREFIXES for key, value in storage.kv.scan(prefix)}
    return {key: unstamped(value) if key.startswith("slate:") else value for key, value in found.items()}


def unstamped(front: bytes) -> bytes:
    """The front of a slate without the stamp of its catalogue."""
    made, offset, _, *rest = HEAD.unpack_from(front)
    return HEAD.pack(made, offset, 0, *rest) + front[HEAD.size :]


@dataclass(frozen=True)
class Left:
    """What a driver left in the stores."""

    values: Kept
    version: str
    items: list[ItemChange]
    users: list[object]
    whole: bool  # the group stands at the log's end, and nothing was set aside


def left_by(storage: Storage) -> Left:
    done = storage.log.committed(consumer_of(storage.kv)) == storage.log.ends()
    users: list[object] = [storage.tables.users.get(user) for user in (*(f"u{number}" for number in range(130)), "leaver")]
    version = (live.read(storage.kv) or pytest.fail("nothing is live")).version
    return Left(kept(storage), version, storage.tables.items.all(), users, done and not storage.tables.dead_letters.count())


def copied(before: Config, after: Config) -> None:
    """Brings what a log holds into another one, partition by partition, so that all places are the same."""
    with connect(before) as here, connect(after) as there:
        for partition in range(here.log.partitions):
            there.log.append([record.event for record in here.log.read(partition, 0, 100_000)]).result()


@pytest.fixture(scope="module")
def left(published_home: Path, tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> dict[str, Left]:
    """What each driver left in a copy of one platform."""
    found: dict[str, Left] = {}
    for name, (place, drive) in DRIVERS.items():
        home = shutil.copytree(published_home, tmp_path_factory.mktemp("same") / "home")
        plain = replace(world.config_of(home), spark=spark_session.SPARK, streaming=Streaming(batch=90, trigger_records=700))
        config = place(plain)
        if config != plain:
            copied(plain, config)
        with connect(config) as storage:
            drive(storage, config)
            found[name] = left_by(storage)
    return found


@pytest.mark.parametrize("name", [name for name in DRIVERS if name != "worker"])
def test_a_driver_leaves_what_the_worker_leaves(left: dict[str, Left], name: str) -> None:
    expected, found = left["worker"], left[name]
    assert found.values.keys() == expected.values.keys()
    assert [key for key, value in expected.values.items() if found.values[key] != value] == []
    assert (found.items, found.users) == (expected.items, expected.users)
    assert found.whole


def test_what_was_compared_has_all_that_is_difficult(left: dict[str, Left]) -> None:
    """Else the comparison above would prove little."""
    found, version = left["worker"].values, left["worker"].version
    assert keys.state("leaver") not in found
    assert keys.state("u1") not in found
    assert keys.slate(version, "u129") in found
    assert b"new" in found[keys.TRENDING] or b"i1" in found[keys.TRENDING]
    assert sum(key.startswith("items:") for key in found) == 4
    offered = {shown.item for shown in decode_whole(found[keys.whole(version, "u2")]).items}
    assert len(offered) == 30
    assert "i4" not in offered
