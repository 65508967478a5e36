"""The online store on Redis beyond the contract: turns of an event loop, servers that go away, clusters and sentinels."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
import uvloop

import servers
import servers_redis
from api import eventually
from servers_redis import asked
from tastemaker.config import Patience
from tastemaker.errors import ConfigError, StorageError, Unavailable
from tastemaker.storage import keys
from tastemaker.storage.kv.redis import RedisKeyValue, open_kv
from tastemaker.storage.kv.redis_names import Tagged
from tastemaker.storage.kv.redis_urls import parse, shown

BRISK = Patience(connect_ms=300, timeout_ms=300, tries=2, failures=3, pause_ms=100)
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


def readable(kv: RedisKeyValue) -> bool:
    try:
        return kv.get(["a"]) == [b"1"]
    except Unavailable:
        return False


async def fetchable(kv: RedisKeyValue, seconds: float = 10.0) -> bool:
    """Whether a loop gets an answer in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            return await kv.fetch(["a"]) == [b"1"]
        except Unavailable:
            await asyncio.sleep(0.02)
    return False


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
        assert 0.25 < time.monotonic() - began < 1.0
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
        assert eventually(lambda: kv_put(kv))
        assert kv.get(["a"]) == [b"1"]
        kv.close()


def kv_put(kv: RedisKeyValue) -> bool:
    try:
        kv.put({"a": b"1"})
    except Unavailable:
        return False
    return True


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
    assert eventually(lambda: kv_put(kv))


# ── names, prefixes and passwords ───────────────────────────────────────────────────────────────────────────────────

ODD = [
    "a*",
    "a?",
    "a[b]",
    "a\\",
    "a]",
    "a[^b]c",
    "a-b",
    "{a}",
    "a{",
    "}a",
    "a%7B",
    "%",
    "a%",
    ":",
    "a:",
    "::",
    "state:{x}:y",
    "ä:ö",
]


@pytest.mark.parametrize("place", [servers.redis, servers_redis.cluster])
def test_characters_that_mean_something_to_the_server_mean_nothing_in_keys(place: object) -> None:
    kv = open_kv(place())  # type: ignore[operator]  # one of two functions of the same use
    items = {key: key.encode() for key in [*ODD, "ax", "ab", "a", "b"]}
    kv.put(items)
    assert kv.get(list(items)) == list(items.values())
    assert dict(kv.scan("")) == items
    for prefix in items:
        assert {key for key, _ in kv.scan(prefix)} == {key for key in items if key.startswith(prefix)}, prefix
    assert kv.drop("a*") == 1
    assert kv.drop("a[") == 2
    assert kv.drop("") == len(items) - 3
    kv.close()


@pytest.mark.parametrize("prefix", ["", "shop:", "a{b}%:"])
@pytest.mark.parametrize("user", ["u1", "a:b", "a:", ":", "::", "{x}", "%", "%7B", "a}b", "ü"])
def test_the_keys_of_one_user_lie_in_one_slot_of_a_cluster(prefix: str, user: str) -> None:
    names = Tagged(prefix)
    found = [keys.state(user), keys.mark(user), keys.slate("v1", user), keys.whole("als-2:x", user)]
    encoded = [names.encode(key) for key in found]
    assert [names.decode(name) for name in encoded] == found
    assert len({redis.crc.key_slot(name) for name in encoded}) == 1


@pytest.mark.parametrize("place", [servers.redis, servers_redis.cluster])
def test_two_prefixes_share_a_server_and_know_nothing_of_each_other(place: object) -> None:
    base = place()  # type: ignore[operator]  # one of two functions of the same use
    base = base if "?" in base else f"{base}?prefix="
    one, other, odd = (open_kv(base + prefix) for prefix in ("a%3A", "b%3A", "a*%7B"))
    for number, kv in enumerate((one, other, odd)):
        kv.put({"x": str(number).encode(), "y": b"y"})
    assert one.drop("x") == 1
    assert [dict(kv.scan("")) for kv in (one, other, odd)] == [{"y": b"y"}, {"x": b"1", "y": b"y"}, {"x": b"2", "y": b"y"}]
    assert asyncio.run(other.fetch(["x"])) == [b"1"]
    for kv in (one, other, odd):
        kv.close()


def test_what_others_keep_on_the_server_is_left_alone(server: servers.Redis, kv: RedisKeyValue) -> None:
    with redis.Redis(port=server.port) as connection:
        connection.mset({b"\xff\xfe": b"no text"})
        connection.lpush("list", "no value")
    kv.put({"a": b"1"})
    assert list(kv.scan("")) == [("a", b"1")]
    assert kv.get(["list"]) == [None]


def both(kv: RedisKeyValue) -> list[StorageError]:
    """The errors that a thread and a loop get."""
    with pytest.raises(StorageError) as thread:
        kv.get(["a"])
    with pytest.raises(StorageError) as loop:
        asyncio.run(kv.fetch(["a"]))
    return [thread.value, loop.value]


PASSWORD = "s3cret/p@ss%"


def test_a_password_is_used_and_never_shown() -> None:
    with servers.Redis("--requirepass", PASSWORD) as server:
        quoted = quote(PASSWORD, safe="")
        address = server.url.removeprefix("redis://")
        kv = open_kv(f"redis://:{quoted}@{address}/3", BRISK)
        kv.put({"a": b"1"})
        assert asyncio.run(kv.fetch(["a"])) == kv.get(["a"]) == [b"1"]
        server.kill()
        for error in both(kv):
            assert isinstance(error, Unavailable)
            assert "s3cret" not in str(error)
        server.start()
        kv.close()
        for wrong in (f"redis://:s3cretive@{address}", f"redis://{address}", f"redis://nobody:s3cretive@{address}"):
            refused = open_kv(wrong, BRISK)
            for error in both(refused):
                assert "refuses the user or the password" in str(error)
                assert "s3cret" not in str(error)
            refused.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://", "no host and port"),
        ("redis://h:port", "no host and port"),
        ("redis://h:0", "no host and port"),
        ("redis://h/x", "no number"),
        ("redis://h,i", "names several servers"),
        ("redis://h?socket_timeout=5", "patience.timeout_ms"),
        ("redis://h?prefx=a", "did you mean"),
        ("redis://h?ssl_ca_certs=x", "write rediss"),
        ("rediss://h?ssl_cert_reqs=maybe", "none, optional or required"),
        ("rediss://h?ssl_check_hostname=maybe", "yes or no"),
        ("rediss://h?ssl_ca_certs=nowhere.pem", "cannot be read"),
        ("redis+cluster://h:1/2", "only number 0"),
        ("rediss+cluster://h:1?ssl_ca_path=x", "give one file"),
        ("redis+sentinel://h:1", "names no service"),
        ("redis://u:s3cret/x@h:1", "percent-encode"),
        ("redis://u:12/s3cret@h:1", "percent-encode"),
        ("redis://u:12?s3cret@h:1", "percent-encode"),
        ("redis://:s3cret@h:port", "no host and port"),
    ],
)
def test_a_wrong_url_is_refused_with_the_remedy_and_without_the_password(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        open_kv(url)
    assert "s3cret" not in str(caught.value)
    assert "connect.kv" in str(caught.value)


def test_a_url_says_where_and_as_whom() -> None:
    place = parse("rediss://u:a%2Fb@[::1]:7/4?ssl_cert_reqs=none&prefix=p%3A")
    assert (place.hosts, place.username, place.password, place.db) == ((("::1", 7),), "u", "a/b", 4)
    assert (place.prefix, place.tls, place.mode) == ("p:", True, "single")
    assert "a/b" not in repr(place)
    place = parse("redis+sentinel://a,b:2/main/5")
    assert (place.hosts, place.service, place.db) == ((("a", 26379), ("b", 2)), "main", 5)
    assert shown("redis://token@h") == "redis://***@h"


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Sealed(servers.Redis):
    """A server that speaks TLS only, as its certificate's owner 127.0.0.1."""

    def __init__(self) -> None:
        super().__init__()
        self.binary = servers.program("redis-server")
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
        files = ["-keyout", "key.pem", "-out", "cert.pem", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*request, *files], cwd=self.folder, check=True, capture_output=True)

    def command(self) -> list[str]:
        tls = ["--port", "0", "--tls-port", str(self.port), "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"]
        return [str(self.binary), *tls, "--tls-auth-clients", "no", "--bind", "127.0.0.1", "--save", ""]


def test_tls_checks_the_certificate_for_threads_and_loops(tmp_path: Path) -> None:
    with Sealed() as server:
        address = f"rediss://127.0.0.1:{server.port}"
        for options in (f"ssl_ca_certs={server.folder}/cert.pem", "ssl_cert_reqs=none"):
            kv = open_kv(f"{address}?{options}", BRISK)
            kv.put({"a": b"1"})
            assert asyncio.run(kv.fetch(["a"])) == uvloop.run(kv.fetch(["a"])) == kv.get(["a"]) == [b"1"]
            kv.close()
        kv = open_kv(address, BRISK)
        for error in both(kv):
            assert "certificate verify failed" in str(error)
        kv.close()


# ── clusters and sentinels ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_cluster_that_lost_a_server_serves_the_others_keys_and_recovers() -> None:
    with servers_redis.Cluster() as cluster:
        kv = open_kv(cluster.url, BRISK)
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
            assert time.monotonic() - began < 2.0
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
        kv.close()


def test_a_slot_that_moves_is_followed() -> None:
    with servers_redis.Cluster() as cluster:
        kv = open_kv(cluster.url, BRISK)
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
        kv.close()


def slot_of(server: servers.Redis, slot: int) -> bool:
    """Whether a server of a cluster holds keys of a slot."""
    return int(asked(server, "CLUSTER", "COUNTKEYSINSLOT", slot)) > 0


def test_after_a_failover_the_new_master_is_found() -> None:
    with servers_redis.Watched() as watched:
        kv = open_kv(watched.url, BRISK)
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
        assert eventually(lambda: kv_put(kv))
        assert asked(watched.replica, "GET", "a") == b"1"
        kv.close()
