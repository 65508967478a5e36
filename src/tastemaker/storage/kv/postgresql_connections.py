"""Connections to a PostgreSQL server: few, kept open, given up as soon as something is wrong with them.

The client library waits for an answer as long as it takes. Here every wait has an end: the server ends statements that take
too long, and where the server itself is silent (stopped, cut off) we end the wait and the connection with it.

A server that is silent may still come to what it was sent, after we have given up and written something newer over another
connection. So a change carries a deadline: the last moment at which we still wait for it, in the server's own time. A server
that comes to it later undoes it (``postgresql_tables.in_time``).

The newest idle connection is used first. Before it is used, a look at its socket tells whether the server has closed it
meanwhile, so a server that was restarted is back for us without a failed call.
"""

from __future__ import annotations

import asyncio
import math
import select
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.waiting import Ready

from tastemaker.config import Patience, hide
from tastemaker.errors import ConfigError, StorageError, Unavailable
from tastemaker.storage.resilience import Careful

MOST = 8  # connections of one store in one process, beside those of its event loops
BULK = 30  # times as long as usual that loading, dropping and counting may take
DRIFT = 60.0  # seconds for which two clocks that were compared are still believed
SHORTEST = 2  # seconds that the client library gives a server to accept a connection, at least
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError)
REMEDY = "see that PostgreSQL runs, that the URL is right and that its user may create tables"
T = TypeVar("T")
Waiting = Generator[Any, Any, T]


class Limit:
    """Seconds that one wait for the server may take."""

    limit = 1.0

    def bound(self, waiting: Waiting[T]) -> Waiting[T]:
        """The same waiting with an end. The library wakes it several times a second, also when nothing came."""
        end = time.monotonic() + self.limit
        try:
            state = next(waiting)
            while True:
                ready = yield state
                if ready == Ready.NONE and time.monotonic() > end:
                    raise psycopg.OperationalError(f"no answer within {self.limit:g} s (patience.timeout_ms)")
                state = waiting.send(ready)
        except StopIteration as done:
            value: T = done.value
            return value


class Connection(psycopg.Connection[tuple[Any, ...]], Limit):
    """For threads."""

    def wait(self, gen: Waiting[T], *more: Any, **named: Any) -> T:
        return super().wait(self.bound(gen), *more, **named)

    ahead = 0.0  # of our monotonic clock: the server's, at least
    measured = -math.inf  # when that was

    def measure(self) -> None:
        """Compares the clocks. Whatever time the answer took, the server's is no less than this."""
        ((there,),) = self.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchall()
        self.measured = time.monotonic()
        self.ahead = there - self.measured

    def deadline(self) -> float:
        """When we stop waiting for what is sent now, in epoch seconds of the server's clock, or a little earlier."""
        return time.monotonic() + self.limit + self.ahead

    @contextmanager
    def patient(self) -> Generator[None]:
        """A transaction that may take longer."""
        usual, self.limit = self.limit, self.limit * BULK
        try:
            with self.transaction():
                self.execute(f"SET LOCAL statement_timeout = {milliseconds(self.limit)}")
                yield
        finally:
            self.limit = usual


class AsyncConnection(psycopg.AsyncConnection[tuple[Any, ...]], Limit):
    """For an event loop."""

    def wait(self, gen: Waiting[T], *more: Any, **named: Any) -> Coroutine[Any, Any, T]:
        return super().wait(self.bound(gen), *more, **named)


class Connections:
    """Lends connections to threads. ``careful`` is shared by all calls of the store."""

    def __init__(self, url: str, patience: Patience, key: str) -> None:
        shown = hide(url.partition("?")[0])
        try:
            there = conninfo_to_dict(url)
        except psycopg.Error as error:
            raise ConfigError(f"{key} = {shown!r}: {error}: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE") from None
        usual: dict[str, Any] = {
            "application_name": "tastemaker",
            "connect_timeout": max(SHORTEST, math.ceil(patience.connect_ms / 1000)),
        }
        self.conninfo = make_conninfo("", **{**usual, **there})
        self.patience, self.shown = patience, shown
        self.careful = Careful(shown, patience, AWAY, REMEDY)
        self._idle: list[Connection] = []
        self._room = threading.BoundedSemaphore(MOST)
        self._closed = False

    def call(self, work: Callable[[Connection], T], *, repeat: bool = True) -> T:
        """Runs ``work`` with a connection; harmless to run twice where it may ``repeat``."""
        try:
            return self.careful.call(lambda: self._lend(work), repeat=repeat)
        except psycopg.Error as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> StorageError:
        """What the server has against us, in our words; it is there, so trying again would not help."""
        return StorageError(f"{self.shown}: {str(error).strip()}: {REMEDY}")

    def check(self) -> None:
        if self._closed:
            raise StorageError(f"{self.shown}: the store is closed: open it again")

    def _lend(self, work: Callable[[Connection], T]) -> T:
        self.check()
        if not self._room.acquire(timeout=self.patience.timeout_ms / 1000):
            raise Unavailable(f"{self.shown}: all {MOST} connections of this process are busy: {REMEDY}")
        try:
            connection = self._take()
            try:
                done = work(connection)
            except BaseException:
                self._inspect(connection)
                raise
            self._give_back(connection)
            return done
        finally:
            self._room.release()

    def _take(self) -> Connection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if usable(connection):
                return compared(connection)
            connection.close()
        connection = Connection.connect(self.conninfo, autocommit=True)
        connection.limit = self.patience.timeout_ms / 1000
        try:
            connection.execute(greeting(self.patience))
        except BaseException:
            connection.close()
            raise
        return compared(connection)

    def _inspect(self, connection: Connection) -> None:
        """After a failure: a connection that is fine and at rest may be used again."""
        if not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self._give_back(connection)
        else:
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        self._idle.append(connection)
        if self._closed:
            self.close()

    def close(self) -> None:
        self._closed = True
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread closes as well
                return


async def connect(conninfo: str, patience: Patience) -> AsyncConnection:
    """A connection for the running event loop."""
    async with asyncio.timeout(patience.connect_ms / 1000):
        connection = await AsyncConnection.connect(conninfo, autocommit=True)
    connection.limit = patience.timeout_ms / 1000
    await connection.execute(greeting(patience))
    return connection


def compared(connection: Connection) -> Connection:
    """The same, its clock compared with ours not long ago. One that does not answer is closed."""
    if time.monotonic() - connection.measured > DRIFT:
        try:
            connection.measure()
        except BaseException:
            connection.close()
            raise
    return connection


def usable(connection: Connection | AsyncConnection) -> bool:
    """Whether an idle connection lives: the server says nothing unasked but good-bye."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def greeting(patience: Patience) -> str:
    return f"SET statement_timeout = {milliseconds(patience.timeout_ms / 1000)}"


def milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
