"""The file of a spool: events that wait on the local disk, in order, and how many were handed over.

It is a log in an SQLite file with one partition, so what it took survives ``kill -9`` and a power failure, and processes of a
machine can share it. What was handed over is taken off the disk; the file keeps its size and uses the room again.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tastemaker.domain import AnyEvent
from tastemaker.errors import Unavailable
from tastemaker.storage.log.sqlite import SqliteLog
from tastemaker.storage.log.sqlite_file import connect, failure

GROUP = "handed over"
RECHECK = 0.02  # seconds between looks whether another process has let go of the lock


class Spool:
    """The events that wait. Thread safe."""

    def __init__(self, folder: Path, megabytes: float) -> None:
        self.folder, self.megabytes = folder, megabytes
        self.log = SqliteLog((folder / "events.db").absolute(), 1)
        self.log.prepare()
        self._lock = threading.Lock()
        self._asking: sqlite3.Connection = connect(self.log.path)  # for the questions of each append
        self._version = -1
        self._waits = False

    def waits(self) -> bool:
        """Whether events wait, also those of other processes. Cheap: it looks only when the file was changed."""
        with self._lock:
            version = self._ask("PRAGMA data_version")
            if version != self._version:
                self._waits = self.count() > 0
                self._version = version
            return self._waits

    def full(self) -> bool:
        with self._lock:
            used = self._ask("PRAGMA page_count") - self._ask("PRAGMA freelist_count")
            return used * self._ask("PRAGMA page_size") > self.megabytes * 1e6

    def _ask(self, question: str) -> int:
        try:
            answer: int = self._asking.execute(question).fetchone()[0]
        except sqlite3.Error as error:
            raise failure(self.log.path, error) from error
        return answer

    def count(self) -> int:
        """How many events wait."""
        return self.log.ends()[0] - self.log.committed(GROUP)[0]

    def next(self, limit: int) -> tuple[list[AnyEvent], int]:
        """The next events to hand over, and the offset behind them. Call it under ``alone``."""
        records, behind = self.log.take(0, self.log.committed(GROUP)[0], limit, {})
        return [record.event for record in records], behind

    def done(self, offset: int) -> None:
        """Everything below an offset was handed over."""
        self.log.commit(GROUP, {0: offset})
        self.log.forget({0: offset})

    @contextmanager
    def alone(self, seconds: float = 0.0) -> Iterator[bool]:
        """The right to take events away, which one process has at a time; False when another one keeps it for so long."""
        end = time.monotonic() + seconds
        with (self.folder / "drain.lock").open("a") as file:
            while not (got := try_lock(file.fileno())) and time.monotonic() < end:
                time.sleep(RECHECK)
            yield got

    def erase(self, user: str, seconds: float) -> int:
        """Erases a user's waiting events. Nothing is on its way to the server meanwhile."""
        with self.alone(seconds) as got:
            if not got:
                raise Unavailable(f"{self.folder}: another process is handing over what waits in the spool: try again")
            return self.log.erase(user)

    def close(self) -> None:
        with self._lock:
            self._asking.close()
        self.log.close()


def try_lock(descriptor: int) -> bool:
    """Takes a file's lock, if nobody has it. It ends with the file's being closed, or the process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
