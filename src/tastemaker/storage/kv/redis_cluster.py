"""A Redis cluster: the keys of a user lie on one server, those of many users on many.

What concerns one user is atomic, as the port promises; a ``get`` or ``put`` for several users is one step for each of
them. redis-py's cluster clients know which server holds what and follow it when that changes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from redis.asyncio.cluster import ClusterNode as AsyncNode
from redis.asyncio.cluster import RedisCluster as AsyncCluster
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from tastemaker.config import Patience
from tastemaker.errors import StorageError
from tastemaker.storage.inspection import Inspection
from tastemaker.storage.kv.redis_errors import AWAY, Lost, told
from tastemaker.storage.kv.redis_names import Names, Tagged
from tastemaker.storage.kv.redis_servers import BLOCK, Pairs, Reader, Scan, blocks, flat, keywords, never
from tastemaker.storage.kv.redis_standing import judge, together
from tastemaker.storage.kv.redis_turns import Batch, Turns, Values
from tastemaker.storage.kv.redis_urls import Place
from tastemaker.storage.resilience import Careful


class Cluster:
    """Keeps ``Servers`` for a cluster."""

    def __init__(self, place: Place, patience: Patience) -> None:
        self.place, self.patience = place, patience
        self.names: Names = Tagged(place.prefix)

    @cached_property
    def client(self) -> RedisCluster:
        """Made on first use: it asks the servers at once who holds what."""
        nodes = [ClusterNode(host, port) for host, port in self.place.hosts]
        return RedisCluster(startup_nodes=nodes, retry=never(), **keywords(self.place, self.patience))

    def get(self, names: Sequence[bytes]) -> Values:
        found: Values = self.client.mget_nonatomic(names)
        return found

    def put(self, pairs: Pairs) -> None:
        self._each(["MSET", *flat(group)] for group in by_slot(pairs))

    def put_for(self, pairs: Pairs, milliseconds: int) -> None:
        for group in by_slot(pairs):
            with self.client.pipeline(transaction=True) as pipe:
                for name, value in group:
                    pipe.execute_command("SET", name, value, "PX", milliseconds)
                pipe.execute()

    def fill(self, pairs: Pairs) -> None:
        for block in blocks(pairs):
            self.put(block)

    def add(self, pairs: Pairs, milliseconds: int | None) -> None:
        end = () if milliseconds is None else ("PX", milliseconds)
        for block in blocks(pairs):
            self._each(["SET", name, value, "NX", *end] for name, value in block)

    def unlink(self, names: Sequence[bytes]) -> int:
        return sum(self._each(["UNLINK", name] for name in names))

    def _each(self, commands: Iterable[Sequence[Any]]) -> list[Any]:
        """Commands that concern one slot each, sent to all servers before the first answer is read."""
        with self.client.pipeline() as pipe:
            for command in commands:
                pipe.execute_command(*command)
            found: list[Any] = pipe.execute()
        return found

    def scans(self, pattern: bytes) -> list[Scan]:
        return [self._scan(node, pattern) for node in self.client.get_primaries()]

    def _scan(self, node: ClusterNode, pattern: bytes) -> Scan:
        def scan(cursor: int) -> tuple[int, list[bytes]]:
            found: Any = self.client.scan(cursor=cursor, match=pattern, count=BLOCK, target_nodes=node)
            cursors, names = found
            return next(iter(cursors.values())), names

        return scan

    def inspect(self) -> Inspection:
        found = []
        for node in self.client.get_primaries():
            info: Any = self.client.info(target_nodes=node)
            clock: Any = self.client.time(target_nodes=node)
            found.append(judge(info, clock))
        return together(found)

    def reader(self, careful: Careful, ended: Callable[[], None]) -> Reader:
        return ClusterReading(self.place, self.patience, careful, ended)

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()


class ClusterReading:
    """The reader of one event loop. A turn's keys are split by redis-py, and read from all servers at once."""

    def __init__(self, place: Place, patience: Patience, careful: Careful, ended: Callable[[], None]) -> None:
        nodes = [AsyncNode(host, port) for host, port in place.hosts]
        self.client = AsyncCluster(startup_nodes=nodes, retry=AsyncRetry(NoBackoff(), 0), **keywords(place, patience))
        self.limit = (patience.connect_ms + patience.timeout_ms) / 1000
        self.careful = careful
        self.turns = Turns(self._send, careful)
        self.fetch = self.turns.fetch
        self._ended = ended
        self._tasks: set[asyncio.Task[None]] = set()

    def _send(self, batch: Batch) -> None:
        task = asyncio.get_running_loop().create_task(self._read(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, batch: Batch) -> None:
        try:
            await self.turns.live_with_the_loop(self.close)
            async with asyncio.timeout(self.limit):
                values: Values = await self.client.mget_nonatomic(batch.names)
        except TimeoutError:
            self._fail(batch, Lost(f"no answer within {self.limit:g} s (patience.connect_ms and timeout_ms)"))
        except asyncio.CancelledError:
            batch.fail(StorageError(f"{self.careful.what}: closed while it was read"))
            raise
        except Exception as error:
            self._fail(batch, told(error))
        else:
            self.careful.breaker.succeeded()
            batch.succeed(values)

    def _fail(self, batch: Batch, error: Exception) -> None:
        if isinstance(error, AWAY):
            self.careful.breaker.failed()
            batch.fail(self.careful.failure(error))
        else:
            batch.fail(StorageError(f"{self.careful.what}: {error}"))

    async def close(self) -> None:
        self._ended()
        for task in self._tasks:
            task.cancel()
        await self.client.aclose()


def by_slot(pairs: Pairs) -> list[Pairs]:
    """Pairs by the slot of their names: what one command may write."""
    groups: defaultdict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
    for name, value in pairs:
        groups[key_slot(name)].append((name, value))
    return list(groups.values())
