"""The cache in front of the durable store: Redis before PostgreSQL, both real, and both may go away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
import redis as client

import servers
from tastemaker.config import Config, Connect, Patience
from tastemaker.errors import StorageError, Unavailable, UnknownScheme
from tastemaker.storage import connect, keys
from tastemaker.storage.kv import Dated, KeyValue, postgresql, redis
from tastemaker.storage.kv import epoch as epochs
from tastemaker.storage.kv.cached import Cached

QUICK = Patience(timeout_ms=300, tries=1, failures=2, pause_ms=100)
CALM = Patience(timeout_ms=10_000)
BACK = Patience(timeout_ms=10_000, tries=1, failures=2, pause_ms=100)  # a dead one refuses at once, a busy one may be slow
Opener = Callable[..., Cached]


class Watched:
    """A store that notes who asks it for what, and may be held up before it answers or takes something."""

    immediate = False

    def __init__(self, inner: KeyValue) -> None:
        self.inner = inner
        self.looked: list[list[str]] = []
        self.lock, self.inside, self.most = threading.Lock(), 0, 0
        self.before_answer: Callable[[Sequence[str]], None] = lambda _: None
        self.before_put: Callable[[Mapping[str, bytes]], None] = lambda _: None
        self.close, self.scan, self.drop, self.fetch = inner.close, inner.scan, inner.drop, inner.fetch
        self.add, self.fill, self.delete = inner.add, inner.fill, inner.delete

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        found = self.inner.get(keys)
        self.note(keys)
        return found

    def look(self, keys: Sequence[str]) -> list[tuple[bytes, float | None] | None]:
        assert isinstance(self.inner, postgresql.PostgresKeyValue)
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            found = self.inner.look(keys)
            self.note(keys)
            return found
        finally:
            with self.lock:
                self.inside -= 1

    def put(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        self.before_put(items)
        self.inner.put(items, ttl)

    def note(self, keys: Sequence[str]) -> None:
        with self.lock:
            self.looked.append(list(keys))
        self.before_answer(keys)

    def times(self, key: str) -> int:
        """How often a key was asked for."""
        return sum(key in asked for asked in self.looked)


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens caches over two URLs, and closes them in the end."""
    there: list[Cached] = []

    def open_cache(front: str, back: str, watch: bool = False, patience: Patience = CALM) -> Cached:
        stores: tuple[KeyValue, Dated] = redis.open_kv(front, patience), postgresql.open_kv(back, BACK)
        if watch:
            stores = Watched(stores[0]), Watched(stores[1])
        there.append(Cached(*stores))
        return there[-1]

    yield open_cache
    for cache in there:
        cache.close()


@pytest.fixture
def urls() -> tuple[str, str]:
    return servers.redis(), servers.postgresql()


@pytest.fixture
def cache(opened: Opener, urls: tuple[str, str]) -> Cached:
    return opened(*urls, watch=True)


@pytest.fixture
def truth(urls: tuple[str, str]) -> Iterator[KeyValue]:
    """The back, as somebody sees it who knows nothing of a cache."""
    store = postgresql.open_kv(urls[1], CALM)
    yield store
    store.close()


def back_of(cache: Cached) -> Watched:
    assert isinstance(cache.back, Watched)
    return cache.back


def front_of(cache: Cached) -> Watched:
    assert isinstance(cache.front, Watched)
    return cache.front


def flush(urls: tuple[str, str]) -> None:
    with client.Redis.from_url(urls[0]) as connection:
        connection.flushdb()


def wait_for(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def started(*works: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


def ended(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_front_lacks_is_read_from_the_back_once(cache: Cached, truth: KeyValue) -> None:
    truth.put({"state:a": b"1", "state:b": b""})
    assert cache.get(["state:a", "state:b", "state:a"]) == [b"1", b"", b"1"]
    assert cache.get(["state:b", "state:a"]) == [b"", b"1"]
    assert asyncio.run(cache.fetch(["state:a"])) == [b"1"]
    assert back_of(cache).times("state:a") == 1


def test_that_there_is_no_value_is_known_too(cache: Cached) -> None:
    assert cache.get(["state:a"]) == [None]
    assert cache.get(["state:a"]) == [None]
    assert asyncio.run(cache.fetch(["state:a"])) == [None]
    assert back_of(cache).times("state:a") == 1
    cache.put({"state:a": b"1"})
    assert cache.get(["state:a"]) == [b"1"]
    cache.delete(["state:a"])
    assert cache.get(["state:a"]) == [None]
    assert back_of(cache).times("state:a") == 1


def test_what_was_written_is_in_both(cache: Cached, truth: KeyValue, opened: Opener, urls: tuple[str, str]) -> None:
    items = {"state:a": b"1", keys.slate("v1", "a"): b"2"}
    cache.put(items)
    cache.fill({keys.whole("v1", f"u{n}"): b"%d" % n for n in range(2500)})
    assert truth.get([*items, keys.whole("v1", "u2499")]) == [b"1", b"2", b"2499"]
    other = opened(*urls, watch=True)
    assert other.get([*items, keys.whole("v1", "u2499")]) == [b"1", b"2", b"2499"]
    assert [asked for asked in back_of(other).looked if asked != [keys.EPOCH]] == []


def test_a_flushed_front_fills_itself(cache: Cached, urls: tuple[str, str]) -> None:
    items = {f"state:u{n}": b"%d" % n for n in range(50)}
    cache.put(items)
    flush(urls)
    assert cache.get(list(items)) == list(items.values())
    assert len([asked for asked in back_of(cache).looked if "state:u0" in asked]) == 1
    assert asyncio.run(cache.fetch(list(items))) == list(items.values())
    assert back_of(cache).times("state:u0") == 1


def test_a_request_is_answered_from_one_moment(cache: Cached, truth: KeyValue, urls: tuple[str, str]) -> None:
    names = [keys.mark("a"), keys.slate("v1", "a")]
    cache.put(dict.fromkeys(names, b"old"))
    truth.put(dict.fromkeys(names, b"new"))
    with client.Redis.from_url(urls[0]) as connection:
        connection.delete(*connection.keys("*slate*"))
    assert cache.get(names) == [b"new", b"new"]


def test_values_end_when_they_should_also_those_that_were_read_through(cache: Cached, urls: tuple[str, str]) -> None:
    cache.put({"state:a": b"1"}, ttl=2.0)
    assert cache.get(["state:a"]) == [b"1"]
    flush(urls)
    assert cache.get(["state:a"]) == [b"1"]
    assert cache.get(["state:a"]) == [b"1"]
    time.sleep(2.05)
    assert cache.get(["state:a"]) == [None]
    assert back_of(cache).times("state:a") == 1


@pytest.mark.parametrize("loops", [False, True])
def test_many_who_lack_the_same_key_cause_one_read(cache: Cached, truth: KeyValue, loops: bool) -> None:
    truth.put({"state:a": b"1"})
    assert cache.get(["warm"]) == [None]
    hold, found = threading.Event(), list[bytes | None]()

    def slow(asked: Sequence[str]) -> None:
        if "state:a" in asked:
            hold.wait(10)

    back_of(cache).before_answer = slow

    def ask() -> None:
        found.extend(cache.get(["state:a"]))

    def ask_in_loop() -> None:
        async def ask_all() -> None:
            for values in await asyncio.gather(*(cache.fetch(["state:a"]) for _ in range(10))):
                found.extend(values)

        asyncio.run(ask_all())

    threads = started(*[ask_in_loop] * 3) if loops else started(*[ask] * 20)
    wait_for(lambda: back_of(cache).times("state:a") >= 1)
    if not loops:
        wait_for(lambda: len([asked for asked in front_of(cache).looked if asked[0].startswith("state:a")]) == 20)
    time.sleep(0.05)  # for those between the front and the queue: more reads, if there were any, would show
    hold.set()
    ended(threads)
    assert found == [b"1"] * (30 if loops else 20)
    assert back_of(cache).times("state:a") == 1


def test_an_empty_cache_does_not_bury_the_back_in_reads(cache: Cached, truth: KeyValue, urls: tuple[str, str]) -> None:
    truth.put({f"state:u{n}": b"%d" % n for n in range(400)})
    cache.get(["warm"])
    back_of(cache).looked.clear()

    async def ask() -> list[list[bytes | None]]:
        return await asyncio.gather(*(cache.fetch([f"state:u{n}"]) for n in range(400)))

    assert asyncio.run(ask()) == [[b"%d" % n] for n in range(400)]
    assert len([asked for asked in back_of(cache).looked if asked != [keys.EPOCH]]) < 40
    flush(urls)
    started_at = back_of(cache).most
    threads = started(*[lambda n=n: cache.get([f"state:u{n}"]) for n in range(60)])
    ended(threads)
    assert started_at <= back_of(cache).most <= 4 + 1  # and the look at the epoch


# ── readers and writers at the same time ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("change", ["put", "delete", "add"])
def test_a_slow_reader_does_not_undo_a_write(cache: Cached, truth: KeyValue, change: str) -> None:
    """The reader has its answer from the back and sleeps; the writer is done; the reader wakes and wants to fill the cache."""
    if change != "add":
        truth.put({"state:a": b"old"})
    hold, read = threading.Event(), list[bytes | None]()

    def slow(asked: Sequence[str]) -> None:
        if "state:a" in asked and threading.current_thread().name.startswith("reads"):
            hold.wait(10)

    back_of(cache).before_answer = slow
    reader = started(lambda: read.extend(cache.get(["state:a"])))
    wait_for(lambda: back_of(cache).times("state:a") == 1)
    if change == "delete":
        cache.delete(["state:a"])
    else:
        getattr(cache, change)({"state:a": b"new"})
    hold.set()
    ended(reader)
    expected = None if change == "delete" else b"new"
    assert read == [None if change == "add" else b"old"]  # it asked before
    for _ in range(3):
        assert cache.get(["state:a"]) == [expected]


def test_who_asks_after_a_write_does_not_get_an_answer_from_before_it(
    cache: Cached, truth: KeyValue, urls: tuple[str, str]
) -> None:
    truth.put({"state:a": b"old"})
    hold = threading.Event()
    held = iter([True])

    def slow(asked: Sequence[str]) -> None:
        if "state:a" in asked and next(held, False):
            hold.wait(10)

    back_of(cache).before_answer = slow
    reader = started(lambda: cache.get(["state:a"]))
    wait_for(lambda: back_of(cache).times("state:a") == 1)
    cache.put({"state:a": b"new"})
    flush(urls)  # so that the next one asks the back, where the first is still on its way
    assert cache.get(["state:a"]) == [b"new"]
    hold.set()
    ended(reader)
    assert cache.get(["state:a"]) == [b"new"]


def test_of_two_writers_of_a_pointer_the_back_is_right(opened: Opener, urls: tuple[str, str], truth: KeyValue) -> None:
    """The first to reach the back is the last to reach the front."""
    first, second = opened(*urls, watch=True), opened(*urls)
    reached, hold = threading.Event(), threading.Event()

    def slow(items: Mapping[str, bytes]) -> None:
        if any(b"v1" in value for value in items.values()):
            reached.set()
            hold.wait(10)

    front_of(first).before_put = slow
    writer = started(lambda: first.put({"live": b"v1"}))
    assert reached.wait(10)
    second.put({"live": b"v2"})
    hold.set()
    ended(writer)
    assert truth.get(["live"]) == [b"v2"]
    assert first.get(["live"]) == second.get(["live"]) == [b"v2"]


# ── the front goes away ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def keeping() -> Iterator[servers.Redis]:
    """A front that keeps what it has over its death: the worst kind."""
    with servers.Redis("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.mark.parametrize("how", ["killed", "silent"])
def test_no_old_value_is_served_after_the_front_was_away(
    opened: Opener, keeping: servers.Redis, urls: tuple[str, str], how: str
) -> None:
    writer, reader = (opened(f"{keeping.url}/0", urls[1], patience=QUICK) for _ in range(2))
    writer.put({"state:a": b"old", "state:gone": b"old"})
    assert reader.get(["state:a"]) == [b"old"]
    before = writer.back.get([keys.EPOCH])
    keeping.kill() if how == "killed" else keeping.pause()
    writer.put({"state:a": b"new"})
    after_first = writer.back.get([keys.EPOCH])
    writer.delete(["state:gone"])
    assert before != after_first
    assert reader.get(["state:a", "state:gone"]) == [b"new", None]
    keeping.start() if how == "killed" else keeping.resume()
    wait_for(lambda: works(keeping))
    with client.Redis.from_url(keeping.url) as connection:
        assert {connection.get(name)[1:] for name in connection.keys("*state:a*")} & {b"old", b"new"}  # late, under its old epoch
    for _ in range(40):
        assert reader.get(["state:a", "state:gone"]) == [b"new", None]
        assert writer.get(["state:a", "state:gone"]) == [b"new", None]
        assert asyncio.run(reader.fetch(["state:a", "state:gone"])) == [b"new", None]
        time.sleep(0.01)
    wait_for(lambda: believes(writer) and believes(reader))
    writer.put({"state:a": b"newest"})
    wait_for(lambda: reader.get(["state:a"]) == [b"newest"], epochs.LOOK + 1.0)


def test_a_front_that_comes_back_is_not_believed_before_the_epoch_was_looked_at(
    opened: Opener, keeping: servers.Redis, urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "LOOK", 3600.0)
    writer, reader, loop_reader = (opened(f"{keeping.url}/0", urls[1], patience=QUICK) for _ in range(3))
    writer.put({"state:a": b"old"})
    keeping.kill()
    assert reader.get(["state:a"]) == asyncio.run(loop_reader.fetch(["state:a"])) == [b"old"]
    writer.put({"state:a": b"new"})
    keeping.start()
    wait_for(lambda: works(keeping))
    time.sleep(2 * QUICK.pause_ms / 1000)  # so that the breakers let the next call through
    assert reader.get(["state:a"]) == asyncio.run(loop_reader.fetch(["state:a"])) == [b"new"]
    assert believes(reader)
    assert believes(loop_reader)


def believes(cache: Cached) -> bool:
    """Whether it uses its front again."""
    cache.get(["state:a"])
    return not cache._doubted


def works(server: servers.Redis) -> bool:
    try:
        with client.Redis.from_url(server.url, socket_timeout=1) as connection:
            return bool(connection.ping())
    except client.RedisError:
        return False


def test_a_process_that_saw_nothing_learns_of_the_new_epoch(
    opened: Opener, keeping: servers.Redis, urls: tuple[str, str]
) -> None:
    """The network between the writer and the front was cut, and nobody else noticed."""
    reader = opened(f"{keeping.url}/0", urls[1])
    reader.put({"state:a": b"old"})
    elsewhere = opened("redis://127.0.0.1:1/0", urls[1], patience=QUICK)  # a front that this writer cannot reach
    elsewhere.put({"state:a": b"new"})
    end = time.monotonic() + epochs.LOOK + 1.0
    wait_for(lambda: reader.get(["state:a"]) == [b"new"], end - time.monotonic())
    elsewhere.put({"state:a": b"newer"})
    wait_for(lambda: reader.get(["state:a"]) == [b"newer"], epochs.LOOK + 1.0)


def test_a_writer_that_missed_a_new_epoch_writes_where_it_is_read(
    opened: Opener, urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "LOOK", 3600.0)
    late, other = opened(*urls), opened(*urls)
    late.put({"state:a": b"1"})
    other._epoch.renew()
    other.put({"state:a": b"2"})
    assert other.get(["state:a"]) == [b"2"]
    late.put({"state:a": b"3"})
    assert other.get(["state:a"]) == late.get(["state:a"]) == [b"3"]


def test_without_the_front_nobody_waits_for_it(opened: Opener, urls: tuple[str, str]) -> None:
    with servers.Redis() as server:
        cache = opened(f"{server.url}/0", urls[1], patience=QUICK)
        cache.put({"state:a": b"1"})
        server.pause()
        for _ in range(3):
            assert cache.get(["state:a"]) == [b"1"]
        began, waits = time.monotonic(), list[float]()
        while time.monotonic() - began < 1.0:
            asked = time.monotonic()
            assert asyncio.run(cache.fetch(["state:a"])) == [b"1"]
            waits.append(time.monotonic() - asked)
        assert sorted(waits)[len(waits) // 2] < 0.05  # one a pause tries the front, the others do not wait
        cache.put({"state:a": b"2"})
        assert cache.get(["state:a"]) == [b"2"]
        server.resume()
        wait_for(lambda: cache.get(["state:a"]) == [b"2"] and not cache._doubted)


def test_a_write_raises_when_neither_front_nor_epoch_takes_it(opened: Opener, urls: tuple[str, str]) -> None:
    with servers.Redis() as server:
        cache = opened(f"{server.url}/0", urls[1], watch=True, patience=QUICK)
        cache.put({"state:a": b"1"})
        server.kill()

        def refuse(items: Mapping[str, bytes]) -> None:
            if keys.EPOCH in items:
                raise Unavailable("the network went right here")

        back_of(cache).before_put = refuse
        with pytest.raises(Unavailable, match="right here"):
            cache.put({"state:a": b"2"})
        with pytest.raises(Unavailable, match="right here"):
            cache.put({"state:a": b"3"})  # in doubt, the epoch is part of the write: nothing of it is there
        assert cache.get(["state:a"]) == [b"2"]


# ── the back goes away ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_the_back_the_front_answers_what_it_knows(opened: Opener, urls: tuple[str, str]) -> None:
    with servers.PostgreSQL() as server:
        cache = opened(urls[0], f"{server.url}/postgres")
        cache.put({"state:a": b"1", "live": b"v1"})
        assert cache.get(["state:none"]) == [None]
        server.kill()
        for _ in range(3):
            assert cache.get(["state:a", "live", "state:none"]) == [b"1", b"v1", None]
            assert asyncio.run(cache.fetch(["state:a", "live"])) == [b"1", b"v1"]
        for use in (lambda: cache.get(["state:b"]), lambda: cache.put({"state:a": b"2"}), lambda: list(cache.scan(""))):
            with pytest.raises(Unavailable):
                use()
        with pytest.raises(Unavailable):
            asyncio.run(cache.fetch(["state:a", "state:b"]))
        assert cache.get(["state:a"]) == [b"1"]
        server.start()
        wait_for(lambda: put(cache, {"state:a": b"3"}))
        assert cache.get(["state:a", "state:b"]) == [b"3", None]


def put(cache: Cached, items: Mapping[str, bytes]) -> bool:
    try:
        cache.put(items)
    except Unavailable:
        return False
    return True


def test_an_empty_back_in_place_of_the_old_one_is_believed(opened: Opener, urls: tuple[str, str]) -> None:
    cache = opened(*urls)
    cache.put({"state:a": b"1"})
    cache.close()
    again = opened(urls[0], servers.postgresql())
    assert again.get(["state:a"]) == [None]


# ── the rest ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_epoch_is_nobodys_business(cache: Cached) -> None:
    cache.put({"a": b"1"})
    assert list(cache.scan("")) == [("a", b"1")]
    before = cache.back.get([keys.EPOCH])
    assert cache.drop("") == 1
    assert cache.back.get([keys.EPOCH]) not in (before, [None])
    assert cache.get(["a"]) == [None]


def test_a_configuration_puts_one_before_the_other(urls: tuple[str, str]) -> None:
    with connect(Config(connect=Connect(kv=urls[0], kv_durable=urls[1]))) as storage:
        assert isinstance(storage.kv, Cached)
        storage.kv.put({"live": b"v1"})
        assert storage.kv_durable.get(["live"]) == [b"v1"]
        kept = storage.kv
    with pytest.raises(StorageError, match="closed"):
        kept.get(["live"])
    with (
        connect(Config(connect=Connect(kv=urls[0], kv_durable=urls[0]))) as storage,
        pytest.raises(UnknownScheme, match=r"kv_durable.*known: lmdb, postgresql"),
    ):
        _ = storage.kv
