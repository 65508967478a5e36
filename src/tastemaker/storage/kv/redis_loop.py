"""How an event loop reads a Redis server: all requests of one turn of the loop share one MGET on one connection.

A client for every occasion costs more than the read itself, and a request needs no occasion: it wants a few values. So the
keys that were asked for in one turn go out as one command at the turn's end, answers come back in the order of the commands,
and each waiting request gets its part. Commands are sent without waiting for the answers before them.

A connection that is lost, or whose oldest answer is late, is dropped: whoever waited gets ``Unavailable`` and the next turn
connects again, as often as the breaker allows. Nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import hiredis

from tastemaker.errors import StorageError
from tastemaker.storage.kv.redis_errors import AWAY, Lost, cause_of, told
from tastemaker.storage.kv.redis_turns import Batch, Turns
from tastemaker.storage.resilience import Careful

MOMENT = 0.01  # seconds


@dataclass(frozen=True)
class Door:
    """Where a connection leads and what is said first. ``find`` names the server anew for each connection."""

    find: Callable[[], Awaitable[tuple[str, int]]]
    greeting: Sequence[Sequence[str]]  # AUTH and SELECT, where they are needed
    client: str  # the name by which the server's operator sees us
    context: ssl.SSLContext | None
    connect: float  # seconds, for all of finding, connecting and greeting
    timeout: float  # seconds, for an answer
    master: bool = False  # whether the server must say that it is one


class Link(asyncio.Protocol):
    """One connection: bytes to replies, in the order of the commands."""

    def __init__(self, gone: Callable[[Link, Exception | None], None]) -> None:
        self._reader = hiredis.Reader(replyError=cause_of)
        self._gone = gone
        self._takers: deque[Callable[[Any], None]] = deque()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, command: Sequence[str | bytes], take: Callable[[Any], None]) -> None:
        """Sends a command; ``take`` gets its reply, which may be an error."""
        assert self._transport is not None
        self._takers.append(take)
        self._transport.write(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]  # its stub takes one word only

    def data_received(self, data: bytes) -> None:
        reader, takers = self._reader, self._takers
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                takers.popleft()(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.close(Lost(f"what answers there does not speak Redis: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self._gone(self, error)

    def close(self, error: Exception | None = None) -> None:
        """Drops the connection at once."""
        if self._transport is not None:
            self._transport.abort()
        self._gone(self, error)


class Reading:
    """The reader of one event loop. Its methods are called in that loop."""

    def __init__(self, door: Door, careful: Careful, ended: Callable[[], None]) -> None:
        self.door, self.careful = door, careful
        self.loop = asyncio.get_running_loop()
        self.turns = Turns(self._send, careful)
        self.fetch = self.turns.fetch
        self._ended = ended
        self._link: Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._answers: list[asyncio.Future[Any]] = []  # to the greeting
        self._queue: list[Batch] = []  # until there is a connection
        self._sent: deque[tuple[float, Batch]] = deque()  # with the time by which the answer is due
        self._timer: asyncio.TimerHandle | None = None
        self._late: Batch | None = None

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, batch: Batch) -> None:
        if self._link is None:
            self._queue.append(batch)
            if self._connecting is None:
                self._connecting = self.loop.create_task(self._connect())
            return
        self._sent.append((self.loop.time() + self.door.timeout, batch))
        if self._timer is None:
            self._timer = self.loop.call_later(self.door.timeout, self._look)
        self._link.send((b"MGET", *batch.names), self._take)

    def _take(self, reply: Any) -> None:
        """The answer to the oldest batch."""
        _, batch = self._sent.popleft()
        if isinstance(reply, AWAY):
            self.careful.breaker.failed()
            batch.fail(self.careful.failure(reply))
            return
        self.careful.breaker.succeeded()
        if isinstance(reply, list):
            batch.succeed(reply)
        else:
            batch.fail(StorageError(f"{self.careful.what}: {reply}"))

    def _look(self) -> None:
        """Whether the oldest answer is late. One timer serves all batches, since they are due in order.

        After something held up the loop itself, the answer may be here and unread: so it is late when it is still not
        there a moment later.
        """
        self._timer = None
        if not self._sent:
            return
        due, batch = self._sent[0]
        left = due - self.loop.time()
        if left <= 0 and batch is self._late and self._link is not None:
            self._link.close(Lost(f"no answer within {self.door.timeout:g} s (patience.timeout_ms)"))
            return
        if left <= 0:
            self._late = batch
        self._timer = self.loop.call_later(max(left, MOMENT), self._look)

    # ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _connect(self) -> None:
        link: Link | None = None
        try:
            await self.turns.live_with_the_loop(self.close)
            async with asyncio.timeout(self.door.connect):
                host, port = await self.door.find()
                name = host if self.door.context is not None else None
                _, link = await self.loop.create_connection(
                    lambda: Link(self._gone), host, port, ssl=self.door.context, server_hostname=name
                )
                await self._greet(link)
        except TimeoutError:
            self._refuse(link, Lost(f"no connection within {self.door.connect:g} s (patience.connect_ms)"))
        except Exception as error:
            self._refuse(link, told(error))
        else:
            self._connecting, self._link = None, link
            queue, self._queue = self._queue, []
            for batch in queue:
                self._send(batch)

    async def _greet(self, link: Link) -> None:
        """Says who we are. Raises what the server objects to."""
        commands = [*self.door.greeting, *([["ROLE"]] if self.door.master else [])]
        link.send(("CLIENT", "SETNAME", self.door.client), lambda _: None)  # some may not, and then have no name
        for command in commands:
            answer = self.loop.create_future()
            self._answers.append(answer)
            link.send(command, answer.set_result)
        for answer in self._answers:
            reply = await answer
            if isinstance(reply, Exception):
                raise reply
        if self.door.master and reply[0] != b"master":
            raise Lost("the server that the sentinels name is not a master")
        self._answers.clear()

    def _refuse(self, link: Link | None, error: Exception) -> None:
        self._connecting = None
        self._answers.clear()
        if link is not None:
            link.close()
        self._fail(error)

    def _gone(self, link: Link, error: Exception | None) -> None:
        """A connection ended. Between two answers that is no failure: servers close what is idle."""
        error = error or Lost("the server closed the connection")
        for answer in self._answers:
            if not answer.done():
                answer.set_result(error)
        if link is self._link:
            self._link = None
            if self._sent:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        """One failure, however many wait."""
        batches = [*(batch for _, batch in self._sent), *self._queue]
        self._sent.clear()
        self._queue.clear()
        self.careful.breaker.failed()
        failure = self.careful.failure(error) if isinstance(error, AWAY) else StorageError(f"{self.careful.what}: {error}")
        for batch in batches:
            batch.fail(failure)

    async def close(self) -> None:
        """Ends the connection; whoever still waits is told."""
        self._ended()
        for handle in (self._timer, self._connecting):
            if handle is not None:
                handle.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.close()
        for batch in [*(batch for _, batch in self._sent), *self._queue]:
            batch.fail(StorageError(f"{self.careful.what}: closed while it was read"))
        self._sent.clear()
        self._queue.clear()
