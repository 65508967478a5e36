"""The event log on Kafka: what the contract cannot say. Brokers come and go, members die, secrets stay secret."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

import forked
import servers
from processes import wait_for
from tastemaker.config import Config, Connect, Log, Patience, hide
from tastemaker.domain import Erase, Interaction, Record
from tastemaker.errors import ConfigError, Conflict, InputError, StorageError, Unavailable
from tastemaker.storage import connect
from tastemaker.storage.log import lag_of, partition_of
from tastemaker.storage.log.kafka import KafkaLog, open_log
from tastemaker.storage.log.kafka_messages import keys_of, owner_of
from tastemaker.storage.log.kafka_subscription import KafkaSubscription
from tastemaker.storage.log.kafka_topic import problems
from tastemaker.storage.log.kafka_url import parse
from tastemaker.streaming.worker import Worker

PARTITIONS = 3
QUICK = Patience(timeout_ms=600, connect_ms=600, tries=1, pause_ms=100)


def click(number: int, user: str = "") -> Interaction:
    return Interaction(id=f"e{number}", time=number, user=user or f"u{number % 11}", item="i", kind="click")


def everything(log: KafkaLog) -> list[Record]:
    return [record for partition in range(PARTITIONS) for record in log.read(partition, 0, 10**6)]


def gather(subscription: KafkaSubscription, enough: Callable[[list[Record]], bool]) -> list[Record]:
    """Polls until it is enough."""
    records: list[Record] = []

    def more() -> bool:
        records.extend(subscription.poll(1000, 0.05))
        return enough(records)

    wait_for(more)
    return records


@pytest.fixture
def log() -> Iterator[KafkaLog]:
    opened = open_log(servers.kafka(), PARTITIONS, QUICK)
    yield opened
    opened.close()


# ── the URL ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://", "names no brokers"),
        ("kafka:///topic", "names no brokers"),
        ("kafka://host/topic", "names no brokers"),
        ("kafka://host:1,/topic", "names no brokers"),
        ("kafka://host:9092", "is no topic"),
        ("kafka://host:9092/a/b", "is no topic"),
        ("kafka://host:9092/" + "x" * 240, "is no topic"),
        ("kafka://host:9092/t?acks=1", "acks is not yours to choose"),
        ("kafka://host:9092/t?group.id=1", "group.id is not yours to choose"),
        ("kafka://host:9092/t?linger", "'linger' has no value"),
        ("kafka://host:9092/t?no.such=1", 'No such configuration property: "no.such": mend the setting'),
        ("kafka://host:9092/t?security.protocol=tls", "security.protocol"),
    ],
)
def test_a_wrong_url_is_an_error_that_names_what_is_wrong(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"^connect\.log") as caught:
        open_log(url, PARTITIONS, QUICK)
    assert said in str(caught.value)


def test_a_url_has_brokers_a_topic_and_settings_whose_secrets_are_never_shown() -> None:
    url = "kafka://me:hu%2Fsh+1@one:9092,[::1]:9093/events?security.protocol=SASL_SSL&ssl.key.password=quiet"
    place = parse(url)
    assert (place.brokers, place.topic) == ("one:9092,[::1]:9093", "events")
    assert place.settings["sasl.password"] == "hu/sh+1"
    assert place.clean("wrong: hu/sh+1 and quiet") == "wrong: *** and ***"
    for shown in (repr(place), place.name, hide(url)):
        assert "hu" not in shown
        assert "quiet" not in shown


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_a_message_about_a_failed_login_has_no_password(protocol: str) -> None:
    settings = f"?security.protocol={protocol}&sasl.mechanism=SCRAM-SHA-256&ssl.endpoint.identification.algorithm=none"
    url = servers.kafka().replace("kafka://", "kafka://user:topsecret@") + settings
    with pytest.raises(StorageError) as caught:
        open_log(url, PARTITIONS, QUICK)
    assert "topsecret" not in repr(caught.value) + repr(caught.value.__cause__)
    assert "kafka://127.0.0.1" in str(caught.value)


@given(st.lists(st.text(max_size=8), max_size=5))
def test_a_message_has_a_key_of_its_own_that_says_whose_it_is(owners: list[str]) -> None:
    keys = keys_of(owners)
    assert len(set(keys)) == len(owners)
    assert [owner_of(key).decode() for key in keys] == owners


# ── several processes ───────────────────────────────────────────────────────────────────────────────────────────────────


def append_many(url: str, name: str) -> None:
    log = open_log(url, PARTITIONS)
    for start in range(0, 2000, 20):
        log.append([Interaction(id=f"{name}{n}", time=n, user=name, item="i", kind="k") for n in range(start, start + 20)])
    log.close()


def test_processes_append_together_and_nothing_is_lost_or_out_of_order(log: KafkaLog) -> None:
    url = log._clients.place.name
    processes = [forked.start(append_many, url, name) for name in ("a", "b")]
    assert [forked.code_of(process) for process in processes] == [0, 0]
    records = everything(log)
    for name in ("a", "b"):
        assert [r.event.id for r in records if r.event.id.startswith(name)] == [f"{name}{n}" for n in range(2000)]


def test_members_of_a_group_share_the_partitions_and_hand_them_over(log: KafkaLog) -> None:
    handed: list[Sequence[int]] = []

    log.append([click(n) for n in range(300)]).result()
    first = log.subscribe("g", leaving=lambda partitions: handed.append(tuple(partitions)))
    assert first.partitions == (0, 1, 2)
    gather(first, lambda records: len(records) == 300)
    assert first.lag() == 0
    first.commit()
    second = open_log(log._clients.place.name, PARTITIONS, QUICK)
    with ThreadPoolExecutor(1) as thread:  # joining waits for a poll of the first one
        joining = thread.submit(second.subscribe, "g")
        gather(first, lambda _: joining.done())
        other = joining.result()
    assert handed[0] == (0, 1, 2)
    wait_for(lambda: not other.poll(1, 0) and not first.poll(1, 0) and sorted(first.partitions + other.partitions) == [0, 1, 2])
    assert lag_of(log.ends(), log.committed("g")) == 0
    log.append([click(n) for n in range(300, 600)]).result()
    mine = sum(map(log.ends().__getitem__, first.partitions)) - sum(map(log.committed("g").__getitem__, first.partitions))
    new = gather(first, lambda records: len(records) >= mine)
    new += gather(other, lambda records: len(new) + len(records) >= 300)
    assert sorted(r.event.time for r in new) == list(range(300, 600))
    other.close()
    second.close()
    gather(first, lambda _: first.partitions == (0, 1, 2))


def consume(url: str, folder: str) -> None:
    """Polls, writes down what came, and commits, until it is killed."""
    log = open_log(url, PARTITIONS)
    subscription = log.subscribe("g")
    with (Path(folder) / "seen").open("a") as seen:
        while True:
            for record in subscription.poll(7, 0.1):
                print(record.event.id, file=seen, flush=True)
            subscription.commit()


@pytest.mark.slow
def test_the_partitions_of_a_member_that_is_killed_move_and_nothing_is_lost(tmp_path: Path) -> None:
    with servers.Tansu() as broker:
        url = f"kafka://{broker.url}/{servers.unique()}?session.timeout.ms=6000"
        log = open_log(url, PARTITIONS)
        log.append([click(n) for n in range(500)]).result()
        process = forked.start(consume, url, str(tmp_path))
        wait_for(lambda: (tmp_path / "seen").exists() and len((tmp_path / "seen").read_text().split()) > 50)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        forked.code_of(process)
        before = set((tmp_path / "seen").read_text().split())
        log.append([click(n) for n in range(500, 600)]).result()
        member = log.subscribe("g")
        found = gather(member, lambda records: before | {r.event.id for r in records} == {f"e{n}" for n in range(600)})
        assert member.partitions == (0, 1, 2)
        assert member.holds()
        member.commit()
        for partition in range(PARTITIONS):
            offsets = [record.offset for record in found if record.partition == partition]
            assert offsets == sorted(set(offsets))
        log.close()


@pytest.mark.slow
def test_a_member_that_is_asked_before_its_partitions_move_can_still_commit() -> None:
    with servers.Tansu() as broker:
        log = open_log(f"kafka://{broker.url}/{servers.unique()}?session.timeout.ms=6000", PARTITIONS)
        log.append([click(n) for n in range(300)]).result()
        first = log.subscribe("g", leaving=lambda _: first.commit())
        done = gather(first, lambda records: len(records) == 300)
        assert log.committed("g") == [0, 0, 0]
        with ThreadPoolExecutor(1) as thread:
            joining = thread.submit(log.subscribe, "g")
            gather(first, lambda _: joining.done())
        assert sum(log.committed("g")) == len(done)
        assert joining.result().poll(10, 0.5) == []  # it began where the first one was
        log.close()


def pause_and_tell(url: str, folder: str) -> None:
    """Polls, and says whether it holds; is stopped for longer than its group bears, and says so again."""
    log = open_log(url, PARTITIONS)
    subscription = log.subscribe("g")
    told = Path(folder) / "told"
    subscription.poll(10, 0)
    told.write_text(f"{subscription.holds()}")
    while subscription.holds():
        time.sleep(0.01)
    lines = [f"{subscription.holds()}"]
    for use in (subscription.commit, lambda: subscription.poll(10, 0)):
        try:
            use()
            lines.append("nothing")
        except Conflict:
            lines.append("conflict")
    subscription.close()
    again = log.subscribe("g")
    lines.append(f"{again.holds()} {again.partitions}")
    told.write_text("\n".join(lines))
    log.close()


def test_a_process_that_stood_still_knows_that_it_holds_nothing(tmp_path: Path) -> None:
    url = servers.kafka() + "?session.timeout.ms=6000"
    log = open_log(url, PARTITIONS)
    log.append([click(n) for n in range(20)]).result()
    log.close()
    process = forked.start(pause_and_tell, url, str(tmp_path))
    told = tmp_path / "told"
    wait_for(lambda: told.exists() and told.read_text() == "True")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(4.5)  # a member trusts its partitions for 4.2 seconds
    os.kill(process.pid, signal.SIGCONT)
    assert forked.code_of(process) == 0
    assert told.read_text().split("\n") == ["False", "conflict", "conflict", "True (0, 1, 2)"]


# ── erasing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_one_process_erases_the_others_do_not_see_any_more(log: KafkaLog) -> None:
    other = open_log(log._clients.place.name, PARTITIONS, QUICK)
    log.append([*[click(n) for n in range(110)], Erase(id="z", time=1, user="u3")]).result()
    reader = other.subscribe("g", alone=True)
    assert len(everything(other)) == 111
    assert log.erase("u3") == 10
    assert not any(r.event.id == "e3" for r in everything(log))  # here at once
    wait_for(lambda: not any(r.event.id == "e3" for r in everything(other)), 2)  # there soon
    assert {getattr(r.event, "id", "") for r in everything(other) if r.event.user == "u3"} == {"z"}  # type: ignore[union-attr]  # all have users
    assert len(gather(reader, lambda records: len(records) == 101)) == 101
    log.append([click(1000, "u3")]).result()  # who comes back is welcome
    assert sum(getattr(r.event, "user", "") == "u3" for r in everything(other)) == 2
    assert other.erase("u3") == 1
    assert other.erase("u3") == 0
    third = open_log(log._clients.place.name, PARTITIONS, QUICK)
    assert len(everything(third)) == 101
    third.close()
    other.close()


def test_an_erasure_that_was_cut_off_is_finished_by_the_next_one(log: KafkaLog) -> None:
    log.append([click(n, "u") for n in range(5)]).result()
    place = partition_of("u", PARTITIONS)
    before = log.ends()[place]
    log.erase("u")
    assert log.ends()[place] == before + 5  # a tombstone for each
    other, topic = open_log(log._clients.place.name, PARTITIONS, QUICK), log._clients.place.topic
    other.append([click(9, "u")]).result()
    [end] = log._clients.ends([place])
    log._sender.send(f"{topic}-erasures", [(0, b"u", b"\x92" + bytes([place, end]))]).result()  # hidden, and then it died
    assert other.erase("u") == 0
    assert log.ends()[place] == end + 1
    other.close()


# ── brokers that come and go ────────────────────────────────────────────────────────────────────────────────────────────


def test_appends_fail_in_time_while_the_broker_is_away_and_go_on_when_it_is_back() -> None:
    with servers.Kafka() as broker:
        log = open_log(f"kafka://{broker.url}/t", PARTITIONS, QUICK)
        log.append([click(0)]).result()
        broker.send(signal.SIGTERM)
        assert broker.process is not None
        broker.process.wait()
        began = time.monotonic()
        futures = [log.append([click(n)]) for n in range(1, 200)]
        errors = [str(future.exception(10)) for future in futures]
        assert time.monotonic() - began < 3
        assert all(error.startswith(f"kafka://{broker.url}/t: ") and "see that its brokers run" in error for error in errors)
        assert any("timed out" in error for error in errors)
        for use in (
            log.ends,
            lambda: log.read(0, 0, 1),
            lambda: log.subscribe("g"),
            lambda: log.committed("g"),
            lambda: log.erase("u"),
        ):
            began = time.monotonic()
            with pytest.raises(Unavailable):
                use()
            assert time.monotonic() - began < 5
        broker.start()
        wait_for(lambda: log.append([click(1000)]).exception(10) is None)
        assert {"e0", "e1000"} <= {record.event.id for record in everything(log)}
        log.close()


def test_a_broker_that_stops_answering_holds_nobody_up() -> None:
    with servers.Kafka() as broker:
        log = open_log(f"kafka://{broker.url}/t", PARTITIONS, QUICK)
        log.append([click(n) for n in range(20)]).result()
        member = log.subscribe("g")
        assert gather(member, lambda records: len(records) == 20)
        broker.pause()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            log.append([click(20)]).result(10)
        with pytest.raises(StorageError):
            member.commit()
        with pytest.raises(Unavailable):
            member.poll(10, 0)
        member.close()
        log.close()
        assert time.monotonic() - began < 25
        with pytest.raises(Unavailable):
            open_log(f"kafka://{broker.url}/t", PARTITIONS, QUICK)


def test_an_event_that_is_too_large_fails_alone() -> None:
    log = open_log(servers.kafka(), PARTITIONS, Patience(timeout_ms=5000))
    huge = Interaction(id="h", time=1, user="u", item="i", kind="k", context={"x": "y" * 2_000_000})
    futures = [log.append([click(1)]), log.append([click(2), huge]), log.append([click(3)])]
    with pytest.raises(InputError, match=r"message\.max\.bytes"):
        futures[1].result(10)
    assert futures[0].result(10)
    assert futures[2].result(10)
    log.close()


def test_what_is_no_event_is_an_error_that_says_where_it_stands(log: KafkaLog) -> None:
    producer = Producer({"bootstrap.servers": log._clients.place.brokers})
    producer.produce(log._clients.place.topic, b"no event", b"k", 1)
    assert producer.flush(10) == 0
    with pytest.raises(StorageError, match=r"partition 1, offset 0: not an event"):
        log.read(1, 0, 10)


def test_a_look_at_the_cluster_tells_what_would_lose_events(log: KafkaLog) -> None:
    found = log.inspect()
    assert found.version == "Kafka, 1 broker"
    assert found.problems == ()
    assert len(problems({"cleanup.policy": "delete", "retention.ms": "1", "retention.bytes": "5"})) == 3


def test_what_others_write_into_the_topic_and_is_no_event_is_set_aside_and_holds_nobody_up(tmp_path: Path) -> None:
    topic = servers.kafka()
    config = Config(connect=Connect(home=str(tmp_path / "home"), log=topic), log=Log(partitions=PARTITIONS))
    with connect(config) as storage:
        storage.log.append([click(1), click(2)]).result()
        producer = Producer({"bootstrap.servers": topic.split("/")[2]})
        for partition in range(PARTITIONS):
            producer.produce(topic.rpartition("/")[2], b"\xc1 no event", b"stranger", partition=partition)
        producer.flush(10)
        storage.log.append([click(3), click(4)]).result()
        worker = Worker(storage, config)
        assert worker.drain() == 4
        worker.stop()
        letters = storage.tables.dead_letters.all()
        assert {(letter.partition, letter.body, letter.kind) for letter in letters} == {
            (partition, b"\xc1 no event", "") for partition in range(PARTITIONS)
        }
        with pytest.raises(msgspec.DecodeError):
            letters[0].event()
    bare = open_log(topic, PARTITIONS)
    with pytest.raises(StorageError, match="not an event"):
        [bare.read(partition, 0, 10) for partition in range(PARTITIONS)]
    bare.close()
