"""The online store on Redis or Valkey: one server, the master behind sentinels, or a cluster.

One server keeps the port's promises for all keys, a cluster for those of one user (``redis_names.py`` sees to it that they
lie together). Values that are evicted or lost with a server are built again from the log and by the next publishing, so the
server needs no disk and may run with ``maxmemory-policy allkeys-lru``.

Where things are: ``redis_urls.py`` reads the URL, ``redis_servers.py`` and ``redis_cluster.py`` speak to servers,
``redis_loop.py`` reads for event loops, ``redis_errors.py`` says what errors mean. This file keeps the port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from tastemaker.config import Patience
from tastemaker.errors import InputError, StorageError
from tastemaker.storage.inspection import Inspection
from tastemaker.storage.kv.redis_cluster import Cluster
from tastemaker.storage.kv.redis_errors import ANY, AWAY, REMEDY, Refused, told
from tastemaker.storage.kv.redis_servers import OneServer, Pairs, Reader, Servers
from tastemaker.storage.kv.redis_urls import parse
from tastemaker.storage.resilience import Careful

CHUNK = 512  # values that a scan reads at a time
LONGEST = 1e12  # seconds: what Redis can count
T = TypeVar("T")


def open_kv(url: str, patience: Patience | None = None) -> RedisKeyValue:
    """Opens a URL as ``redis_urls.py`` describes them. Connects on first use: the server may come later."""
    patience = patience or Patience()
    place = parse(url)
    place.context()  # what is wrong with certificates is said now, not in a request
    servers: Servers = Cluster(place, patience) if place.mode == "cluster" else OneServer(place, patience)
    return RedisKeyValue(servers, Careful(place.name, patience, AWAY, REMEDY))


class RedisKeyValue:
    """A ``KeyValue``."""

    immediate = False

    def __init__(self, servers: Servers, careful: Careful) -> None:
        self._servers, self._careful = servers, careful
        self._names = servers.names
        self._readers: dict[asyncio.AbstractEventLoop, Reader] = {}
        self._closed = False

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        names = [self._names.encode(key) for key in keys]
        return self._call(lambda: self._servers.get(names)) if names else self._call(list)

    async def fetch(self, keys: Sequence[str]) -> list[bytes | None]:
        """See ``KeyValue``."""
        encode = self._names.encode
        names = [encode(key) for key in keys]
        try:
            reader = self._readers[asyncio.get_running_loop()]
        except KeyError:
            reader = self._reader()
        return await reader.fetch(names) if names else []

    def _reader(self) -> Reader:
        """A new reader for the running loop, which forgets it when it ends."""
        if self._closed:
            raise self._after_close()
        loop = asyncio.get_running_loop()
        return self._readers.setdefault(loop, self._servers.reader(self._careful, lambda: self._forget(loop)))

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        self._readers.pop(loop, None)

    def put(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        pairs, milliseconds = self._pairs(items), milliseconds_of(ttl)
        if milliseconds is None:
            self._write(self._servers.put, pairs)
        else:
            self._write(lambda pairs: self._servers.put_for(pairs, milliseconds), pairs)

    def add(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        pairs, milliseconds = self._pairs(items), milliseconds_of(ttl)
        self._write(lambda pairs: self._servers.add(pairs, milliseconds), pairs)

    def fill(self, items: Mapping[str, bytes]) -> None:
        self._write(self._servers.fill, self._pairs(items))

    def delete(self, keys: Sequence[str]) -> None:
        names = [self._names.encode(key) for key in keys]
        if names:
            self._call(lambda: self._servers.unlink(names))

    def drop(self, prefix: str) -> int:
        """See ``KeyValue``. What is written meanwhile may stay."""
        count = 0
        for block in self._found(prefix):
            names = [name for _, name in block]
            count += self._call(partial(self._servers.unlink, names))
        return count

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """See ``KeyValue``. Holds all keys in memory, since the server has no order; values are read in chunks."""
        names = {key: name for block in self._found(prefix) for key, name in block}
        ordered = sorted(names, key=str.encode)
        for start in range(0, len(ordered), CHUNK):
            keys = ordered[start : start + CHUNK]
            for key, value in zip(keys, self.get(keys), strict=True):
                if value is not None:
                    yield key, value

    def inspect(self) -> Inspection:
        return self._call(self._servers.inspect)

    def _found(self, prefix: str) -> Iterator[list[tuple[str, bytes]]]:
        """Keys under a prefix and their names, as the servers give them; some may come twice."""
        pattern = self._names.pattern(prefix)
        for scan in self._call(lambda: self._servers.scans(pattern)):
            cursor, more = 0, True
            while more:
                cursor, names = self._call(partial(scan, cursor))
                more = cursor != 0
                keys = ((self._names.decode(name), name) for name in names)
                found = [(key, name) for key, name in keys if key is not None and key.startswith(prefix)]
                if found:
                    yield found

    def _pairs(self, items: Mapping[str, bytes]) -> Pairs:
        encode = self._names.encode
        return [(encode(key), value) for key, value in items.items()]

    def _write(self, work: Callable[[Pairs], None], pairs: Pairs) -> None:
        self._call(lambda: work(pairs) if pairs else None)

    def _call(self, work: Callable[[], T]) -> T:
        """Work with the server, tried again while it is away: everything here may be done twice."""
        if self._closed:
            raise self._after_close()

        def attempt() -> T:
            try:
                return work()
            except ANY as error:
                raise told(error) from error

        try:
            return self._careful.call(attempt)
        except Refused as error:
            self._careful.breaker.succeeded()  # it answers
            raise StorageError(f"{self._careful.what}: {error}") from error

    def _after_close(self) -> StorageError:
        return StorageError(f"{self._careful.what}: the online store is closed: open it again")

    def close(self) -> None:
        """Loops that still run end their readers themselves, in a moment."""
        if self._closed:
            return
        self._closed = True
        readers, self._readers = self._readers, {}
        for loop, reader in readers.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(end, loop, reader)
        self._servers.close()


def end(loop: asyncio.AbstractEventLoop, reader: Reader) -> None:
    loop.create_task(reader.close())


def milliseconds_of(ttl: float | None) -> int | None:
    if ttl is None:
        return None
    if not ttl > 0:
        raise InputError("ttl", ttl, "give seconds above 0, or None for no end")
    return max(1, round(min(ttl, LONGEST) * 1000))
