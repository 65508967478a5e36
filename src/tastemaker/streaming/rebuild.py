"""User states and item counters, made again by replay of the log, and of the lake for what the log keeps no longer.

First everything is replayed into a store of its own, a folder in this home, while the workers go on. Then the workers are held
(``storage/kv/hold.py``), the rest of the log is replayed, and the values are exchanged user by user: a state carries
the last offset that it includes, so each is right by itself, and whatever is cut off in between leaves a mixture of right ones.
At last the store gets a new name, whose group stands where the replay ended, and the workers go on from there.

The online store is never empty meanwhile: requests are answered from what was there until a user's state is exchanged. What
comes out equals what the workers would have made, byte for byte, as long as the categories of items are those of then: features
by category are counted under the categories that an item has at the time of counting.

A replay that was killed goes on where it stood: the folder says how far each partition is.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from tastemaker.domain import Record, encode_event
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.sources import Shelf
from tastemaker.storage import Storage, keys, resolve
from tastemaker.storage.history import History
from tastemaker.storage.kv import SCHEMES, KeyValue
from tastemaker.storage.kv.hold import Hold
from tastemaker.storage.lockfile import locked
from tastemaker.streaming.counters import FEATURE, Counters
from tastemaker.streaming.poison import apart
from tastemaker.streaming.update import Applied, update

BATCH = 20_000
SMALLEST = 1000  # records of one update
USERS = 500  # whose states are exchanged in one put
FOLDER = "rebuild"
PLACES, MADE_OF = "places", "made-of"
Progress = Callable[[int, int, str], None]


def rebuild_states(storage: Storage, progress: Progress) -> int:
    """Makes states, marks and counters again; returns the number of users that have a state."""
    folder = (storage.config.home / FOLDER).absolute()
    with locked(storage.config.home / f"{FOLDER}.lock", FOLDER):
        scratch = prepared(storage, folder)
        try:
            replay = Replay(storage, scratch)
            while replay.run(progress) > BATCH:  # what came meanwhile is to be little when the workers must wait
                pass
            with Hold(storage.kv, storage.config.patience, scratch.get([keys.HOLD])[0] or b"") as hold:
                replay.run(progress, hold.renew)
                users = exchange(storage, scratch, hold, progress)
                replay.count()
                hold.release(storage.log, replay.history.ends, trending_of(scratch))
        finally:
            scratch.close()
        shutil.rmtree(folder)
    return users


def prepared(storage: Storage, folder: Path) -> KeyValue:
    """The store beside; emptied where it was made of something else."""
    opener = resolve(f"lmdb:///{folder}", SCHEMES, "connect.kv")
    made_of = msgspec.json.encode(
        [
            storage.config.url("log"),
            storage.config.log.partitions,
            storage.config.rewards,
            storage.config.streaming.trending_hours,
        ]
    )
    for _ in range(2):
        scratch: KeyValue = opener(f"lmdb:///{folder}")
        if scratch.get([MADE_OF])[0] == made_of:
            return scratch
        scratch.close()
        shutil.rmtree(folder, ignore_errors=True)
        fresh: KeyValue = opener(f"lmdb:///{folder}")
        fresh.put({MADE_OF: made_of, keys.HOLD: uuid.uuid4().hex.encode()})
        fresh.close()
    raise AssertionError("a store that was just made is made of this")


class Replay:
    """Everything that happened, applied to the store beside."""

    def __init__(self, storage: Storage, scratch: KeyValue) -> None:
        self.storage, self.scratch, self.config = storage, scratch, storage.config
        self.history = History(storage.log, storage.lake)
        items = storage.tables.items
        self.shelf = Shelf(Catalogue.of(items.all(), items.stamp(), items.deleted()))
        self.counters = Counters(self.history.partitions, self.config.streaming.trending_hours)
        self.counters.own(scratch, range(self.history.partitions))
        self.buried = {letter.body for letter in storage.tables.dead_letters.all()}

    def run(self, progress: Progress, between: Callable[[], None] = lambda: None) -> int:
        """Up to the log's ends of now; calls ``between`` after each batch. Returns how many places it went on."""
        self.history = History(self.storage.log, self.storage.lake)
        packed = self.scratch.get([PLACES])[0]
        places = msgspec.json.decode(packed, type=list[int]) if packed is not None else [0] * self.history.partitions
        before = sum(places)
        for partition, end in enumerate(self.history.ends):
            while places[partition] < end:
                records, places[partition] = self.history.read(partition, places[partition], BATCH)
                self.apply(partition, records)
                self.scratch.put({PLACES: msgspec.json.encode(places)})
                progress(sum(places), self.history.count(), "events")
                between()
        return sum(places) - before

    def apply(self, partition: int, records: list[Record]) -> None:
        def some(part: Sequence[Record]) -> Applied:
            return update(part, self.scratch, self.config, self.shelf, refresh=False)

        size = max(self.config.streaming.batch, SMALLEST)  # a worker lets as many fail of each batch
        for start in range(0, len(records), size):
            apart(records[start : start + size], some, self.bury)
        self.counters.add(records, self.config.rewards)
        if records:
            self.scratch.put({keys.counters(partition, FEATURE): self.counters.parts[partition].to_bytes()})

    def bury(self, record: Record, error: Exception) -> None:
        """A record that the workers could not apply either stays where they put it."""
        body = encode_event(record.event)
        if body not in self.buried:
            self.storage.tables.dead_letters.put(FOLDER, record, error)
            self.buried.add(body)

    def count(self) -> None:
        """What trends, out of all counters."""
        self.counters.write(self.scratch, int(time.time() * 1000))


def exchange(storage: Storage, scratch: KeyValue, hold: Hold, progress: Progress) -> int:
    """Puts the new values over the old ones and removes those that nothing stands for any more; returns the users."""
    users = 0
    block: dict[str, bytes] = {}
    for key, value in scratch.scan("state:"):
        user = key.removeprefix("state:")
        block |= {key: value, keys.mark(user): scratch.get([keys.mark(user)])[0] or b""}
        users += 1
        if len(block) >= 2 * USERS:
            hold.put(block)
            block = {}
            progress(users, users, "users")
    hold.put(block)
    hold.put(dict(scratch.scan("items:")))
    for gone in orphans(storage.kv, scratch):
        hold.delete(gone)
    return users


def orphans(kv: KeyValue, scratch: KeyValue) -> Iterator[list[str]]:
    """Keys of the online store that the replay did not make, in blocks."""
    for prefix in ("state:", "mark:", "items:"):
        block: list[str] = []
        for key, _ in kv.scan(prefix):
            block.append(key)
            if len(block) == USERS:
                yield absent(block, scratch)
                block = []
        yield absent(block, scratch)


def absent(block: list[str], scratch: KeyValue) -> list[str]:
    return [key for key, value in zip(block, scratch.get(block), strict=True) if value is None] if block else []


def trending_of(scratch: KeyValue) -> dict[str, bytes]:
    packed = scratch.get([keys.TRENDING])[0]
    return {keys.TRENDING: packed} if packed is not None else {}
