"""The online store on one Redis server beyond the contract: turns of an event loop, and a server that goes away."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
import uvloop

import servers
from api import eventually
from redis_waits import BRISK, fetchable, readable, writable
from servers_redis import asked
from tastemaker.config import Patience
from tastemaker.errors import StorageError, Unavailable
from tastemaker.storage.kv.redis import RedisKeyValue, open_kv

MANY = {f"state:u{number}": str(number).encode() for number in range(64)}


@pytest.fixture
def server() -> Iterator[servers.Redis]:
    with servers.Redis() as own:
        yield own


@pytest.fixture
def kv(server: servers.Redis) -> Iterator[RedisKeyValue]:
    opened = open_kv(server.url, BRISK)
    yield opened
    opened.close()


def calls(server: servers.Redis, command: str) -> int:
    """How often a server has run a command."""
    with redis.Redis(port=server.port) as connection:
        found = connection.info("commandstats")
    assert isinstance(found, dict)
    return int(found.get(f"cmdstat_{command}", {}).get("calls", 0))


# ── turns of an event loop ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_what_is_asked_in_one_turn_of_the_loop_is_one_command(server: servers.Redis, kv: RedisKeyValue, run: object) -> None:
    kv.put(MANY)

    async def turns() -> None:
        for _ in range(10):
            found = await asyncio.gather(*(kv.fetch([key, "missing"]) for key in MANY))
            assert found == [[value, None] for value in MANY.values()]

    run(turns())  # type: ignore[operator]  # one of two functions of the same use
    assert calls(server, "mget") == 10


def test_answers_find_their_askers_whoever_leaves(kv: RedisKeyValue) -> None:
    kv.put(MANY)

    async def ask(key: str) -> None:
        for _ in range(50):
            assert await kv.fetch([key]) == [MANY[key]]
            await asyncio.sleep(0)

    async def leave(key: str) -> None:
        for _ in range(20):
            task = asyncio.create_task(kv.fetch([key, key, key]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def crowd() -> None:
        await asyncio.gather(*(ask(key) for key in MANY), *(leave(key) for key in list(MANY)[:10]))

    asyncio.run(crowd())


def test_a_turn_that_asks_for_very_much_is_cut_into_commands(server: servers.Redis, kv: RedisKeyValue) -> None:
    async def turn() -> list[list[bytes | None]]:
        return await asyncio.gather(*(kv.fetch([f"{number}:{part}" for part in range(300)]) for number in range(64)))

    assert asyncio.run(turn()) == [[None] * 300] * 64
    assert calls(server, "mget") == 16


def test_a_store_that_is_closed_says_so_to_threads_and_loops(kv: RedisKeyValue) -> None:
    async def use() -> None:
        kv.put({"a": b"1"})
        assert await kv.fetch(["a"]) == [b"1"]
        kv.close()
        with pytest.raises(StorageError, match="closed"):
            await kv.fetch(["a"])

    asyncio.run(use())
    with pytest.raises(StorageError, match="closed"):
        kv.put({"a": b"1"})


# ── servers that go away ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_server_that_hangs_is_unavailable_within_the_timeout_and_comes_back_by_itself(
    server: servers.Redis, kv: RedisKeyValue
) -> None:
    kv.put({"a": b"1"})

    async def hang() -> None:
        assert await kv.fetch(["a"]) == [b"1"]
        server.pause()
        began = time.monotonic()
        found = await asyncio.gather(*(kv.fetch(["a"]) for _ in range(64)), return_exceptions=True)
        assert {type(error) for error in found} == {Unavailable}
        assert "no answer within 0.3 s" in str(found[0])
        assert str(server.port) in str(found[0])
        assert 0.25 < time.monotonic() - began < 5.0  # together: one after the other they would take twenty
        for _ in range(5):
            with pytest.raises(Unavailable):
                await kv.fetch(["a"])
        began = time.monotonic()
        for _ in range(100):  # the breaker is open: nobody waits, but for the one that looks
            with pytest.raises(Unavailable):
                await kv.fetch(["a"])
        assert time.monotonic() - began < 2.0
        server.resume()
        assert await fetchable(kv)

    asyncio.run(hang())
    assert eventually(lambda: readable(kv))


def test_threads_wait_no_longer_for_a_server_that_hangs(server: servers.Redis, kv: RedisKeyValue) -> None:
    kv.put({"a": b"1"})
    server.pause()
    began = time.monotonic()
    with pytest.raises(Unavailable, match="see that the Redis server runs"):
        kv.get(["a"])
    assert time.monotonic() - began < 2.0  # two tries
    server.resume()
    assert eventually(lambda: readable(kv))


def test_a_server_that_was_killed_and_starts_again_is_found(server: servers.Redis, kv: RedisKeyValue) -> None:
    async def restart() -> None:
        kv.put({"a": b"1"})
        assert await kv.fetch(["a"]) == [b"1"]
        server.kill()
        for _ in range(10):
            with pytest.raises(Unavailable):
                await kv.fetch(["a"])
        with pytest.raises(Unavailable):
            kv.get(["a"])
        server.start()
        for _ in range(500):
            try:
                await asyncio.to_thread(kv.put, {"a": b"1"})
                break
            except Unavailable:
                await asyncio.sleep(0.02)
        assert await fetchable(kv)

    asyncio.run(restart())


def test_a_connection_that_the_server_closed_while_it_was_idle_costs_nothing(server: servers.Redis, kv: RedisKeyValue) -> None:
    async def idle() -> None:
        kv.put({"a": b"1"})
        assert await kv.fetch(["a"]) == [b"1"]
        asked(server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0.05)  # the loop hears of it
        assert await kv.fetch(["a"]) == [b"1"]

    asyncio.run(idle())
    assert kv.get(["a"]) == [b"1"]


def test_a_store_may_be_opened_before_its_server_starts() -> None:
    later = servers.Redis()
    kv = open_kv(later.url, BRISK)
    with pytest.raises(Unavailable):
        kv.get(["a"])
    with later:
        assert eventually(lambda: writable(kv))
        assert kv.get(["a"]) == [b"1"]
        kv.close()


def test_a_full_server_says_what_would_help_and_is_not_given_up(server: servers.Redis, kv: RedisKeyValue) -> None:
    kv.put({"a": b"1"})
    asked(server, "CONFIG", "SET", "maxmemory", "1mb")
    for _ in range(5):
        for write in (kv.put, kv.fill, kv.add, lambda items: kv.put(items, 5.0)):
            with pytest.raises(StorageError, match="maxmemory") as caught:
                write({"big": bytes(2 << 20)})
            assert not isinstance(caught.value, Unavailable)
    assert kv.get(["a"]) == [b"1"]


def test_a_server_that_loads_its_data_or_became_a_replica_is_away(server: servers.Redis, kv: RedisKeyValue) -> None:
    kv.put({"a": b"1"})
    asked(server, "REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(Unavailable, match="read only replica"):
        kv.put({"a": b"2"})
    asked(server, "REPLICAOF", "NO", "ONE")
    assert eventually(lambda: writable(kv))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such option")
def test_what_we_stopped_waiting_for_is_not_sent_any_more(server: servers.Redis) -> None:
    with closing(open_kv(server.url, Patience(timeout_ms=700))) as store:
        store.put({"a": b"1"})
        connection = store._servers.client.connection_pool.get_connection()  # type: ignore[attr-defined]  # of one server
        assert connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 700
        connection.disconnect()
