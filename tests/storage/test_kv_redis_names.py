"""Redis: what keys, prefixes, URLs, passwords and certificates may hold, and what no message shows."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
import uvloop

import servers
import servers_redis
from redis_waits import BRISK
from tastemaker.errors import ConfigError, StorageError, Unavailable
from tastemaker.storage import keys
from tastemaker.storage.kv.redis import RedisKeyValue, open_kv
from tastemaker.storage.kv.redis_names import Tagged
from tastemaker.storage.kv.redis_urls import parse, shown


@pytest.fixture
def server() -> Iterator[servers.Redis]:
    with servers.Redis() as own:
        yield own


@pytest.fixture
def kv(server: servers.Redis) -> Iterator[RedisKeyValue]:
    opened = open_kv(server.url, BRISK)
    yield opened
    opened.close()


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
