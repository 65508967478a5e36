"""What every event log must do, whatever it is made of. A new adapter is one line in ``ADAPTERS``."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import servers
from tastemaker.domain import (
    AnyEvent,
    Decision,
    Erase,
    Exposure,
    Interaction,
    ItemChange,
    Record,
    Slot,
    View,
    encode_event,
    key_of,
)
from tastemaker.errors import ConfigError, InputError, StorageError
from tastemaker.storage import log as ports
from tastemaker.storage import resolve
from tastemaker.storage.log import EventLog, Packed, Subscription, lag_of, partition_of

ADAPTERS: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder}/deep/log.db",
    "postgresql": lambda _: servers.postgresql(),
    "kafka": lambda _: servers.kafka(),
}
PARTITIONS = 3


def open_at(url: str, partitions: int = PARTITIONS) -> EventLog:
    log: EventLog = resolve(url, ports.SCHEMES, "connect.log")(url, partitions)
    return log


@pytest.fixture(params=ADAPTERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ADAPTERS[request.param](tmp_path)


@pytest.fixture
def log(url: str) -> Iterator[EventLog]:
    opened = open_at(url)
    yield opened
    opened.close()


@pytest.fixture
def exact(url: str) -> bool:
    """Whether polls are as full and as fair as can be, and erasing takes no offsets. A broker sends what it has at hand."""
    return not url.startswith("kafka://")


def click(number: int, user: str = "u") -> Interaction:
    return Interaction(id=f"e{number}", time=number, user=user, item=f"i{number % 7}", kind="click")


def everything(log: EventLog) -> list[Record]:
    return [record for partition in range(log.partitions) for record in log.read(partition, 0, 10**6)]


def drain(log: EventLog, group: str, limit: int = 100, *, alone: bool = False) -> list[Record]:
    subscription = log.subscribe(group, alone=alone)
    found: list[Record] = []
    while records := subscription.poll(limit, 0):
        found += records
    subscription.close()
    return found


def polled(subscription: Subscription, count: int) -> list[Record]:
    """So many records, in as many polls as it takes."""
    found: list[Record] = []
    while len(found) < count:
        records = subscription.poll(count - len(found), 5)
        assert records, f"only {len(found)} of {count}"
        found += records
    return found


def test_positions_are_dense_and_lead_to_the_events(log: EventLog) -> None:
    events = [click(n, f"u{n % 11}") for n in range(100)]
    positions = log.append(events[:40]).result() + log.append(events[40:]).result()
    for event, (partition, offset) in zip(events, positions, strict=True):
        assert partition == partition_of(key_of(event), PARTITIONS)
        assert log.read(partition, offset, 1) == [Record(partition, offset, event)]
    for partition, end in enumerate(log.ends()):
        assert sorted(offset for place, offset in positions if place == partition) == list(range(end))


def test_packed_events_are_kept_as_if_they_were_appended_one_by_one(log: EventLog) -> None:
    events = [click(n, f"ü{n % 11}") for n in range(10_000)]
    first = log.append(events[:5]).result()
    positions = log.append_packed([Packed(key_of(event), encode_event(event)) for event in events[5:]]).result()
    assert [partition for partition, _ in positions] == [partition_of(event.user, PARTITIONS) for event in events[5:]]
    for event, (partition, offset) in list(zip(events, first + positions, strict=True))[::97]:
        assert log.read(partition, offset, 1) == [Record(partition, offset, event)]
    assert sorted(record.event.id for record in everything(log)) == sorted(event.id for event in events)
    assert log.append_packed([]).result() == []


def test_every_kind_of_event_comes_back_as_it_was(log: EventLog) -> None:
    events: list[AnyEvent] = [
        View(id="v", time=1, user="u", decision="d", item="i", visible_ms=5),
        Decision(id="d", time=1, user="u", arms={"a": "b"}, slots=(Slot("i", score=0.5), Slot("j", evidence=("k",)))),
        Exposure(id="x", time=1, experiment="e", unit="u", arm="a"),
        ItemChange(id="i", time=1, item="ü\N{SNOWMAN}", fields={"price": 2.5, "new": True, "none": None}),
        Erase(id="z", time=1, user="u"),
    ]
    log.append(events).result()
    assert sorted(map(repr, events)) == sorted(repr(record.event) for record in everything(log))


def test_an_empty_append_is_durable_at_once(log: EventLog) -> None:
    assert log.append([]).result(5) == []


def test_a_closed_log_keeps_what_was_appended_and_takes_no_more(url: str) -> None:
    log = open_at(url)
    futures = [log.append([click(n)]) for n in range(200)]
    log.close()
    log.close()
    assert all(future.done() for future in futures)
    with pytest.raises(StorageError, match="closed"):
        log.append([click(0)]).result(5)
    with pytest.raises(StorageError, match="closed"):
        log.read(0, 0, 1)
    again = open_at(url)
    assert [record.event.id for record in everything(again)] == [f"e{n}" for n in range(200)]
    again.close()


def test_another_number_of_partitions_is_refused_with_both_numbers(url: str) -> None:
    open_at(url).close()
    with pytest.raises(ConfigError, match=r"log\.partitions = 5.* 3"):
        open_at(url, 5)


@pytest.mark.parametrize(
    "bad",
    [
        Interaction(id="", time=1, user="u", item="i", kind="click"),
        Interaction(id="a", time=-1, user="u", item="i", kind="click"),
        Interaction(id="a", time=1, user="u", item="i", kind="click", value=math.nan),
        Interaction(id="a", time=1, user="\ud800", item="i", kind="click"),
        Decision(id="a", time=1, user="u", seed=2**63),
        "no event",
    ],
)
def test_an_event_that_could_not_be_read_again_fails_its_own_append_only(log: EventLog, bad: AnyEvent) -> None:
    futures = [log.append([click(1)]), log.append([click(2), bad, click(3)]), log.append([click(4)])]
    with pytest.raises(InputError, match=r"events\[1\]"):
        futures[1].result(5)
    assert futures[0].result(5)
    assert futures[2].result(5)
    assert [record.event.id for record in everything(log)] == ["e1", "e4"]


def test_threads_that_append_together_lose_nothing_and_keep_their_order(log: EventLog) -> None:
    def produce(name: str) -> None:
        for n in range(100):
            log.append([Interaction(id=f"{name}-{n}", time=n, user=name, item="i", kind="k")])

    threads = [threading.Thread(target=produce, args=(f"t{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.flush()
    found = [record.event.id for record in everything(log)]
    for n in range(6):
        assert [each for each in found if each.startswith(f"t{n}-")] == [f"t{n}-{m}" for m in range(100)]


def test_read_beyond_the_end_is_empty_and_an_unknown_partition_is_an_error(log: EventLog) -> None:
    log.append([click(1)]).result()
    assert log.read(0, 10**9, 5) == []
    with pytest.raises(InputError, match="partition"):
        log.read(PARTITIONS, 0, 1)


def test_a_group_goes_on_behind_its_last_commit(log: EventLog, exact: bool) -> None:
    log.append([click(n, f"u{n}") for n in range(50)]).result()
    first = log.subscribe("g")
    done = first.poll(20, 0)
    first.commit()
    first.poll(10, 0)  # not committed: comes again
    first.close()
    assert len(done) == 20 if exact else 1 <= len(done) <= 20
    assert lag_of(log.ends(), log.committed("g")) == 50 - len(done)
    rest = drain(log, "g")
    assert sorted(r.event.id for r in done + rest) == sorted(f"e{n}" for n in range(50))
    assert len(drain(log, "another")) == 50


def test_rewind_goes_back_to_the_last_commit_and_stays_in_the_group(log: EventLog) -> None:
    log.append([click(n, f"u{n}") for n in range(60)]).result()
    member = log.subscribe("g")
    first = polled(member, 20)
    member.commit()
    lost = polled(member, 15)
    member.rewind()
    again = polled(member, 40)
    assert sorted(r.event.id for r in first + again) == sorted(f"e{n}" for n in range(60))
    assert {r.event.id for r in lost} <= {r.event.id for r in again}
    member.rewind()
    member.rewind()
    assert sorted(r.event.id for r in polled(member, 40)) == sorted(r.event.id for r in again)
    member.commit()
    assert member.poll(10, 0) == []
    member.close()


def test_poll_is_fair_and_in_order_within_each_partition(log: EventLog, exact: bool) -> None:
    log.append([click(n, f"u{n}") for n in range(3000)]).result()
    subscription = log.subscribe("g")
    records = subscription.poll(90, 0)
    assert 1 <= len(records) <= 90
    if exact:
        assert [sum(r.partition == p for r in records) for p in range(PARTITIONS)] == [30, 30, 30]
    while more := subscription.poll(1 + len(records) % 7, 0):
        records += more
    for partition in range(PARTITIONS):
        offsets = [r.offset for r in records if r.partition == partition]
        assert offsets == list(range(log.ends()[partition]))
    assert subscription.lag() == 0


def test_a_waiting_consumer_wakes_when_an_event_arrives(log: EventLog) -> None:
    subscription = log.subscribe("g")
    woken: list[float] = []

    def consume() -> None:
        assert subscription.poll(10, 10)
        woken.append(time.monotonic())

    thread = threading.Thread(target=consume)
    thread.start()
    time.sleep(0.1)
    log.append([click(1)]).result()
    done = time.monotonic()
    thread.join()
    assert woken[0] - done < 0.04  # well under the 50 ms between two looks


def test_poll_waits_as_long_as_it_was_told_and_no_longer(log: EventLog) -> None:
    began = time.monotonic()
    assert log.subscribe("g").poll(10, 0.15) == []
    assert 0.14 < time.monotonic() - began < 1


def test_erase_leaves_gaps_and_everybody_else(log: EventLog, exact: bool) -> None:
    events: list[AnyEvent] = [click(n, f"u{n % 5}") for n in range(60)]
    events += [Exposure(id="x", time=1, experiment="e", unit="u1", arm="a"), Erase(id="z", time=2, user="u1")]
    log.append(events[:30]).result()
    log.append(events[30:]).result()
    ends, reader = log.ends(), log.subscribe("g")
    reader.poll(1, 0)
    assert log.erase("u1") == 13
    assert log.erase("u1") == 0
    assert log.ends() == ends or (not exact and all(after >= before for after, before in zip(log.ends(), ends, strict=True)))
    left = everything(log)
    assert {r.event.id for r in left} == {e.id for e in events if isinstance(e, Erase) or key_of(e) != "u1"}
    assert all(log.read(r.partition, r.offset, 1)[0] == r for r in left)
    assert not any(key_of(r.event) == "u1" for r in reader.poll(1000, 0) if not isinstance(r.event, Erase))
    assert reader.lag() == 0


def test_a_log_of_erased_events_alone_is_passed_by(log: EventLog) -> None:
    log.append([click(n) for n in range(10)]).result()
    log.erase("u")
    subscription = log.subscribe("g")
    assert subscription.poll(5, 0) == []
    subscription.commit()
    assert lag_of(log.ends(), log.committed("g")) == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    appends=st.lists(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=6), max_size=8),
    limit=st.integers(1, 7),
)
def test_any_appends_are_read_back_in_order(log: EventLog, appends: list[list[str]], limit: int) -> None:
    known = len(everything(log))  # of the examples before
    group = f"g{time.monotonic_ns()}"
    subscription = log.subscribe(group, alone=True)  # joining a group that others might be in takes brokers some time
    while subscription.poll(1000, 0):
        pass
    subscription.commit()
    subscription.close()
    users = [user for append in appends for user in append]
    numbers = iter(range(len(users)))
    for append in appends:
        log.append([click(next(numbers), user) for user in append])
    log.flush()
    found = drain(log, group, limit, alone=True)
    for user in set(users):
        assert [r.event.time for r in found if key_of(r.event) == user] == [n for n, each in enumerate(users) if each == user]
    assert len(everything(log)) == known + len(users)
