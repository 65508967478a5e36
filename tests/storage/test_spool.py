"""The spool before a log on a server: what is acknowledged arrives, in order, whoever dies in between."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

import forked
import servers
from processes import up, wait_for
from tastemaker.config import Config, Connect, Log, Patience
from tastemaker.domain import AnyEvent, Interaction
from tastemaker.errors import ConfigError, InputError, StorageError, Unavailable
from tastemaker.storage import connect
from tastemaker.storage.log import EventLog, Packed, Position, kafka, sqlite
from tastemaker.storage.log.spool import NOWHERE, Spooled
from tastemaker.storage.log.spool_file import Spool
from tastemaker.storage.log.sqlite import SqliteLog

PARTITIONS = 3
QUICK = Patience(connect_ms=300, timeout_ms=200, pause_ms=100)


def click(number: int, user: str = "") -> Interaction:
    return Interaction(id=f"e{number}", time=number, user=user or f"u{number % 5}", item="i", kind="click")


class Server(SqliteLog):
    """A log in a file that can be away, slow, or cut off after it took the events."""

    away = mute = False
    never = "-"  # the id of an event that it will never take
    held: list[Callable[[], object]] | None = None

    def append(self, events: Sequence[AnyEvent], *, checked: bool = False) -> Future[list[Position]]:  # noqa: ARG002 - the port's
        future: Future[list[Position]] = Future()
        if any(isinstance(event, Interaction) and event.id == self.never for event in events):
            future.set_exception(InputError("events", self.never, "too large"))
        elif self.held is not None:
            self.held.append(lambda: self.answer(events, future))
        else:
            self.answer(events, future)
        return future

    def answer(self, events: Sequence[AnyEvent], future: Future[list[Position]]) -> None:
        try:
            positions = [] if self.away else super().append(events).result()
        except InputError as error:
            future.set_exception(error)
            return
        if self.away or self.mute:
            future.set_exception(Unavailable("the server does not answer"))
        else:
            future.set_result(positions)

    def append_packed(self, events: Sequence[Packed]) -> Future[list[Position]]:
        if self.away:
            future: Future[list[Position]] = Future()
            future.set_exception(Unavailable("the server does not answer"))
            return future
        return super().append_packed(events)


class Pair:
    """A spooled log, and the server behind it, whose file others may open as well."""

    def __init__(self, folder: Path, megabytes: float = 64.0) -> None:
        self.server = Server(folder / "server.db", PARTITIONS)
        self.server.prepare()
        self.log = spooled(folder, lambda: self.server, megabytes)


def spooled(folder: Path, opener: Callable[[], EventLog], megabytes: float = 64.0) -> Spooled:
    patience = Patience(connect_ms=300, timeout_ms=200, spool_mb=megabytes)
    return Spooled(opener, "test://server", PARTITIONS, folder / "spool", patience)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    both = Pair(tmp_path)
    yield both
    both.log.close()


def found(folder: Path) -> list[str]:
    """The ids in the server's file, partition by partition, each once: as its consumers know them."""
    log = sqlite.open_log(f"sqlite:///{folder / 'server.db'}", PARTITIONS)
    ids = [record.event.id for partition in range(PARTITIONS) for record in log.read(partition, 0, 10**6)]
    log.close()
    return list(dict.fromkeys(ids))


def in_order(ids: Sequence[str], numbers: Sequence[int]) -> None:
    """Everything arrived, and each user's events in order."""
    assert sorted(ids) == sorted(f"e{number}" for number in numbers)
    for rest in range(5):
        own = [int(each[1:]) for each in ids if int(each[1:]) % 5 == rest]
        assert own == sorted(own)


def drained(folder: Path) -> bool:
    spool = Spool(folder / "spool", 1)
    try:
        return not spool.waits()
    finally:
        spool.close()


# ── one process ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_while_the_server_is_there_events_go_to_it(pair: Pair, tmp_path: Path) -> None:
    positions = pair.log.append([click(n) for n in range(10)]).result(5)
    assert NOWHERE not in positions
    assert pair.log.read(*positions[3], 1)[0].event == click(3)
    assert pair.log.ends() == pair.server.ends()
    assert drained(tmp_path)


def test_events_are_acknowledged_while_the_server_is_away_and_follow_in_order(pair: Pair, tmp_path: Path) -> None:
    pair.log.append([click(n) for n in range(10)]).result(5)
    pair.server.away = True
    for n in range(10, 60):
        assert pair.log.append([click(n)]).result(5) == [NOWHERE]
    assert pair.log.append_packed([]).result(5) == []
    assert sum(pair.server.ends()) == 10
    pair.server.away = False
    for n in range(60, 100):
        pair.log.append([click(n)]).result(5)
    wait_for(lambda: drained(tmp_path))
    assert NOWHERE not in pair.log.append([click(100)]).result(5)
    in_order(found(tmp_path), range(101))


def test_nobody_waits_for_answers_and_the_order_stays(pair: Pair, tmp_path: Path) -> None:
    futures = []
    for n in range(600):
        pair.server.away = n // 100 % 2 == 1
        futures.append(pair.log.append([click(n)], checked=True))
    pair.server.away = False
    pair.log.flush()
    assert all(future.done() for future in futures)
    wait_for(lambda: drained(tmp_path))
    in_order(found(tmp_path), range(600))


def test_what_was_refused_waits_for_what_was_asked_before(pair: Pair, tmp_path: Path) -> None:
    pair.server.held = []
    first, second = pair.log.append([click(0)]), pair.log.append([click(5)])
    pair.server.away = True
    held = pair.server.held
    held[1]()
    assert not second.done()  # the first is still under way, and belongs before it
    third = pair.log.append([click(10)])
    pair.server.held = None
    held[0]()
    assert [future.result(5) for future in (first, second, third)] == [[NOWHERE]] * 3
    pair.server.away = False
    wait_for(lambda: drained(tmp_path))
    assert found(tmp_path) == ["e0", "e5", "e10"]


def test_events_of_which_the_server_did_not_say_whether_it_has_them_come_twice(pair: Pair, tmp_path: Path) -> None:
    pair.server.mute = True
    assert pair.log.append([click(0)]).result(5) == [NOWHERE]
    pair.server.mute = False
    wait_for(lambda: drained(tmp_path))
    assert sum(pair.server.ends()) >= 2
    assert found(tmp_path) == ["e0"]


def test_an_event_that_cannot_be_read_again_fails_and_waits_nowhere(pair: Pair) -> None:
    bad = Interaction(id="", time=1, user="u", item="i", kind="click")
    with pytest.raises(InputError, match=r"events\[0\]"):
        pair.log.append([bad]).result(5)
    pair.server.away = True
    with pytest.raises(InputError, match=r"events\[0\]"):
        pair.log.append([bad]).result(5)


def test_an_event_that_the_server_will_never_take_is_put_aside_and_the_others_arrive(pair: Pair, tmp_path: Path) -> None:
    pair.server.away = True
    pair.log.append([click(0), click(5), click(10)], checked=True).result(5)
    pair.server.never, pair.server.away = "e5", False
    wait_for(lambda: drained(tmp_path))
    assert found(tmp_path) == ["e0", "e10"]
    assert '"time":5' in (tmp_path / "spool" / "refused.jsonl").read_text()


def test_a_full_spool_refuses_and_says_why(tmp_path: Path) -> None:
    pair = Pair(tmp_path, megabytes=0.3)
    pair.server.away = True
    taken = 0
    while (
        pair.log.append([Interaction(id=f"e{taken}", time=1, user="u", item=os.urandom(50).hex(), kind="k")]).exception(5) is None
    ):
        taken += 1
    assert 100 < taken < 10_000
    with pytest.raises(Unavailable, match=r"spool .* is full \(patience\.spool_mb = 0\.3\)"):
        pair.log.append([click(5)]).result(5)
    pair.server.away = False
    wait_for(lambda: drained(tmp_path))
    assert NOWHERE not in pair.log.append([click(99_999)]).result(5)  # and takes again
    pair.log.close()
    assert len(found(tmp_path)) == taken + 1


def test_erasing_reaches_what_waits(pair: Pair, tmp_path: Path) -> None:
    pair.log.append([click(n) for n in range(10)]).result(5)
    pair.server.away = True
    pair.log.append([click(n) for n in range(10, 20)]).result(5)
    assert pair.log.erase("u1") == 4
    pair.server.away = False
    wait_for(lambda: drained(tmp_path))
    assert {int(each[1:]) % 5 for each in found(tmp_path)} == {0, 2, 3, 4}


def test_a_log_that_is_away_is_opened_later(tmp_path: Path) -> None:
    there = threading.Event()

    def opener() -> EventLog:
        if not there.is_set():
            raise Unavailable("nobody at home")
        return sqlite.open_log(f"sqlite:///{tmp_path}/server.db", PARTITIONS)

    log = spooled(tmp_path, opener)
    assert log.append([click(0)]).result(5) == [NOWHERE]
    for use in (log.ends, lambda: log.subscribe("g"), lambda: log.erase("u"), lambda: log.read(0, 0, 1)):
        with pytest.raises(Unavailable, match="nobody at home"):
            use()
    there.set()
    wait_for(lambda: drained(tmp_path))
    assert sum(log.ends()) == 1
    log.close()


def test_a_log_that_takes_long_to_open_holds_nobody_up(tmp_path: Path) -> None:
    go = threading.Event()

    def opener() -> EventLog:
        go.wait(20)
        return sqlite.open_log(f"sqlite:///{tmp_path}/server.db", PARTITIONS)

    began = time.monotonic()
    log = spooled(tmp_path, opener)
    assert log.append([click(0)]).result(5) == [NOWHERE]
    assert time.monotonic() - began < 3
    go.set()
    wait_for(lambda: drained(tmp_path))
    log.close()


def test_a_log_that_cannot_be_opened_at_all_is_an_error(tmp_path: Path) -> None:
    sqlite.open_log(f"sqlite:///{tmp_path}/server.db", PARTITIONS + 1).close()
    with pytest.raises(ConfigError, match=r"log\.partitions = 3"):
        spooled(tmp_path, lambda: sqlite.open_log(f"sqlite:///{tmp_path}/server.db", PARTITIONS))


def test_a_closed_log_takes_no_more(pair: Pair) -> None:
    pair.log.close()
    pair.log.close()
    with pytest.raises(StorageError, match="closed"):
        pair.log.append([click(0)]).result(5)


def test_what_was_handed_over_leaves_the_disk_and_offsets_go_on(tmp_path: Path) -> None:
    log = sqlite.open_log(f"sqlite:///{tmp_path}/log.db", 2)
    for n in range(6):
        log.append([Interaction(id=f"{n}{m}", time=1, user="secret-user", item="i", kind="k") for m in range(10)]).result()
    [partition] = [partition for partition, end in enumerate(log.ends()) if end]
    log.forget({partition: 35})
    assert log.starts()[partition] == 30
    assert [record.offset for record in log.read(partition, 0, 100)] == list(range(30, 60))
    log.forget({partition: 60})
    assert log.read(partition, 0, 100) == []
    assert log.ends()[partition] == 60
    assert log.append([Interaction(id="x", time=1, user="secret-user", item="i", kind="k")]).result() == [(partition, 60)]
    log.forget({partition: 61})
    log.close()
    again = sqlite.open_log(f"sqlite:///{tmp_path}/log.db", 2)
    assert again.ends()[partition] == 61
    again.close()
    assert b"secret-user" not in b"".join(path.read_bytes() for path in tmp_path.glob("log.db*"))


# ── several processes, and their deaths ─────────────────────────────────────────────────────────────────────────────────


def produce(folder: str, url: str, name: str, count: int) -> None:
    """In a process of its own: appends one event after the other, and writes down each that was acknowledged."""
    log = connect(configuration(Path(folder), url)).log
    with (Path(folder) / f"{name}.acknowledged").open("w") as said:
        for n in range(count):
            log.append([Interaction(id=f"{name}-{n:05}", time=n, user=name, item="i", kind="click")], checked=True).result(30)
            print(n, file=said, flush=True)


def configuration(folder: Path, url: str) -> Config:
    return Config(connect=Connect(home=str(folder), log=url), log=Log(partitions=PARTITIONS), patience=QUICK)


def acknowledged(folder: Path, name: str) -> int:
    path = folder / f"{name}.acknowledged"
    return len(path.read_text().splitlines()) if path.exists() else 0


def arrived(url: str, name: str) -> list[str]:
    log = kafka.open_log(url, PARTITIONS)
    try:
        ids = [record.event.id for partition in range(PARTITIONS) for record in log.read(partition, 0, 10**6)]
    finally:
        log.close()
    return list(dict.fromkeys(each for each in ids if each.startswith(name)))


def test_processes_that_share_a_spool_lose_nothing_when_the_broker_goes_and_one_is_killed(tmp_path: Path) -> None:
    with servers.Kafka() as broker:
        url = f"kafka://{broker.url}/{servers.unique()}"
        kafka.open_log(url, PARTITIONS).close()
        first, second = (forked.start(produce, str(tmp_path), url, name, 3000) for name in ("a", "b"))
        wait_for(lambda: min(acknowledged(tmp_path, "a"), acknowledged(tmp_path, "b")) > 50)
        broker.pause()
        before = acknowledged(tmp_path, "a")
        wait_for(lambda: acknowledged(tmp_path, "a") > before + 50)  # from the spool now
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        broker.resume()
        assert forked.code_of(first) == -signal.SIGKILL
        assert forked.code_of(second) == 0
        wait_for(lambda: drained_by_somebody(tmp_path, url))
        for name in ("a", "b"):
            ids, count = arrived(url, name), acknowledged(tmp_path, name)
            assert ids[:count] == [f"{name}-{n:05}" for n in range(count)]  # a killed process may have had one more under way


def drained_by_somebody(folder: Path, url: str) -> bool:
    with connect(configuration(folder, url)) as storage:
        storage.log.ends()
        wait_for(lambda: drained(folder))
    return True


def drain_until_killed(folder: str, url: str) -> None:
    log = connect(configuration(Path(folder), url)).log
    time.sleep(60)
    log.close()


def test_a_process_that_is_killed_while_it_hands_over_loses_nothing(tmp_path: Path) -> None:
    url = servers.kafka()
    spool = Spool(tmp_path / "spool", 64)
    spool.log.append([click(n) for n in range(20_000)], checked=True).result()
    spool.close()
    for _ in range(3):
        waiting = left(tmp_path)
        process = forked.start(drain_until_killed, str(tmp_path), url)
        wait_for(partial(is_less, tmp_path, waiting))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        forked.code_of(process)
    assert 0 < left(tmp_path) < 20_000
    drained_by_somebody(tmp_path, url)
    in_order(arrived(url, "e"), range(20_000))


def is_less(folder: Path, waiting: int) -> bool:
    return left(folder) < waiting


def left(folder: Path) -> int:
    spool = Spool(folder / "spool", 1)
    try:
        return spool.count()
    finally:
        spool.close()


def test_without_room_there_is_no_spool(tmp_path: Path) -> None:
    patience = Patience(spool_mb=0)
    config = Config(connect=Connect(home=str(tmp_path), log=servers.kafka()), log=Log(partitions=PARTITIONS), patience=patience)
    with connect(config) as storage:
        assert isinstance(storage.log, kafka.KafkaLog)
    assert not (tmp_path / "spool").exists()


def test_a_server_starts_and_takes_events_while_the_log_is_away(tmp_path: Path) -> None:
    with servers.Kafka() as broker:
        broker.pause()
        url = f"kafka://{broker.url}/{servers.unique()}"
        variables = {"TASTEMAKER_CONNECT__LOG": url, "TASTEMAKER_LOG__PARTITIONS": str(PARTITIONS)}
        with up(tmp_path / "home", process="serve", more=variables) as server:
            event = {"type": "interaction", "id": "e1", "user": "u1", "item": "i", "kind": "click"}
            assert server.call("/v1/events", event)["accepted"] == 1
            broker.resume()
            wait_for(lambda: drained(tmp_path / "home"))
        assert arrived(url, "e") == ["e1"]
