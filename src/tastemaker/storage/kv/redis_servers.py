"""One server (or the master that sentinels name) and a cluster: the same few commands, spoken by redis-py.

Both hold the client that everything but requests uses; requests have readers of their own, see ``redis_loop.py`` and
``redis_cluster.py``. redis-py never retries here: ``resilience.Careful`` does, in one place for all servers.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import redis
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from tastemaker.config import Patience
from tastemaker.storage.inspection import Inspection
from tastemaker.storage.kv.redis_loop import Door, Reading
from tastemaker.storage.kv.redis_names import Names, Plain
from tastemaker.storage.kv.redis_standing import judge
from tastemaker.storage.kv.redis_turns import Values
from tastemaker.storage.kv.redis_urls import Place
from tastemaker.storage.resilience import Careful

Pairs = Sequence[tuple[bytes, bytes]]
Scan = Callable[[int], tuple[int, list[bytes]]]
IDLE = 30  # seconds after which a connection is tried before it is used
BLOCK = 1000  # names that SCAN looks at in one call
BYTES = 1 << 20  # of one command when much is written: a server answers one at a time


class Reader(Protocol):
    """What reads in one event loop."""

    def fetch(self, names: Sequence[bytes]) -> asyncio.Future[Values]: ...

    async def close(self) -> None: ...


class Servers(Protocol):
    """What the adapter asks of one server or many. Nothing here retries, or says what an error means."""

    names: Names

    def get(self, names: Sequence[bytes]) -> Values: ...

    def put(self, pairs: Pairs) -> None: ...

    def put_for(self, pairs: Pairs, milliseconds: int) -> None: ...

    def fill(self, pairs: Pairs) -> None: ...

    def add(self, pairs: Pairs, milliseconds: int | None) -> None: ...

    def unlink(self, names: Sequence[bytes]) -> int: ...

    def scans(self, pattern: bytes) -> list[Scan]:
        """For each server what reads a piece of its names behind a cursor."""

    def reader(self, careful: Careful, ended: Callable[[], None]) -> Reader: ...

    def inspect(self) -> Inspection: ...

    def close(self) -> None: ...


def keywords(place: Place, patience: Patience) -> dict[str, Any]:
    """What redis-py's clients take, whichever they are."""
    found: dict[str, Any] = {
        "username": place.username,
        "password": place.password,
        "client_name": place.client,
        "socket_timeout": patience.timeout_ms / 1000,
        "socket_connect_timeout": patience.connect_ms / 1000,
        "health_check_interval": IDLE,
        "protocol": 2,
        "socket_keepalive": True,
        "socket_keepalive_options": given_up(patience),
    }
    return found | ({"ssl": True, **place.ssl_keywords} if place.tls else {})


def given_up(patience: Patience) -> dict[int, int]:
    """Options of a socket: what the server has not taken by the time that we stop waiting is not sent any more.

    Else the system goes on trying behind a connection that we have closed, and a network that comes back delivers an old write
    after newer ones. Where the system has no such option (it is Linux's), that may happen.
    """
    name = getattr(socket, "TCP_USER_TIMEOUT", None)
    return {} if name is None else {name: max(1, round(patience.timeout_ms))}


def never() -> Retry:
    return Retry(NoBackoff(), 0)


class OneServer:
    """Keeps ``Servers`` for a server that holds all keys."""

    def __init__(self, place: Place, patience: Patience) -> None:
        self.place, self.patience = place, patience
        self.names: Names = Plain(place.prefix)

    @cached_property
    def client(self) -> redis.Redis:
        place, words = self.place, keywords(self.place, self.patience)
        if place.mode == "single":
            host, port = place.hosts[0]
            return redis.Redis(host, port, place.db, retry=never(), **words)
        master: redis.Redis = self.sentinel.master_for(place.service, db=place.db, retry=never(), **words)
        return master

    @cached_property
    def sentinel(self) -> Sentinel:
        return Sentinel(self.place.hosts, sentinel_kwargs=of_sentinels(self.place, self.patience))

    def get(self, names: Sequence[bytes]) -> Values:
        found: Values = self.client.execute_command("MGET", *names)
        return found

    def put(self, pairs: Pairs) -> None:
        self.client.execute_command("MSET", *flat(pairs))

    def put_for(self, pairs: Pairs, milliseconds: int) -> None:
        with self.client.pipeline(transaction=True) as pipe:
            for name, value in pairs:
                pipe.execute_command("SET", name, value, "PX", milliseconds)
            pipe.execute()

    def fill(self, pairs: Pairs) -> None:
        for block in blocks(pairs):
            self.put(block)

    def add(self, pairs: Pairs, milliseconds: int | None) -> None:
        end = () if milliseconds is None else ("PX", milliseconds)
        for block in blocks(pairs):
            with self.client.pipeline(transaction=False) as pipe:
                for name, value in block:
                    pipe.execute_command("SET", name, value, "NX", *end)
                pipe.execute()

    def unlink(self, names: Sequence[bytes]) -> int:
        return int(self.client.execute_command("UNLINK", *names))

    def inspect(self) -> Inspection:
        info: Any = self.client.info()
        clock: Any = self.client.time()
        return judge(info, clock)

    def scans(self, pattern: bytes) -> list[Scan]:
        def scan(cursor: int) -> tuple[int, list[bytes]]:
            found: tuple[int, list[bytes]] = self.client.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", BLOCK)
            return found

        return [scan]

    def reader(self, careful: Careful, ended: Callable[[], None]) -> Reader:
        place, connect = self.place, self.patience.connect_ms / 1000
        greeting: list[list[str]] = []
        if place.password is not None:
            greeting.append(["AUTH", *([place.username] if place.username else []), place.password])
        if place.db:
            greeting.append(["SELECT", str(place.db)])
        door = Door(
            find=self.find if place.mode == "single" else Watch(place, self.patience).find,
            greeting=greeting,
            client=place.client,
            context=place.context(),
            connect=connect if place.mode == "single" else 2 * connect,
            timeout=self.patience.timeout_ms / 1000,
            master=place.mode == "sentinel",
        )
        return Reading(door, careful, ended)

    async def find(self) -> tuple[str, int]:
        return self.place.hosts[0]

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()
            self.client.connection_pool.disconnect()
        if "sentinel" in self.__dict__:
            for client in self.sentinel.sentinels:
                client.close()


class Watch:
    """Asks sentinels for their master, anew for each connection."""

    def __init__(self, place: Place, patience: Patience) -> None:
        self.place, self.words = place, of_sentinels(place, patience)

    async def find(self) -> tuple[str, int]:
        sentinel = AsyncSentinel(self.place.hosts, sentinel_kwargs=self.words)
        try:
            host, port = await sentinel.discover_master(self.place.service)
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        return host, port


def of_sentinels(place: Place, patience: Patience) -> dict[str, Any]:
    """Keywords of the sentinels' clients. Several are asked in turn, so none gets all the time."""
    seconds = patience.connect_ms / 1000 / len(place.hosts)
    found: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "protocol": 2}
    if place.sentinel_auth:
        found |= {"username": place.username, "password": place.password}
    return found | ({"ssl": True, **place.ssl_keywords} if place.tls else {})


def flat(pairs: Pairs) -> list[bytes]:
    return [part for pair in pairs for part in pair]


def blocks(pairs: Pairs) -> Iterator[Pairs]:
    """Pairs in lists of about ``BYTES``, each with at least one."""
    block: list[tuple[bytes, bytes]] = []
    size = 0
    for name, value in pairs:
        block.append((name, value))
        size += len(name) + len(value) + 32
        if size >= BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block
