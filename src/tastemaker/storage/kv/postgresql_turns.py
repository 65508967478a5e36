"""How an event loop reads PostgreSQL: all requests of one turn of the loop share one statement on one connection.

While a statement is on its way, the next requests gather for the one after it. So a busy loop sends few statements of many
keys each, and a quiet one waits for nobody. The client library's own asynchronous connection costs half the processor time
of handing each read to a thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

from tastemaker.errors import StorageError
from tastemaker.storage.kv.postgresql_connections import AsyncConnection, Connections, connect, usable

MOST = 1024  # keys of one statement: others wait meanwhile
Found = dict[bytes, tuple[bytes, float | None]]
Read = Callable[[AsyncConnection, Sequence[bytes]], Awaitable[Found]]
Waiting = tuple[Sequence[bytes], asyncio.Future[Found]]


class Lane:
    """The way of one event loop to the server. Its methods are called in that loop."""

    def __init__(self, connections: Connections, read: Read) -> None:
        self._connections, self._read = connections, read
        self.loop = asyncio.get_running_loop()
        self._waiting: list[Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._connection: AsyncConnection | None = None

    def fetch(self, keys: Sequence[bytes]) -> asyncio.Future[Found]:
        """What is known of keys, with what others asked for in this turn."""
        future: asyncio.Future[Found] = self.loop.create_future()
        self._waiting.append((keys, future))
        if self._task is None:
            self._task = self.loop.create_task(self._run())
        return future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._answer(self._batch())
        finally:
            self._task = None

    def _batch(self) -> list[Waiting]:
        """Those who waited longest: as many as one statement may serve, and one at least."""
        count = size = 0
        for keys, _ in self._waiting:
            size += len(keys)
            if count and size > MOST:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _answer(self, batch: list[Waiting]) -> None:
        keys = list({key: None for asked, _ in batch for key in asked})
        try:
            found = await self._connections.careful.soon(lambda: self._ask(keys))
        except Exception as error:
            told = error if isinstance(error, StorageError) else self._connections.failure(error)
            for _, future in batch:
                if not future.done():  # who waited may have left
                    future.set_exception(type(told)(*told.args))  # each its own: a traceback grows where it is raised
        else:
            for _, future in batch:
                if not future.done():
                    future.set_result(found)

    async def _ask(self, keys: Sequence[bytes]) -> Found:
        self._connections.check()
        if self._connection is None or not usable(self._connection):
            self.drop()
            self._connection = await connect(self._connections.conninfo, self._connections.patience)
        try:
            return await self._read(self._connection, keys)
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Gives the connection up; the next statement makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()


class Lanes:
    """The lanes of all event loops that read a store."""

    def __init__(self, connections: Connections, read: Read) -> None:
        self._connections, self._read = connections, read
        self._lanes: dict[asyncio.AbstractEventLoop, Lane] = {}
        self._lock = threading.Lock()

    def here(self) -> Lane:
        """The lane of the running loop."""
        return self._lanes.get(asyncio.get_running_loop()) or self._open()

    def _open(self) -> Lane:
        with self._lock:
            for loop in [loop for loop in self._lanes if loop.is_closed()]:
                self._lanes.pop(loop).drop()
            lane = self._lanes[asyncio.get_running_loop()] = Lane(self._connections, self._read)
            return lane

    def close(self) -> None:
        with self._lock:
            lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            if lane.loop.is_running():
                lane.loop.call_soon_threadsafe(lane.drop)
            else:
                lane.drop()
