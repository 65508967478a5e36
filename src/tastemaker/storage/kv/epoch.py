"""The epoch of a cache: the word that makes everything old in it unreachable at once.

A writer that could not tell the front of a new value leaves an old one there, which others would read. So it puts a new epoch
into the back: entries of another epoch are never found again, and end by themselves. Every process looks at the back's epoch
each second, and again when it comes to trust a front that had failed.

The back may be lost and come back empty. It then gets an epoch that no front has seen.
"""

from __future__ import annotations

import asyncio
import threading
import uuid

from tastemaker.errors import StorageError
from tastemaker.storage import keys
from tastemaker.storage.kv import Dated

LOOK = 1.0  # seconds between looks


class Epoch:
    """The current epoch, as far as this process knows. Thread safe."""

    def __init__(self, back: Dated) -> None:
        self._back = back
        self._lock = threading.Lock()
        self._changes = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.known: str | None = None

    def current(self) -> str:
        """The epoch; asks the back only where none is known yet."""
        return self.known or self.refresh()

    async def soon(self) -> str:
        """``current`` for an event loop."""
        return self.known if self.known is not None else await asyncio.to_thread(self.refresh)

    def refresh(self) -> str:
        """The epoch as the back has it now."""
        mark = self.mark()
        found = self._back.look([keys.EPOCH])[0]
        if found is None:
            self._back.add({keys.EPOCH: fresh()})
            found = self._back.look([keys.EPOCH])[0]
        if found is None:
            raise StorageError("the store behind the cache forgets what it has just taken: see that it has room")
        self.saw(found[0], mark)
        return found[0].decode()

    def mark(self) -> int:
        """To be taken before the back is read, and given with what was seen: news from in between is newer."""
        return self._changes

    def saw(self, found: bytes, mark: int) -> None:
        """Takes an epoch that was read with other things."""
        with self._lock:
            if mark == self._changes and found.decode() != self.known:
                self._set(found)

    def renew(self) -> str:
        """Leaves all that is in the front behind. Raises where the back cannot be told either."""
        new = fresh()
        self._back.put({keys.EPOCH: new})
        return self.wrote(new)

    def wrote(self, new: bytes) -> str:
        """Takes an epoch that we put into the back."""
        with self._lock:
            self._set(new)
        return new.decode()

    def _set(self, name: bytes) -> None:
        self.known = name.decode()
        self._changes += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="epoch of the cache", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK):
            try:
                self.refresh()
            except StorageError:
                continue  # nobody can write then, so the epoch stays; whoever needs the back is told by it

    def close(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()


def fresh() -> bytes:
    """An epoch that was never used."""
    return uuid.uuid4().hex[:16].encode()
