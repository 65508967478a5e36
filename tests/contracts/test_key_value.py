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
from tastemaker.errors import InputError, StorageError
from tastemaker.storage import keys, resolve
from tastemaker.storage import kv as ports
from tastemaker.storage.kv import KeyValue

ADAPTERS: dict[str, Callable[[Path], str]] = {
    "lmdb": lambda folder: f"lmdb:///{folder}/deep/kv",
    "redis": lambda _: servers.redis(),
    "redis-cluster": lambda _: servers_redis.cluster(),
    "redis-sentinel": lambda _: servers_redis.sentinel(),
    "postgresql": lambda _: servers.postgresql(),
}
# Keys around the limits of stores: long ones that share their beginning, up to 256 characters of four bytes each.
KEYS = st.one_of(
    st.text(min_size=1, max_size=6),
    st.builds(lambda n, tail: "\N{GRINNING FACE}" * n + tail, st.integers(115, 256), st.text("ab", min_size=1, max_size=3)),
    st.builds(lambda n: "x" * n, st.integers(470, 520)),
)


def open_at(url: str) -> KeyValue:
    kv: KeyValue = resolve(url, ports.SCHEMES, "connect.kv")(url)
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
    kv.put({"short": b"1", "again": b"1"}, ttl=0.15)
    kv.put({"long": b"1"}, ttl=3600)
    kv.put({"again": b"2"})
    assert kv.get(["short"]) == [b"1"]
    time.sleep(0.2)
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
