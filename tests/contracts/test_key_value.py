"""What every online store must do. A new adapter is one line in ``ADAPTERS``."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import servers
import servers_redis
from tastemaker.config import Patience
from tastemaker.errors import InputError, StorageError
from tastemaker.storage import keys, resolve
from tastemaker.storage import kv as ports
from tastemaker.storage.kv import KeyValue
from tastemaker.storage.kv.cached import Cached

ADAPTERS: dict[str, Callable[[Path], str]] = {
    "lmdb": lambda folder: f"lmdb:///{folder}/deep/kv",
    "redis": lambda _: servers.redis(),
    "redis-cluster": lambda _: servers_redis.cluster(),
    "redis-sentinel": lambda _: servers_redis.sentinel(),
    "postgresql": lambda _: servers.postgresql(),
    "cached": lambda _: f"{servers.redis()} {servers.postgresql()}",
}
CALM = Patience(timeout_ms=10_000)  # a busy machine is no failure here
# Keys around the limits of stores: long ones that share their beginning, up to 256 characters of four bytes each.
KEYS = st.one_of(
    st.text(min_size=1, max_size=6),
    st.builds(lambda n, tail: "\N{GRINNING FACE}" * n + tail, st.integers(115, 256), st.text("ab", min_size=1, max_size=3)),
    st.builds(lambda n: "x" * n, st.integers(470, 520)),
)


def open_at(url: str) -> KeyValue:
    """A store; of two URLs, the first in front of the second."""
    front, _, back = url.partition(" ")
    if back:
        return Cached(open_at(front), resolve(back, ports.DURABLE, "connect.kv_durable")(back, CALM))
    kv: KeyValue = resolve(url, ports.SCHEMES, "connect.kv")(url, CALM)
    return kv


@pytest.fixture(params=ADAPTERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ADAPTERS[request.param](tmp_path)


@pytest.fixture
def kv(url: str) -> Iterator[KeyValue]:
    opened = open_at(url)
    yield opened
    opened.close()


def test_get_gives_what_put_took(kv: KeyValue) -> None:
    kv.put({"a": b"1", "b": b"", "c": b"\0" * 100_000})
    assert kv.get(["c", "missing", "a", "b", "a"]) == [b"\0" * 100_000, None, b"1", b"", b"1"]
    kv.put({"a": b"2"})
    assert kv.get(["a"]) == [b"2"]
    assert kv.get([]) == []


def test_delete_takes_what_is_there_and_forgives_the_rest(kv: KeyValue) -> None:
    kv.put({"a": b"1", "b": b"2"})
    kv.delete(["a", "missing"])
    kv.delete([])
    assert kv.get(["a", "b"]) == [None, b"2"]


def test_an_empty_key_is_an_error(kv: KeyValue) -> None:
    for use in (lambda: kv.get([""]), lambda: kv.put({"": b"1"}), lambda: kv.delete([""])):
        with pytest.raises(InputError, match="key"):
            use()


def test_a_value_is_gone_when_its_time_is_over(kv: KeyValue) -> None:
    began = time.monotonic()
    kv.put({"short": b"1", "again": b"1"}, ttl=0.3)
    kv.put({"long": b"1"}, ttl=3600)
    kv.put({"again": b"2"})
    assert kv.get(["short"]) == [b"1"] or time.monotonic() - began > 0.3
    time.sleep(0.35)
    assert kv.get(["short", "again", "long"]) == [None, b"2", b"1"]
    assert [key for key, _ in kv.scan("")] == ["again", "long"]
    kv.put({"more": b"1"})  # clears away what is over
    assert kv.get(["short", "again"]) == [None, b"2"]
    with pytest.raises(InputError, match="ttl"):
        kv.put({"a": b"1"}, ttl=0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.dictionaries(KEYS, st.binary(max_size=20), max_size=12), other=KEYS)
def test_scan_gives_the_prefix_in_bytewise_order_whatever_the_keys(kv: KeyValue, items: dict[str, bytes], other: str) -> None:
    kv.delete([key for key, _ in kv.scan("")])
    kv.put(items)
    for prefix in {"", other, other[:3], *(key[: len(key) // 2 + 1] for key in items), *items}:
        wanted = {key: value for key, value in items.items() if key.startswith(prefix)}
        assert list(kv.scan(prefix)) == sorted(wanted.items(), key=lambda entry: entry[0].encode())
    assert kv.get(list(items)) == list(items.values())
    kv.delete(list(items)[::2])
    assert [key for key, _ in kv.scan("")] == sorted(list(items)[1::2], key=str.encode)


def test_entries_may_be_deleted_while_they_are_scanned(kv: KeyValue) -> None:
    kv.put({f"slate:1:{n:05}": b"x" for n in range(3000)} | {"slate:2:a": b"y"})
    seen: list[str] = []
    for key, _ in kv.scan("slate:1:"):
        if len(seen) % 50 == 0:
            kv.delete([key])
        seen.append(key)
    assert seen == [f"slate:1:{n:05}" for n in range(3000)]
    kv.delete(seen)
    assert list(kv.scan("")) == [("slate:2:a", b"y")]


def test_readers_see_a_put_whole_or_not_at_all(kv: KeyValue) -> None:
    one, other = keys.state("a"), keys.mark("a")  # of one user: a store of several servers promises no more
    kv.put({one: b"0", other: b"0"})
    stop, torn = threading.Event(), list[list[bytes | None]]()

    def look() -> None:
        while not stop.is_set():
            found = kv.get([one, other])
            if found[0] != found[1]:
                torn.append(found)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(300):
        kv.put({one: str(n).encode(), other: str(n).encode()})
    stop.set()
    for thread in threads:
        thread.join()
    assert not torn
    assert kv.get([one]) == [b"299"]


def test_an_event_loop_gets_the_same_as_a_thread(kv: KeyValue) -> None:
    kv.put({f"state:u{n}": str(n).encode() for n in range(300)})

    async def fetch() -> list[list[bytes | None]]:
        many = [kv.fetch([f"state:u{n}", "missing", f"state:u{n}"]) for n in range(300)]
        return [*await asyncio.gather(*many), await kv.fetch([])]

    for _ in range(2):  # a loop ends, and another one reads
        assert asyncio.run(fetch()) == [*([str(n).encode(), None, str(n).encode()] for n in range(300)), []]
    with pytest.raises(InputError, match="key"):
        asyncio.run(kv.fetch([""]))


def test_filling_writes_over_what_is_there_and_leaves_the_rest(kv: KeyValue) -> None:
    kv.fill({f"slate:v1:u{n:04}": b"first" for n in range(0, 3000, 2)} | {"other": b"1"})
    kv.put({"slate:v1:u0001": b"by the worker", "slate:v1:x": b"kept"})
    kv.fill({f"{kind}:v1:u{n:04}": b"%d" % n for n in range(3000) for kind in ("slate", "whole")})
    kv.fill({})
    assert kv.get(["slate:v1:u0000", "slate:v1:u0001", "whole:v1:u2999"]) == [b"0", b"1", b"2999"]
    assert kv.get(["slate:v1:x", "other", "whole:v1:x"]) == [b"kept", b"1", None]
    assert len(list(kv.scan("slate:v1:"))) == 3001


def test_dropping_takes_everything_under_a_prefix_and_nothing_else(kv: KeyValue) -> None:
    kv.fill({f"{kind}:v{n % 2}:u{n}": b"x" for n in range(2400) for kind in ("slate", "whole")})
    kv.put({"slate:v1": b"no slate", "slate:v11:u": b"another version", "live": b"v0"})
    kv.put({"slate:v1:over": b"x"}, ttl=0.05)
    assert kv.get(["slate:v1:u1", "whole:v1:u1"]) == [b"x", b"x"]
    time.sleep(0.1)
    assert kv.drop("slate:v1:") == 1200
    assert kv.get(["slate:v1:u1", "slate:v0:u0", "whole:v1:u1", "slate:v11:u"]) == [None, b"x", b"x", b"another version"]
    assert kv.drop("slate:v1:") == 0
    kv.put({"slate:v1:u1": b"back again"})
    assert kv.get(["slate:v1:u1"]) == [b"back again"]
    assert kv.drop("whole:v0:u1") == len([n for n in range(0, 2400, 2) if str(n).startswith("1")])
    assert kv.drop("slate:") == 1200 + 3  # the other version, those of v1 and v11, and the key that is no slate
    assert {key.partition(":")[0] for key, _ in kv.scan("")} == {"live", "whole"}
    assert kv.drop("whole:") == len([n for n in range(0, 2400, 2) if not str(n).startswith("1")]) + 1200
    assert list(kv.scan("")) == [("live", b"v0")]


def test_an_event_loop_sees_what_was_put_filled_deleted_and_dropped(kv: KeyValue) -> None:
    async def seen(*names: str) -> list[bytes | None]:
        return await kv.fetch(names)

    names = ("live", "slate:v1:a", "whole:v1:a", "slate:v2:a")
    assert asyncio.run(seen(*names)) == [None, None, None, None]
    kv.fill({"slate:v1:a": b"1", "whole:v1:a": b"1"})
    kv.put({"live": b"v1", "slate:v2:a": b"2"})
    assert asyncio.run(seen(*names)) == [b"v1", b"1", b"1", b"2"]
    kv.drop("slate:v1:")
    kv.delete(["live"])
    kv.put({"whole:v1:a": b"changed"})
    assert asyncio.run(seen(*names)) == [None, None, b"changed", b"2"]


def test_adding_leaves_what_is_there(kv: KeyValue) -> None:
    kv.put({"a": b"1", "slate:v1:a": b"1"})
    kv.put({"short": b"1"}, ttl=0.05)
    assert kv.get(["b", "slate:v1:b"]) == [None, None]
    kv.add({"a": b"2", "b": b"2", "slate:v1:a": b"2", "slate:v1:b": b"2"})
    assert kv.get(["a", "b", "slate:v1:a", "slate:v1:b"]) == [b"1", b"2", b"1", b"2"]
    time.sleep(0.1)
    kv.add({"short": b"2"})
    began = time.monotonic()
    kv.add({"brief": b"1", "a": b"3"}, ttl=0.2)
    kv.add({})
    assert kv.get(["short", "brief", "a"]) == [b"2", b"1", b"1"] or time.monotonic() - began > 0.2
    time.sleep(0.25)
    assert kv.get(["short", "brief", "a"]) == [b"2", None, b"1"]
    with pytest.raises(InputError, match="key"):
        kv.add({"": b"1"})


def test_of_many_who_add_one_is_first(url: str) -> None:
    stores = [open_at(url) for _ in range(4)]
    barrier, seen = threading.Barrier(4), list[bytes | None]()

    def claim(number: int) -> None:
        barrier.wait()
        stores[number].add({"store": b"%d" % number})
        seen.extend(stores[number].get(["store"]))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert len(set(seen)) == 1
    assert seen[0] is not None
    for store in stores:
        store.close()


def test_values_outlive_the_store_and_two_may_be_open(url: str) -> None:
    first, second = open_at(url), open_at(url)
    first.put({"a": b"1"})
    assert second.get(["a"]) == [b"1"]
    first.close()
    first.close()
    assert second.get(["a"]) == [b"1"]
    with pytest.raises(StorageError, match="closed"):
        first.get(["a"])
    second.close()
    third = open_at(url)
    assert third.get(["a"]) == [b"1"]
    third.close()
