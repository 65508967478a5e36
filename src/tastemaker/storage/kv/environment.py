"""An LMDB folder, opened once for all of a process, and the growth of its memory map.

LMDB forbids two things that a program does easily: opening a folder twice in a process, and replacing the map while a
thread reads in it. So who opens a folder again gets the same environment, and each thread reads under a lock of its own,
which nobody contends for but the one who replaces the map.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import lmdb

from tastemaker.errors import StorageError

MAP_SIZE = 1 << 30  # of the address space; the file grows with its content
T = TypeVar("T")


class Reader:
    """A thread's right to read: whoever replaces the memory map takes it from all threads first."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Environment:
    """An LMDB folder, shared by everybody in this process who opened it."""

    def __init__(self, path: Path) -> None:
        self.path, self.users = path, 0
        self.wanted = False  # somebody waits for the readers to pause
        self.writing, self.registering = threading.Lock(), threading.Lock()
        self.readers: weakref.WeakSet[Reader] = weakref.WeakSet()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self.env = lmdb.open(
                str(path), map_size=MAP_SIZE, max_dbs=2, max_readers=1024, max_spare_txns=64, metasync=False, readahead=False
            )
            self.env.reader_check()  # frees what killed processes held
            self.values, self.expiry = self.env.open_db(b"values"), self.env.open_db(b"expiry")
            self.begin = partial(self.env.begin, self.values)
        except (lmdb.Error, OSError) as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> StorageError:
        if isinstance(error, lmdb.InvalidError | lmdb.CorruptedError | lmdb.VersionMismatchError):
            remedy = "it is no online store, or damaged: remove it, it is built again by publishing and the nearline worker"
        else:
            remedy = "see that the disk has room and the folder may be written"
        return StorageError(f"{self.path}: {error}: {remedy}")

    def reader(self) -> Reader:
        reader = Reader()
        with self.registering:
            self.readers.add(reader)
        return reader

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No thread of this process reads meanwhile."""
        with self.registering, ExitStack() as stack:
            # Without the sign, a thread that reads all the time would take its lock again before we get it.
            self.wanted = True
            stack.callback(setattr, self, "wanted", False)
            for reader in self.readers:
                stack.enter_context(reader.lock)
            yield

    def let_pass(self) -> None:
        """Waits for who wants to be alone."""
        with self.registering:
            pass

    def resize(self, size: int) -> None:
        """Replaces the map; 0 takes the size that another process gave it. The caller holds ``writing``."""
        with self.alone():
            self.env.set_mapsize(size)

    def write(self, change: Callable[[lmdb.Transaction[bytes]], None]) -> None:
        """Runs a change as one transaction, again in a larger map when it does not fit."""
        with self.writing:
            while True:
                try:
                    with self.env.begin(write=True) as transaction:
                        change(transaction)
                    return
                except lmdb.MapFullError:
                    self.resize(2 * self.env.info()["map_size"])
                except lmdb.MapResizedError:
                    self.resize(0)
                except lmdb.Error as error:
                    raise self.failure(error) from error

    def read(self, reader: Reader, get: Callable[[lmdb.Transaction[bytes]], T]) -> T:
        while True:
            try:
                with reader.lock, self.env.begin(db=self.values) as transaction:
                    return get(transaction)
            except lmdb.MapResizedError:
                with self.writing:
                    self.resize(0)
            except lmdb.Error as error:
                raise self.failure(error) from error


_environments: dict[Path, Environment] = {}
_opening = threading.Lock()


def borrow(path: Path) -> Environment:
    """The folder's environment; ``give_back`` it in the end."""
    with _opening:
        environment = _environments.get(path)
        if environment is None:
            environment = _environments[path] = Environment(path)
        environment.users += 1
        return environment


def give_back(environment: Environment) -> None:
    """The last user closes the folder."""
    with _opening:
        environment.users -= 1
        if not environment.users:
            del _environments[environment.path]
            with environment.writing, environment.alone():
                environment.env.close()
