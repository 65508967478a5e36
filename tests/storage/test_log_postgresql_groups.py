"""Groups on PostgreSQL: members come, go, fall silent and wake up too late, and every record is done once by somebody."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

import servers
from tastemaker.domain import Interaction
from tastemaker.errors import Conflict, StorageError, Unavailable
from tastemaker.storage.log.leases import Terms
from tastemaker.storage.log.postgresql import PostgresLog, open_log
from tastemaker.storage.log.subscription import PollingSubscription

QUICK = Terms(lease=1.5, margin=0.3, beat=0.2, look=0.05, silent=0.6, settle=0.3)
# Reads some records, tells, sleeps until a line comes, and commits too late.
SLEEPER = """
import sys
from tastemaker.errors import Conflict
from tastemaker.storage.log.leases import Terms
from tastemaker.storage.log.postgresql import open_log

log = open_log(sys.argv[1], 4)
log.terms = Terms(lease=1.5, margin=0.3, beat=0.2, look=0.05, silent=0.6, settle=0.3)
subscription = log.subscribe("g")
records = subscription.poll(20, 5)
print(len(records), subscription.holds(), flush=True)
sys.stdin.readline()
print(subscription.holds(), flush=True)
try:
    subscription.commit()
except Conflict as error:
    print("Conflict", error, flush=True)
"""


@pytest.fixture
def url() -> str:
    return servers.postgresql()


@pytest.fixture
def log(url: str) -> Iterator[PostgresLog]:
    opened = open_log(url, 4)
    opened.terms = QUICK
    yield opened
    opened.close()


def fill(log: PostgresLog, count: int, first: int = 0) -> None:
    log.append([Interaction(id=f"e{n}", time=n, user=f"u{n}", item="i", kind="k") for n in range(first, first + count)]).result()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class Member(threading.Thread):
    """Polls in a thread. What it polled is in its hands until it commits, which it does seldom, or when it is asked to leave."""

    def __init__(self, log: PostgresLog) -> None:
        super().__init__(daemon=True)
        self.log = log
        self.hand: list[int] = []
        self.done: list[int] = []
        self.left: list[tuple[int, ...]] = []
        self.partitions: tuple[int, ...] = ()
        self.ending = threading.Event()
        self.failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            subscription = self.subscription = self.log.subscribe("g", leaving=self.leaving)
            turn = 0
            while not self.ending.is_set():
                records = subscription.poll(7, 0.02)  # which may call ``leaving``
                self.hand += [record.event.time for record in records]
                self.partitions = subscription.partitions
                turn += 1
                if turn % 10 == 0:
                    self.commit()
            self.commit()
            subscription.close()
        except BaseException as error:
            self.failure = error

    def commit(self) -> None:
        self.subscription.commit()
        self.done += self.hand
        self.hand = []

    def leaving(self, partitions: Sequence[int]) -> None:
        self.left.append(tuple(partitions))
        self.commit()

    def end(self) -> None:
        self.ending.set()
        self.join()
        assert self.failure is None, self.failure


def sizes(*members: Member) -> list[int]:
    return sorted(len(member.partitions) for member in members)


def shared(*members: Member) -> bool:
    """Whether every partition has exactly one reader, and nobody has two more than another."""
    assert [member.failure for member in members if member.failure] == []
    held = sorted(partition for member in members for partition in member.partitions)
    return held == [0, 1, 2, 3] and sizes(*members)[-1] - sizes(*members)[0] <= 1


def read_all(subscription: PollingSubscription, seconds: float = 0.0) -> list[int]:
    found = []
    while records := subscription.poll(100, seconds):
        found += [record.event.time for record in records]
    return found


def sleeper(url: str) -> subprocess.Popen[str]:
    """A process that holds all partitions and has read 20 records."""
    command = [sys.executable, "-c", SLEEPER, url]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "20 True\n"
    return child


def take_over(subscription: PollingSubscription) -> list[int]:
    """Polls until it has all partitions, and everything in them."""
    found: list[int] = []
    end = time.monotonic() + 20
    while subscription.partitions != (0, 1, 2, 3) or subscription.lag():
        assert time.monotonic() < end, "waited in vain"
        found += [record.event.time for record in subscription.poll(100, 0.02)]
    return found


def test_members_come_and_go_in_peace_and_every_record_is_done_once(log: PostgresLog) -> None:
    fill(log, 300)
    first = Member(log)
    until(lambda: first.partitions == (0, 1, 2, 3))
    fill(log, 300, 300)
    second = Member(log)
    until(lambda: shared(first, second))
    fill(log, 300, 600)
    third = Member(log)
    until(lambda: shared(first, second, third))
    assert sizes(first, second, third) == [1, 1, 2]
    fill(log, 300, 900)
    assert sum(map(len, first.left + second.left)) == 3  # two for the second member, one for the third, and none in vain
    second.end()
    until(lambda: shared(first, third))
    fill(log, 300, 1200)
    members = (first, second, third)
    until(lambda: sum(len(member.done) for member in members) >= 1500)
    for member in (first, third):
        member.end()
    assert sorted(number for member in members for number in member.done) == list(range(1500))
    assert log.committed("g") == log.ends()


def test_members_on_logs_of_their_own_share_as_well_and_the_surplus_ones_have_none(url: str, log: PostgresLog) -> None:
    logs = [open_log(url, 4) for _ in range(5)]
    for each in logs:
        each.terms = QUICK
    members = [Member(each) for each in logs]
    until(lambda: sizes(*members) == [0, 1, 1, 1, 1] and shared(*members))
    fill(log, 100)
    until(lambda: sum(len(member.done) for member in members) == 100)
    for member in members:
        member.end()
    for each in logs:
        each.close()


def test_a_surplus_member_joins_at_once_and_waits_as_long_as_it_was_told(log: PostgresLog) -> None:
    members = [Member(log) for _ in range(4)]
    until(lambda: shared(*members))
    began = time.monotonic()
    surplus = log.subscribe("g")
    assert time.monotonic() - began < 0.5
    assert surplus.partitions == ()
    assert surplus.lag() == 0
    fill(log, 50)
    began = time.monotonic()
    assert surplus.poll(10, 0.2) == []
    assert 0.19 < time.monotonic() - began < 1
    surplus.close()
    for member in members:
        member.end()


def test_a_member_that_leaves_hands_over_at_once(log: PostgresLog) -> None:
    log.terms = Terms()  # whose leases last for seconds
    fill(log, 100)
    first = log.subscribe("g")
    assert len(first.poll(30, 0)) == 30
    first.commit()
    first.poll(30, 0)  # not committed: comes again
    first.close()
    began = time.monotonic()
    second = log.subscribe("g")
    assert time.monotonic() - began < 0.5
    assert second.partitions == (0, 1, 2, 3)
    assert len(read_all(second)) == 70
    second.close()
    with pytest.raises(StorageError, match="closed"):
        second.poll(1, 0)


def test_whoever_was_silent_for_too_long_knows_it_and_moves_nothing(log: PostgresLog) -> None:
    fill(log, 200)
    silent = log.subscribe("g")
    assert len(silent.poll(40, 0)) == 40
    silent.commit()
    before = log.committed("g")
    assert len(silent.poll(40, 0)) == 40
    assert silent.holds()
    other = log.subscribe("g")
    rest = take_over(other)
    assert not silent.holds()
    with pytest.raises(Conflict, match="comes again"):
        silent.commit()
    assert log.committed("g") == before
    assert len(rest) == 160
    other.commit()
    assert log.committed("g") == log.ends()
    with pytest.raises(Conflict):
        silent.commit()
    assert silent.poll(10, 5) == []  # returns at once: its loss must be seen
    assert silent.partitions == ()
    silent.commit()  # nothing is left to commit
    other.close()
    until(lambda: len(silent.poll(10, 0)) == 0 and silent.partitions == (0, 1, 2, 3))
    assert silent.holds()
    assert silent.lag() == 0
    silent.close()


def test_a_silent_member_keeps_what_nobody_else_wants(log: PostgresLog) -> None:
    fill(log, 50)
    alone = log.subscribe("g")
    assert len(alone.poll(50, 0)) == 50
    until(lambda: not alone.holds())
    time.sleep(QUICK.margin + 0.1)  # also the server's term is over now
    alone.commit()
    assert log.committed("g") == log.ends()
    assert alone.poll(10, 0) == []
    assert alone.holds()
    alone.close()


def test_a_process_that_was_stopped_loses_its_leases_and_is_refused_when_it_goes_on(log: PostgresLog, url: str) -> None:
    fill(log, 100)
    child = sleeper(url)
    try:
        child.send_signal(signal.SIGSTOP)
        member = log.subscribe("g")
        assert sorted(take_over(member)) == list(range(100))
        child.send_signal(signal.SIGCONT)
        out, _ = child.communicate("go on\n", timeout=20)
    finally:
        child.kill()
    assert out.splitlines()[0] == "False"
    assert out.splitlines()[1].startswith("Conflict group g")
    assert log.committed("g") == [0, 0, 0, 0]
    member.commit()
    assert log.committed("g") == log.ends()
    member.close()


def test_a_killed_member_is_waited_for_and_replaced(log: PostgresLog, url: str) -> None:
    fill(log, 100)
    child = sleeper(url)
    time.sleep(QUICK.silent + 0.1)  # as long as starting again takes at least
    child.kill()
    child.communicate()
    member = log.subscribe("g")
    assert member.partitions == (0, 1, 2, 3)
    assert sorted(read_all(member)) == list(range(100))
    member.close()


def test_silence_while_leaving_loses_nothing_that_another_did_not_get(log: PostgresLog) -> None:
    fill(log, 100)

    def slowly(_: Sequence[int]) -> None:
        until(lambda: second.partitions == (0, 1, 2, 3))
        first.commit()

    first = log.subscribe("g", leaving=slowly)
    assert len(first.poll(100, 0)) == 100
    second = Member(log)
    caught: list[BaseException] = []
    end = time.monotonic() + 15
    while not caught and time.monotonic() < end:
        try:
            first.poll(10, 0.05)
        except Conflict as error:
            caught.append(error)
    assert caught
    first.close()
    until(lambda: len(second.done) == 100)
    second.end()


def test_alone_reads_all_and_minds_nobody(log: PostgresLog) -> None:
    fill(log, 100)
    member = log.subscribe("g")
    alone = log.subscribe("g", alone=True)
    assert alone.partitions == member.partitions == (0, 1, 2, 3)
    assert len(read_all(alone)) == len(read_all(member)) == 100
    alone.commit()
    assert alone.holds()
    assert log.committed("g") == log.ends()
    member.close()


def test_a_failed_hand_over_is_tried_again(log: PostgresLog) -> None:
    failures = [Unavailable("the store is away")]

    def failing(_: Sequence[int]) -> None:
        if failures:
            raise failures.pop()
        first.commit()

    fill(log, 100)
    first = log.subscribe("g", leaving=failing)
    assert len(first.poll(100, 0)) == 100
    second = Member(log)
    with pytest.raises(Unavailable, match="the store is away"):
        until(lambda: first.poll(1, 0) != [])
    assert first.partitions == (0, 1, 2, 3)
    until(lambda: first.poll(1, 0) == [] and len(first.partitions) == len(second.partitions) == 2)
    second.end()
    first.close()
    assert log.committed("g") == log.ends()
    assert second.done == []


def test_members_survive_a_server_that_restarts() -> None:
    with servers.PostgreSQL() as server:
        log = open_log(f"{server.url}/postgres", 4)
        log.terms = Terms(lease=3.0, margin=0.5, beat=0.2, look=0.05, silent=1.0, settle=0.3)
        fill(log, 200)
        member = log.subscribe("g")
        found = [record.event.time for record in member.poll(50, 0)]
        member.commit()
        server.kill()
        with pytest.raises(Unavailable):
            until(lambda: member.poll(50, 0) == [])
        server.start()
        end = time.monotonic() + 20
        while len(found) < 200 and time.monotonic() < end:
            try:
                found += [record.event.time for record in member.poll(50, 0.1)]
            except Unavailable:
                time.sleep(0.05)
        assert sorted(found) == list(range(200))
        until(member.holds)
        member.commit()
        assert log.committed("g") == log.ends()
        member.close()
        log.close()
        server.kill()  # it would wait for connections that were given up
