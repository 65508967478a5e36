"""Joins what an event loop's requests ask for in one turn, and lives as long as the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from tastemaker.errors import StorageError, Unavailable
from tastemaker.storage.resilience import Careful

MOST = 1024  # keys of one batch: a server answers one command at a time, and others wait meanwhile
Values = list[bytes | None]


class Batch:
    """Names to be read at once, and who waits for which of them."""

    __slots__ = ("_parts", "names")

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self._parts: list[tuple[asyncio.Future[Values], int, int]] = []

    def add(self, names: Sequence[bytes], future: asyncio.Future[Values]) -> None:
        start = len(self.names)
        self.names += names
        self._parts.append((future, start, len(self.names)))

    def succeed(self, values: Values) -> None:
        for future, start, end in self._parts:
            if not future.done():  # who waited may have left
                future.set_result(values[start:end])

    def fail(self, error: StorageError) -> None:
        for future, _, _ in self._parts:
            if not future.done():
                future.set_exception(type(error)(*error.args))  # each its own: a traceback grows where an error is raised


class Turns:
    """The gathering place of one event loop. ``send`` takes a batch and sees to it that it succeeds or fails."""

    def __init__(self, send: Callable[[Batch], None], careful: Careful) -> None:
        self._send, self._careful = send, careful
        self._loop = asyncio.get_running_loop()
        self._batches: list[Batch] = []
        self._life: AsyncGenerator[None, None] | None = None

    def fetch(self, names: Sequence[bytes]) -> asyncio.Future[Values]:
        """The values of names, with everybody else's of this turn."""
        future: asyncio.Future[Values] = self._loop.create_future()
        batches = self._batches
        if not batches:
            self._loop.call_soon(self._flush)
            batches.append(Batch())
        elif len(batches[-1].names) >= MOST:
            batches.append(Batch())
        batches[-1].add(names, future)
        return future

    def _flush(self) -> None:
        batches, self._batches = self._batches, []
        for batch in batches:
            try:
                self._careful.enter()
            except Unavailable as error:
                batch.fail(error)
            else:
                self._send(batch)

    async def live_with_the_loop(self, close: Callable[[], Awaitable[None]]) -> None:
        """Has ``close`` awaited when the loop ends: a loop that ends closes its asynchronous generators."""
        if self._life is None:
            self._life = life(close)
            await anext(self._life)


async def life(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close()
        await asyncio.sleep(0)  # so that the loop sees the end of the connections
