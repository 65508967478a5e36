"""What only the PostgreSQL store promises: slates of a version in tables of their own, and what it took is there for good."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

import servers
from tastemaker.config import Patience
from tastemaker.errors import ConfigError, InputError, StorageError, Unavailable
from tastemaker.storage import keys
from tastemaker.storage.kv import postgresql
from tastemaker.storage.kv.postgresql import PostgresKeyValue, open_kv

QUICK = Patience(timeout_ms=900, tries=1, failures=3, pause_ms=200)
CALM = Patience(timeout_ms=10_000, tries=1, failures=3, pause_ms=200)


@pytest.fixture
def url() -> str:
    return servers.postgresql()


@pytest.fixture
def kv(url: str) -> Iterator[PostgresKeyValue]:
    opened = open_kv(url, CALM)
    yield opened
    opened.close()


@pytest.fixture
def server() -> Iterator[servers.PostgreSQL]:
    with servers.PostgreSQL() as started:
        yield started


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def slate_tables(url: str) -> int:
    return len(ask(url, "SELECT 1 FROM pg_tables WHERE tablename LIKE 'tastemaker_slates_%'"))


def slates(version: str, count: int, text: bytes = b"") -> dict[str, bytes]:
    """Slates of some users, of the size that they have in life."""
    front = {keys.slate(version, f"u{n}"): b"%d front %b" % (n, text) + b"f" * 900 for n in range(count)}
    return front | {keys.whole(version, f"u{n}"): b"%d whole %b" % (n, text) + b"w" * 1800 for n in range(count)}


def together(*works: Callable[[], None]) -> list[BaseException]:
    """Runs works in threads at the same time; returns what went wrong."""
    wrong: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


# ── tables of versions ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_version_lies_in_tables_of_its_own_which_go_with_it(kv: PostgresKeyValue, url: str) -> None:
    kv.put({"live": b"v1", "state:a": b"s"} | slates("v1", 3) | slates("a version'; DROP TABLE x; --", 2))
    assert slate_tables(url) == 4
    assert ask(url, "SELECT count(*) FROM tastemaker_kv") == [(2,)]
    front, whole = keys.slates("v1")
    assert kv.drop(front) == 3
    assert slate_tables(url) == 3
    assert kv.get([keys.slate("v1", "u0"), keys.whole("v1", "u0"), "live"])[0::2] == [None, b"v1"]
    assert len(list(kv.scan(whole))) == 3
    assert kv.drop(whole) == 3
    assert slate_tables(url) == 2
    assert kv.get([keys.whole("v1", "u0")]) == [None]
    assert len(list(kv.scan("slate:a version'; DROP"))) == 2
    assert kv.drop("") == 2 + 4
    assert slate_tables(url) == 0
    assert ask(url, "SELECT count(*) FROM tastemaker_kv_tables") == [(0,)]


def test_twenty_thousand_slates_are_copied_and_copied_again(kv: PostgresKeyValue, url: str) -> None:
    first, second = slates("v1", 20_000), slates("v1", 20_000, b"again")
    began = time.perf_counter()
    kv.fill(first)
    assert time.perf_counter() - began < 15  # a second and a half on two quiet cores
    assert [ask(url, f"SELECT count(*) FROM {name}") for (name,) in ask(url, "SELECT name FROM tastemaker_kv_tables")] == [
        [(20_000,)]
    ] * 2
    sample = [make("v1", f"u{n}") for n in (0, 777, 19_999) for make in (keys.slate, keys.whole)]
    assert kv.get(sample) == [first[key] for key in sample]
    kv.put({sample[0]: b"newer, by the worker"}, ttl=3600)
    kv.fill(second)
    assert kv.get(sample) == [second[key] for key in sample]
    assert kv.look(sample[:1]) == [(second[sample[0]], None)]
    assert dict(kv.scan("")) == second


def test_a_fill_of_another_process_meets_ours(kv: PostgresKeyValue, url: str) -> None:
    other = open_kv(url, CALM)
    wrong = together(lambda: kv.fill(slates("v1", 3000, b"ours")), lambda: other.fill(slates("v1", 3000, b"theirs")))
    other.close()
    assert wrong == []
    assert len(list(kv.scan("slate:v1:"))) == 3000


def test_what_is_read_is_from_one_moment_whatever_table_it_lies_in(kv: PostgresKeyValue, url: str) -> None:
    names = [keys.mark("a"), keys.state("a"), keys.slate("v1", "a"), keys.whole("v1", "a"), keys.slate("v2", "a")]
    stop, torn, looks = threading.Event(), list[Sequence[bytes | None]](), list[int]()
    other = open_kv(url, CALM)  # it learns of the tables by what it reads

    def judge(found: Sequence[bytes | None]) -> None:
        looks.append(1)
        if len(set(found)) != 1:
            torn.append(found)

    def thread() -> None:
        while not stop.is_set():
            judge(other.get(names))

    def loop() -> None:
        async def look() -> None:
            while not stop.is_set():
                for found in await asyncio.gather(*(other.fetch(names) for _ in range(5))):
                    judge(found)

        asyncio.run(look())

    def write() -> None:
        for n in range(200):
            kv.put(dict.fromkeys(names, str(n).encode()))
        stop.set()

    assert together(thread, loop, write) == []
    other.close()
    assert torn == []
    assert len(looks) > 50


def test_versions_may_come_and_go_under_readers_and_writers(kv: PostgresKeyValue, url: str) -> None:
    stop, other = threading.Event(), open_kv(url, CALM)

    def publish() -> None:
        for n in range(40):
            kv.fill({keys.slate("v1", "a"): b"%d" % n})
            kv.drop(keys.slates("v1")[0])
        stop.set()

    def work() -> None:
        while not stop.is_set():
            other.put({keys.slate("v1", "b"): b"x", keys.mark("b"): b"x"})
            other.delete([keys.slate("v1", "b")])

    def read() -> None:
        while not stop.is_set():
            assert other.get([keys.mark("c"), keys.slate("v1", "c")]) == [None, None]
            list(other.scan("slate:"))

    assert together(publish, work, read) == []
    other.close()
    kv.put({keys.slate("v1", "a"): b"back"})
    assert kv.get([keys.slate("v1", "a")]) == [b"back"]


def test_writers_of_the_same_keys_do_not_wait_in_a_circle(kv: PostgresKeyValue) -> None:
    there = [*slates("v1", 40), *(keys.state(f"u{n}") for n in range(40))]

    def forwards() -> None:
        for n in range(30):
            kv.put(dict.fromkeys(there, b"%d" % n))

    def backwards() -> None:
        for n in range(30):
            kv.put(dict.fromkeys(reversed(there), b"%d" % n))
            kv.delete(there[::-7])

    assert together(forwards, backwards, forwards) == []
    assert len(set(kv.get(there)) - {None}) == 1


# ── reading and keeping ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_an_event_loop_asks_in_one_turn_is_one_statement(kv: PostgresKeyValue, monkeypatch: pytest.MonkeyPatch) -> None:
    kv.put({keys.state(f"u{n}"): b"%d" % n for n in range(100)} | slates("v1", 100))
    asked: list[int] = []
    question = kv._question

    def counted(names: Sequence[bytes]) -> tuple[str, list[list[bytes]]]:
        asked.append(len(names))
        return question(names)

    monkeypatch.setattr(kv, "_question", counted)

    async def turn() -> list[list[bytes | None]]:
        return await asyncio.gather(*(kv.fetch([keys.state(f"u{n}"), keys.slate("v1", f"u{n}"), "live"]) for n in range(100)))

    found = asyncio.run(turn())
    assert [first for first, _, _ in found] == [b"%d" % n for n in range(100)]
    assert asked == [201]


def test_a_request_that_leaves_does_not_take_the_others_with_it(kv: PostgresKeyValue) -> None:
    kv.put({"a": b"1"})

    async def turn() -> bytes | None:
        leaving, staying = asyncio.create_task(kv.fetch(["a"])), asyncio.create_task(kv.fetch(["a"]))
        await asyncio.sleep(0)
        leaving.cancel()
        return (await staying)[0]

    assert asyncio.run(turn()) == b"1"


def test_what_is_over_is_cleared_away(kv: PostgresKeyValue, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "PAUSE", 0.0)
    kv.put({"a": b"1", keys.slate("v1", "a"): b"1"}, ttl=0.02)
    kv.put({"b": b"1"}, ttl=1e300)
    assert kv.look(["b", "c"])[1] is None
    time.sleep(0.05)
    kv.put({"c": b"1"})
    assert ask(url, "SELECT key FROM tastemaker_kv ORDER BY key") == [(b"b",), (b"c",)]
    assert kv.drop(keys.slates("v1")[0]) == 0


def test_what_cannot_be_is_said_plainly(kv: PostgresKeyValue) -> None:
    with pytest.raises(InputError, match="2600 bytes at most"):
        kv.put({"x" * 2601: b"1"})
    kv.put({"x" * 2600: b"1"})
    assert kv.get(["x" * 2600]) == [b"1"]
    with pytest.raises(ConfigError, match="write postgresql://USER"):
        open_kv("postgresql://user:secret@host/db?nonsense=1")
    found = kv.inspect()
    assert found.version.startswith("PostgreSQL ")
    assert found.problems == ()


# ── a server that goes away ─────────────────────────────────────────────────────────────────────────────────────────────


def test_everything_that_was_taken_is_there_after_the_server_was_killed(server: servers.PostgreSQL) -> None:
    kv = open_kv(f"{server.url}/postgres", QUICK)
    taken: list[dict[str, bytes]] = []
    stop = threading.Event()

    def write(name: int) -> Callable[[], None]:
        def work() -> None:
            n = 0
            while not stop.is_set():
                n += 1
                user = f"u{name}-{n}"
                items = {keys.state(user): b"%d" % n, keys.slate("v1", user): b"%d" % n, keys.whole("v1", user): b"%d" % n}
                try:
                    kv.put(items)
                except Unavailable:
                    time.sleep(0.01)
                else:
                    taken.append(items)

        return work

    def crash() -> None:
        for _ in range(2):
            wait_for_more(taken, 100)
            server.kill()
            server.start()
        wait_for_more(taken, 100)

    assert meanwhile(crash, stop, write(1), write(2)) == []
    everything = {key: value for items in taken for key, value in items.items()}
    kv.close()
    again = open_kv(f"{server.url}/postgres", CALM)
    assert again.get(list(everything)) == list(everything.values())
    for user in {key.removeprefix("state:") for key, _ in again.scan("state:")}:  # also of those that nobody was told of
        assert len(set(again.get([keys.state(user), keys.slate("v1", user), keys.whole("v1", user)]))) == 1
    again.close()


def test_a_silent_server_is_left_alone_and_found_again(server: servers.PostgreSQL) -> None:
    url = f"{server.url.replace('tastemaker@', 'tastemaker:secret@')}/postgres"
    kv = open_kv(url, QUICK)
    kv.put({"a": b"1"})

    async def fetched() -> list[bytes | None]:
        return await kv.fetch(["a"])

    assert asyncio.run(fetched()) == [b"1"]
    server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"tastemaker:\*\*\*@127.0.0.1.*no answer within 0.9 s.*see that PostgreSQL runs"):
            kv.get(["a"])
        assert time.monotonic() - began < 5
        for _ in range(5):
            with pytest.raises(Unavailable):
                asyncio.run(fetched())
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(Unavailable, match="left alone"):
                kv.get(["a"])
        assert time.monotonic() - began < 0.5
    finally:
        server.resume()
    wait_for(lambda: answers(kv))
    assert asyncio.run(fetched()) == [b"1"]
    kv.close()


def test_connections_that_the_server_closed_cost_no_failure(kv: PostgresKeyValue, url: str) -> None:
    careful = open_kv(url, CALM)
    careful.put({"a": b"1"})

    async def twice() -> list[list[bytes | None]]:
        first = await careful.fetch(["a"])
        await asyncio.to_thread(end_all, url)
        return [first, await careful.fetch(["a"])]

    assert asyncio.run(twice()) == [[b"1"], [b"1"]]
    assert careful.get(["a"]) == [b"1"]
    end_all(url)
    careful.put({"a": b"2"})
    assert careful.get(["a"]) == [b"2"]
    careful.close()
    with pytest.raises(StorageError, match="closed"):
        asyncio.run(careful.fetch(["a"]))


def test_a_store_opens_before_its_server_is_there() -> None:
    server = servers.PostgreSQL()
    kv = open_kv(f"{server.url}/postgres", CALM)
    with pytest.raises(Unavailable, match="see that PostgreSQL runs"):
        kv.get(["a"])
    with server:
        wait_for(lambda: answers(kv))
        kv.put({"a": b"1"})
        assert kv.get(["a"]) == [b"1"]
        kv.close()


def meanwhile(work: Callable[[], None], stop: threading.Event, *others: Callable[[], None]) -> list[BaseException]:
    """Runs a work here, since a server ends with the thread that started it, and others in threads until it is done."""
    wrong: list[BaseException] = []
    beside = threading.Thread(target=lambda: wrong.extend(together(*others)))
    beside.start()
    try:
        work()
    finally:
        stop.set()
        beside.join()
    return wrong


def wait_for_more(taken: Sequence[object], count: int) -> None:
    enough = len(taken) + count
    wait_for(lambda: len(taken) >= enough)


def end_all(url: str) -> None:
    ask(url, "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = current_database() "
             "AND pid <> pg_backend_pid()")  # fmt: skip


def answers(kv: PostgresKeyValue) -> bool:
    try:
        kv.get(["a"])
    except Unavailable:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def backend(store: PostgresKeyValue) -> int:
    """The process of the server that the next call is for."""
    ((pid,),) = store._connections.call(lambda connection: connection.execute("SELECT pg_backend_pid()").fetchall())
    return int(pid)


CHANGES: dict[str, Callable[[PostgresKeyValue, bytes], None]] = {
    "one table": lambda store, value: store.put({"state:u": value, "mark:u": value}),
    "deletion": lambda store, value: store.put({"state:u": value}) if value != b"1" else store.delete(["state:u"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_the_server_comes_to_late_takes_nothing_newer_back(name: str) -> None:
    """Its process stood still; the same change was made over another connection meanwhile, and then a newer one."""
    change = CHANGES[name]
    with closing(open_kv(servers.postgresql(), Patience(timeout_ms=300, connect_ms=5000))) as store:
        change(store, b"0")
        pid = backend(store)
        os.kill(pid, signal.SIGSTOP)
        try:
            change(store, b"1")
            change(store, b"2")
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: not Path(f"/proc/{pid}").exists())
        assert store.get(["state:u"]) == [b"2"]


@pytest.mark.parametrize("names", [["state:u"], ["state:u", "slate:v1:u"]], ids=["one table", "several tables"])
def test_a_change_that_comes_late_is_undone_whole_and_clocks_that_went_apart_are_compared_again(names: list[str]) -> None:
    with closing(open_kv(servers.postgresql(), CALM)) as store:
        store.put(dict.fromkeys(names, b"0"))
        for connection in store._connections._idle:
            connection.ahead -= 3600.0
        with pytest.raises(Unavailable, match="after we had stopped waiting, and undid it"):
            store.put(dict.fromkeys(names, b"1"))
        assert store.get(names) == [b"0"] * len(names)
        store.put(dict.fromkeys(names, b"2"))
        assert store.get(names) == [b"2"] * len(names)
