"""Redis: clusters that lose a server or move a slot, and a failover that a sentinel makes."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

import pytest
import redis

import servers
import servers_redis
from api import eventually
from redis_waits import fetchable, writable
from servers_redis import asked
from tastemaker.errors import Unavailable
from tastemaker.storage.kv.redis import open_kv
from tastemaker.storage.kv.redis_names import Tagged

MANY = {f"state:u{number}": str(number).encode() for number in range(64)}


def test_a_cluster_that_lost_a_server_serves_the_others_keys_and_recovers() -> None:
    with servers_redis.Cluster() as cluster, closing(open_kv(cluster.url)) as kv:
        kv.put({"a": b"1"} | MANY)
        assert {asked(server, "DBSIZE") > 0 for server in cluster.servers} == {True}

        async def lose() -> None:
            assert await asyncio.gather(*(kv.fetch([key]) for key in MANY)) == [[value] for value in MANY.values()]
            gone = cluster.servers[0]
            there = {key for key in MANY if 0 <= redis.crc.key_slot(Tagged("").encode(key)) < 16384 // 3}
            gone.pause()
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await kv.fetch([min(there)])
            assert time.monotonic() - began < 5.0  # it waits for two seconds
            gone.resume()
            assert await fetchable(kv)
            end = time.monotonic() + 10
            while time.monotonic() < end:
                try:
                    assert await kv.fetch(list(MANY)) == list(MANY.values())
                    return
                except Unavailable:
                    await asyncio.sleep(0.05)
            pytest.fail("the cluster did not come back")

        asyncio.run(lose())


def test_a_slot_that_moves_is_followed() -> None:
    with servers_redis.Cluster() as cluster, closing(open_kv(cluster.url)) as kv:
        name = Tagged("").encode("state:u1")
        slot = redis.crc.key_slot(name)
        kv.put({"state:u1": b"1", "mark:u1": b"2"})

        async def move() -> None:
            assert await kv.fetch(["state:u1"]) == [b"1"]
            nodes = {asked(server, "CLUSTER", "MYID").decode(): server for server in cluster.servers}
            (old,) = [server for server in cluster.servers if slot_of(server, slot)]
            new, server = next((name, server) for name, server in nodes.items() if server is not old)
            mine = next(name for name, server in nodes.items() if server is old)
            asked(server, "CLUSTER", "SETSLOT", slot, "IMPORTING", mine)
            asked(old, "CLUSTER", "SETSLOT", slot, "MIGRATING", new)
            moved = asked(old, "CLUSTER", "GETKEYSINSLOT", slot, 10)
            asked(old, "MIGRATE", "127.0.0.1", server.port, "", 0, 5000, "KEYS", *moved)
            for one in (server, old):
                asked(one, "CLUSTER", "SETSLOT", slot, "NODE", new)
            assert await kv.fetch(["state:u1", "mark:u1"]) == [b"1", b"2"]

        asyncio.run(move())
        kv.put({"state:u1": b"3"}, ttl=60.0)
        assert kv.get(["state:u1", "mark:u1"]) == [b"3", b"2"]


def slot_of(server: servers.Redis, slot: int) -> bool:
    """Whether a server of a cluster holds keys of a slot."""
    return int(asked(server, "CLUSTER", "COUNTKEYSINSLOT", slot)) > 0


def test_after_a_failover_the_new_master_is_found() -> None:
    with servers_redis.Watched() as watched, closing(open_kv(watched.url)) as kv:
        kv.put({"a": b"1"})
        asked(watched.master, "WAIT", 1, 1000)

        async def fail_over() -> None:
            assert await kv.fetch(["a"]) == [b"1"]
            watched.master.kill()
            with pytest.raises(Unavailable):
                await kv.fetch(["a"])
            assert await fetchable(kv, 20.0)

        asyncio.run(fail_over())
        assert watched.master_port == watched.replica.port
        assert eventually(lambda: writable(kv))
        assert asked(watched.replica, "GET", "a") == b"1"
