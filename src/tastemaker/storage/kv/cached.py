"""A fast store in front of a durable one: a cache that fills itself, and that never keeps what is no longer true.

**Reading.** One read of the front. Where it lacks a key, all keys of the request are read from the back, in one query and so
from one moment; what was lacking is written to the front, but only if it is still not there: a writer may have been faster.
That a key has no value is remembered for half a minute. A flushed front so refills itself.

**Writing.** First the back, then the front. When the front fails, it may keep an old value, so the writer puts a new epoch
(``epoch.py``) into the back before it returns; while the front stays in doubt, the epoch is part of the write itself, in
the same transaction. What was deleted leaves a note in the front, so that a slow reader does not bring it back.

**Failing.** Without the front, reads and writes go to the back, and its breaker spares them the waiting. Without the back,
what the front knows is still answered; all else is ``Unavailable``. Both come back by themselves.

Most keys have one writer at a time. Those without a colon (pointers, stamps) may have several, and the last to reach the
front need not be the last that reached the back: after such a write the back is read once more, and it is right.

All processes must share the front. On one machine that may be an LMDB folder, else it is Redis, best without a disk: what it
restores from there is older than its epoch knows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

from tastemaker import telemetry
from tastemaker.errors import InputError, StorageError
from tastemaker.storage import keys
from tastemaker.storage.inspection import Inspectable, Inspection
from tastemaker.storage.kv import Dated, KeyValue
from tastemaker.storage.kv.entries import (
    ABSENT,
    DAY,
    MISS,
    NEGATIVE,
    SLOW,
    UNKNOWN,
    Miss,
    copies_of,
    entry_of,
    name_of,
    seconds_of,
    value_of,
)
from tastemaker.storage.kv.epoch import Epoch, fresh
from tastemaker.storage.kv.reads import Found, Reads, closed

BLOCK = 1000  # entries of one write to the front, where it need not be one step


class Cached:
    """A ``KeyValue`` over two others."""

    immediate = False

    def __init__(self, front: KeyValue, back: Dated) -> None:
        self.front, self.back = front, back
        self._epoch = Epoch(back)
        self._reads = Reads(self._read)
        self._failures = self._forgiven = 0  # of the front: all, and those after which the epoch was looked at again
        self._stained = False  # something that we wrote there may still be on its way
        self._closed = False

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        if not self._check(keys):
            return []
        epoch, mark = self._epoch.current(), self._failures
        try:
            entries = self.front.get([name_of(key, epoch) for key in keys])
        except StorageError as error:
            self._doubt(error)
            return answer(keys, self._reads.ask(keys, (), join=False).result())
        if self._doubted and not self._trust(epoch, mark):
            entries = [None] * len(keys)
        known = [value_of(entry) for entry in entries]
        if (values := complete(known)) is not None:
            return values
        return answer(keys, self._reads.ask(keys, lacking(keys, known), join=True).result())

    async def fetch(self, keys: Sequence[str]) -> list[bytes | None]:
        if not self._check(keys):
            return []
        epoch, mark = await self._epoch.soon(), self._failures
        try:
            entries = await self.front.fetch([name_of(key, epoch) for key in keys])
        except StorageError as error:
            self._doubt(error)
            return answer(keys, await asyncio.wrap_future(self._reads.ask(keys, (), join=False)))
        if self._doubted and not await asyncio.to_thread(self._trust, epoch, mark):
            entries = [None] * len(keys)
        known = [value_of(entry) for entry in entries]
        if (values := complete(known)) is not None:
            return values
        return answer(keys, await asyncio.wrap_future(self._reads.ask(keys, lacking(keys, known), join=True)))

    def _read(self, wanted: Sequence[str], lacking: frozenset[str]) -> Found:
        """One read of the back, in one of the threads for it. What the front lacks is copied before anybody is answered."""
        began, mark = time.monotonic(), self._epoch.mark()
        *found, epoch = self.back.look([*wanted, keys.EPOCH])
        values: Found = dict(zip(wanted, found, strict=True))
        if epoch is None:  # an empty store in place of the old one
            self._epoch.refresh()
            return values
        self._epoch.saw(epoch[0], mark)
        if lacking and not self._doubted and time.monotonic() - began < SLOW:
            self._copy([(key, values[key]) for key in lacking], epoch[0].decode())
        return values

    def _copy(self, found: Sequence[tuple[str, tuple[bytes, float | None] | None]], epoch: str) -> None:
        """Puts into the front what it lacks. An entry too few is no harm, so a failure only makes us doubt the front."""
        values, none = copies_of(found, epoch)
        try:
            if values:
                self.front.add(values, DAY)
            if none:
                self.front.add(none, NEGATIVE)
        except StorageError as error:
            self._doubt(error)

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        return (entry for entry in self.back.scan(prefix) if entry[0] != keys.EPOCH)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        if self._check(items):
            entries = {key: entry_of(value, ttl) for key, value in items.items()}
            new = {keys.EPOCH: fresh()} if self._doubted and ttl is None else {}  # all of a put has the same end
            epoch = self._change(lambda: self.back.put({**items, **new}, ttl), entries, seconds_of(ttl), new.get(keys.EPOCH))
            self._settle(items, epoch)

    def add(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        """See ``KeyValue``. Whose value is there now we do not know: for a moment the front leaves these keys to the back."""
        if self._check(items):
            self._change(lambda: self.back.add(items, ttl), dict.fromkeys(items, UNKNOWN), NEGATIVE)

    def fill(self, items: Mapping[str, bytes]) -> None:
        if self._check(items):
            entries = {key: entry_of(value) for key, value in items.items()}
            self._change(lambda: self.back.fill(items), entries, DAY, block=BLOCK)

    def delete(self, keys: Sequence[str]) -> None:
        if self._check(keys):
            epoch = self._change(lambda: self.back.delete(keys), dict.fromkeys(keys, ABSENT), NEGATIVE)
            self._settle(dict.fromkeys(keys), epoch)

    def drop(self, prefix: str) -> int:
        """See ``KeyValue``. A reader that is slow just then may bring an entry back to the front, until it ends."""
        self._check(())
        every = keys.EPOCH.startswith(prefix)
        self._epoch.current()
        count = self.back.drop(prefix) - every
        self._reads.forget_all()
        try:
            self.front.drop(prefix)
        except StorageError as error:
            self._doubt(error, written=True)
        if every or self._doubted:
            self._epoch.renew()
        return count

    def _change(
        self, change: Callable[[], None], entries: Mapping[str, bytes], seconds: float, new: bytes | None = None, block: int = 0
    ) -> str:
        """Changes the back, then the front; returns the epoch. ``new`` is the epoch that is part of the change, if one is."""
        self._epoch.current()
        mark, doubted = self._failures, self._doubted or new is not None
        change()
        self._reads.forget(entries)
        epoch = self._epoch_after(entries, new, doubted)
        if not self._publish(entries, seconds, epoch, block):
            if not doubted:
                self._epoch.renew()
        elif doubted:
            self._trust(epoch, mark)
        return epoch

    def _epoch_after(self, entries: Mapping[str, bytes], new: bytes | None, doubted: bool) -> str:
        """The epoch that counts now that the back has the change: ours, or one that another writer began meanwhile."""
        if new is not None:
            return self._epoch.wrote(new)
        if doubted:
            return self._epoch.renew()
        epoch = self._epoch.current()
        try:
            return self._epoch.refresh()
        except StorageError:
            self._publish(dict.fromkeys(entries, UNKNOWN), NEGATIVE, epoch)  # what is there is no longer true
            raise

    def _settle(self, wrote: Mapping[str, bytes | None], epoch: str) -> None:
        """Where others may have written the same keys at the same time, and what the front holds is not what the back holds."""
        shared = [key for key in wrote if ":" not in key]
        if not shared or self._doubted:
            return
        agreed = False
        try:
            found = self.back.look(shared)
            agreed = all(
                (entry[0] if entry is not None else None) == wrote[key] for key, entry in zip(shared, found, strict=True)
            )
        finally:
            if not agreed and not self._publish(dict.fromkeys(shared, UNKNOWN), NEGATIVE, epoch):
                self._epoch.renew()

    def _publish(self, entries: Mapping[str, bytes], seconds: float, epoch: str, block: int = 0) -> bool:
        """Writes to the front, in one step or in blocks. Whether it took everything."""
        named = ((name_of(key, epoch), entry) for key, entry in entries.items())
        try:
            while part := dict(islice(named, block or len(entries))):
                self.front.put(part, seconds)
        except StorageError as error:
            self._doubt(error, written=True)
            return False
        return True

    # ── the front's health ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _doubted(self) -> bool:
        """Whether the front failed, and nobody has looked at the epoch since it came back."""
        return self._failures > self._forgiven

    def _doubt(self, error: StorageError, *, written: bool = False) -> None:
        """The front failed. What was ``written`` may reach it late."""
        if not self._doubted:
            telemetry.log.warning("cache_away", error=str(error))
        self._stained = self._stained or written
        self._failures += 1

    def _trust(self, epoch: str, mark: int) -> bool:
        """The front works again. Whether its entries of an epoch may be believed; ``mark``: failures before it worked."""
        now = self._epoch.renew() if self._stained else self._epoch.refresh()
        self._stained = False
        self._forgiven = max(self._forgiven, mark)
        if not self._doubted:
            telemetry.log.info("cache_back")
        return now == epoch

    def _check(self, names: Collection[str]) -> bool:
        """Whether there is anything to do; raises where that cannot be."""
        if self._closed:
            raise closed()
        if "" in names:
            raise InputError("key", "", "a key needs at least one character")
        return bool(names)

    def inspect(self) -> Inspection:
        """What the front says of itself; the back is asked for itself."""
        if not isinstance(self.front, Inspectable):
            raise StorageError(f"{type(self.front).__name__} cannot be inspected: ask its server")
        return self.front.inspect()

    def close(self) -> None:
        self._closed = True
        self._epoch.close()
        self._reads.close()
        self.front.close()
        self.back.close()


def complete(known: Sequence[bytes | Miss | None]) -> list[bytes | None] | None:
    """The values, if the front knows all of them."""
    values = [value for value in known if not isinstance(value, Miss)]
    return values if len(values) == len(known) else None


def lacking(keys: Sequence[str], known: Sequence[bytes | Miss | None]) -> list[str]:
    return [key for key, value in zip(keys, known, strict=True) if value is MISS]


def answer(keys: Sequence[str], found: Found) -> list[bytes | None]:
    return [entry[0] if (entry := found[key]) is not None else None for key in keys]
