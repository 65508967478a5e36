"""What a log on PostgreSQL must survive: other writers, a killed server, a silent network; and what it promises beside."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

import servers
from ports import free_port
from proxy import Proxy
from tastemaker.config import Patience
from tastemaker.domain import AnyEvent, Interaction, Record
from tastemaker.errors import ConfigError, StorageError, Unavailable
from tastemaker.storage.log import batches, partition_of, postgresql, postgresql_listener
from tastemaker.storage.log.postgresql import PostgresLog, open_log
from tastemaker.storage.log.subscription import Alone, PollingSubscription, Seen

QUICK = Patience(connect_ms=300, timeout_ms=200, tries=2, failures=3, pause_ms=200)
# Appends numbered events, some at a time, until it is told to end; prints how many are acknowledged.
APPENDS = """
import sys
from tastemaker.domain import Interaction
from tastemaker.storage.log.postgresql import open_log

url, name, size, most = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
log = open_log(url, 4)
for number in range(0, most, size):
    events = [Interaction(id=f"{name}:{number + n}", time=1, user=f"u{n % 10}", item="i", kind="k") for n in range(size)]
    log.append(events).result()
    print(number + size, flush=True)
log.close()
"""


@pytest.fixture
def url() -> str:
    return servers.postgresql()


@pytest.fixture
def log(url: str) -> Iterator[PostgresLog]:
    opened = open_log(url, 4)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def server() -> Iterator[servers.PostgreSQL]:
    """One of our own, to be killed."""
    with servers.PostgreSQL() as started:
        yield started
        started.kill()  # it would wait for connections that were given up


def event(name: str, number: int, user: str | None = None) -> Interaction:
    return Interaction(id=f"{name}:{number}", time=number, user=user or f"u{number % 10}", item="i", kind="k")


def neighbours(count: int) -> list[str]:
    """Users whose events lie in partition 1."""
    return [user for user in (f"u{n}" for n in range(100)) if partition_of(user, 4) == 1][:count]


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def appender(url: str, name: str, size: int, most: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", APPENDS, url, name, str(size), str(most)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def stored(log: PostgresLog) -> list[str]:
    """All ids, by partition; offsets are dense, and each producer's events come in its order."""
    found = []
    for partition, end in enumerate(log.ends()):
        records = log.read(partition, 0, 10**7)
        assert [record.offset for record in records] == list(range(len(records)))
        assert len(records) >= end  # more, where the server comes to the last words of a client that was killed
        numbers: dict[str, list[int]] = defaultdict(list)
        for record in records:
            producer, _, number = record.event.id.rpartition(":")
            numbers[producer].append(int(number))
        assert all(each == sorted(each) for each in numbers.values())
        found += [record.event.id for record in records]
    return found


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def grow(things: Sized, by: int) -> None:
    """Waits until there are more of them."""
    wanted = len(things) + by
    until(lambda: len(things) >= wanted)


def again(log: PostgresLog) -> list[tuple[int, int]]:
    """Appends one event as soon as the server takes it."""
    end = time.monotonic() + 20
    while True:
        try:
            return log.append([event("again", 0)]).result()
        except Unavailable:
            assert time.monotonic() < end
            time.sleep(0.05)


# ── many writers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_processes_that_append_at_once_share_dense_offsets_and_lose_nothing(log: PostgresLog, url: str) -> None:
    children = [appender(url, name, 3, 600) for name in ("a", "b")]
    mine = [log.append([event("c", n)]) for n in range(600)]
    positions = [future.result() for future in mine]
    for child in children:
        child.communicate()
        assert child.returncode == 0
    found = stored(log)
    assert sorted(found) == sorted(f"{name}:{n}" for name in "abc" for n in range(600))
    for number, [(partition, offset)] in enumerate(positions):
        assert log.read(partition, offset, 1)[0].event.id == f"c:{number}"


def test_a_writer_that_is_stopped_at_any_moment_holds_nobody_up_for_long(log: PostgresLog, url: str) -> None:
    child = appender(url, "stopped", 50, 10**9)
    assert child.stdout is not None
    try:
        for pause in range(12):
            child.stdout.readline()
            time.sleep(pause / 3000)
            child.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            log.append([event("mine", pause * 10 + n) for n in range(10)]).result()
            assert time.monotonic() - began < 7  # the server ends a transaction whose client is silent for five seconds
            child.send_signal(signal.SIGCONT)
    finally:
        child.kill()
        child.communicate()
    assert len([each for each in stored(log) if each.startswith("mine")]) == 120


def test_processes_may_open_a_new_log_at_once(url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        logs = list(pool.map(lambda _: open_log(url, 4), range(8)))
    for number, each in enumerate(logs):
        [[_, offset]] = each.append([event("a", number, "u")]).result()
        assert offset == number
    for each in logs:
        each.close()


def test_appends_that_are_too_large_together_take_several_transactions(log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "BYTES", 2_000)
    futures = [log.append([event("a", 100 * m + n) for n in range(100)]) for m in range(50)]
    futures += [log.append([event("b", n) for n in range(20_000)]), log.append([]), log.append([event("c", 0)])]
    assert sum(len(future.result()) for future in futures) == 25_001
    assert len(stored(log)) == 25_001


# ── waking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def waken(log: PostgresLog, other: PostgresLog, ready: Callable[[], bool]) -> float:
    """Seconds from an append of another log object until a waiting consumer has it."""
    subscription = log.subscribe("g", alone=True)
    woken: list[float] = []

    def consume() -> None:
        assert subscription.poll(10, 10)
        woken.append(time.monotonic())

    thread = threading.Thread(target=consume)
    thread.start()
    until(ready)
    other.append([event("a", 1)]).result()
    done = time.monotonic()
    thread.join()
    return woken[0] - done


def test_appends_of_another_process_wake_a_waiting_consumer_at_once(
    log: PostgresLog, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_listener, "TRUST", 60.0)  # else it would look by itself
    other = open_log(url, 4)
    assert waken(log, other, lambda: log._listener._listening) < 0.2
    other.close()


def test_a_consumer_finds_out_also_when_nobody_can_be_listened_to(
    log: PostgresLog, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_listener, "CHANNEL", "no such; channel")
    other = open_log(url, 4)
    assert waken(log, other, lambda: log._listener._thread is not None) < 0.5
    other.close()


def test_a_listener_ends_when_nobody_waits_and_comes_back(log: PostgresLog, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_listener, "IDLE", 0.1)
    log.subscribe("g", alone=True).poll(1, 0.05)
    until(lambda: log._listener._thread is None)
    until(
        lambda: (
            ask(url, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()")
            == [(0,)]
        )
    )
    monkeypatch.undo()
    other = open_log(url, 4)
    assert waken(log, other, lambda: log._listener._listening) < 0.2
    other.close()


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_is_fetched_once_however_small_the_steps(log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append([event("a", n, "u") for n in range(1000)]).result()
    unpacked: list[int] = []
    real = batches.unpack

    def unpack(payload: bytes) -> list[AnyEvent | None]:
        unpacked.append(len(payload))
        return real(payload)

    monkeypatch.setattr(batches, "unpack", unpack)
    subscription = log.subscribe("g", alone=True)
    found: list[Record] = []
    while records := subscription.poll(10, 0):
        found += records
    assert [record.event.time for record in found] == list(range(1000))
    assert len(unpacked) == 1


def test_a_read_goes_on_where_everything_was_erased(log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "WINDOW", 10)
    gone, there = neighbours(2)
    log.append([event("a", n, gone) for n in range(95)] + [event("b", 0, there)] + [event("a", 99, gone)] * 50).result()
    log.erase(gone)
    assert [(record.offset, record.event.id) for record in log.read(1, 3, 5)] == [(95, "b:0")]
    assert log.read(1, 96, 5) == []


class Failing(PostgresLog):
    """A log of which every sixth read fails."""

    reads = itertools.count(1)

    def take(self, partition: int, start: int, limit: int, seen: Seen) -> tuple[list[Record], int]:
        if next(self.reads) % 6 == 0:
            raise Unavailable("this one fails")
        return super().take(partition, start, limit, seen)


def test_a_poll_that_fails_in_the_middle_has_moved_nothing(url: str) -> None:
    log = Failing(url, 4, Patience())
    log.prepare()
    log.append([event("a", n) for n in range(100)]).result()
    subscription = PollingSubscription(log, Alone(log, "g"))
    found: list[Record] = []
    failures = 0
    while len(found) < 100 and failures < 100:
        try:
            found += subscription.poll(40, 0)
            subscription.commit()
        except Unavailable:
            failures += 1
    assert failures
    assert sorted(record.event.time for record in found) == list(range(100))
    log.close()


# ── erasing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_erasures_in_the_same_batches_both_take_everything(log: PostgresLog, url: str) -> None:
    same = neighbours(4)
    for _ in range(30):
        log.append([event("a", n, user) for n, user in enumerate(same * 5)]).result()
    other = open_log(url, 4)
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda pair: pair[0].erase(pair[1]), [(log, same[0]), (other, same[1])]))
    assert counts == [150, 150]
    assert {record.event.user for record in log.read(1, 0, 10**6) if isinstance(record.event, Interaction)} == set(same[2:])
    other.close()


def test_what_another_process_erased_is_not_handed_out_from_a_batch_that_was_seen(log: PostgresLog, url: str) -> None:
    log.append([event("a", n, "u") for n in range(10)]).result()
    subscription = log.subscribe("g", alone=True)
    assert len(subscription.poll(3, 0)) == 3
    other = open_log(url, 4)
    assert other.erase("u") == 10
    assert subscription.poll(3, 0) == []
    other.close()


def test_erasures_leave_no_old_versions_behind(log: PostgresLog, url: str) -> None:
    users = neighbours(8)
    log.append([event("a", n, users[n % len(users)]) for n in range(4000)]).result()
    size = "SELECT pg_total_relation_size('tastemaker_log_batches')"
    [(before,)] = ask(url, size)
    for user in users:
        assert log.erase(user)
    [(after,)] = ask(url, size)
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after < 3 * before + 200_000


# ── servers that go away ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_killed_server_loses_no_acknowledged_event_and_is_back_by_itself(server: servers.PostgreSQL) -> None:
    log = open_log(f"{server.url}/template1", 4, QUICK)
    acknowledged: list[str] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def produce(name: str) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            try:
                log.append([event(name, number)]).result()
                acknowledged.append(f"{name}:{number}")
            except Unavailable as error:
                failures.append(error)
                time.sleep(0.02)

    threads = [threading.Thread(target=produce, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for _ in range(3):
        grow(acknowledged, 100)
        server.kill()
        grow(failures, 3)
        server.start()
        grow(acknowledged, 10)
    stop.set()
    for thread in threads:
        thread.join()
    found = stored(log)
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert "127.0.0.1" in str(failures[0])
    log.close()


def test_a_server_that_is_away_is_named_with_the_remedy_and_without_the_password() -> None:
    url = f"postgresql://tastemaker:hidden@127.0.0.1:{free_port()}/shop"
    with pytest.raises(Unavailable, match="see that PostgreSQL runs") as caught:
        open_log(url, 4, QUICK)
    assert "hidden" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"connect\.log"):
        open_log("postgresql://a b:c?nothing=1", 4)


def test_a_silent_network_fails_appends_and_reads_in_bounded_time_and_is_forgiven(server: servers.PostgreSQL) -> None:
    with Proxy(server.port) as network:
        log = open_log(f"postgresql://tastemaker:hidden@127.0.0.1:{network.port}/postgres", 4, QUICK)
        log.append([event("a", 0)]).result()
        network.silence()
        for work, most in ((lambda: log.append([event("a", 1)]).result(), 5.0), (log.ends, 6.0)):
            began = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                work()
            assert time.monotonic() - began < most
            assert "hidden" not in str(caught.value)
        network.mend()
        again(log)
        until(lambda: works(log.ends))
        assert {"a:0", "again:0"} <= set(stored(log))
        log.close()


def works(call: Callable[[], object]) -> bool:
    try:
        call()
    except Unavailable:
        return False
    return True


def test_a_log_can_be_inspected(log: PostgresLog) -> None:
    found = log.inspect()
    assert found.version.startswith("PostgreSQL ")
    assert abs((found.clock or 0) - time.time()) < 5
    assert found.problems == ()


def test_a_table_that_somebody_removed_is_named(log: PostgresLog, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE tastemaker_log_ends")
    with pytest.raises(StorageError, match="tastemaker_log_ends"):
        log.append([event("a", 1)]).result()
    with pytest.raises(StorageError, match="tastemaker_log_ends"):
        log.ends()
