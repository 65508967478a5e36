"""Item counters: a record counts once, what nobody wants any more fades, a new half-life begins anew."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import world
from tastemaker.config import Reward, Rewards
from tastemaker.domain import Interaction, Record, UserChange
from tastemaker.errors import StorageError
from tastemaker.storage import Storage, keys
from tastemaker.storage.kv import KeyValue
from tastemaker.streaming.counters import FEATURE, STALE, Counters

PARTITIONS = 3
HOUR = 3_600_000
NOW = 1000 * HOUR
REWARDS = Rewards(kinds={"rating": Reward(weight=2.0, at_least=4.0), "skip": Reward(weight=0.0), "return": Reward(weight=-5.0)})


@pytest.fixture(scope="module")
def kv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyValue]:
    with Storage(world.config_of(tmp_path_factory.mktemp("counters"))) as storage:
        yield storage.kv


def emptied(kv: KeyValue) -> KeyValue:
    kv.delete([key for key, _ in kv.scan("")])
    return kv


def click(item: str, age_hours: float = 0.0, kind: str = "click", value: float | None = None) -> Interaction:
    return Interaction(f"e-{item}-{age_hours}", int(NOW - age_hours * HOUR), "u", item, kind, value)


def trending(kv: KeyValue) -> list[tuple[str, float]]:
    data = kv.get([keys.TRENDING])[0]
    return msgspec.json.decode(data, type=list[tuple[str, float]]) if data is not None else []


def begun(kv: KeyValue, hours: float = 24.0) -> Counters:
    counters = Counters(PARTITIONS, hours)
    counters.own(kv, range(PARTITIONS))
    return counters


records = st.lists(
    st.builds(
        lambda item, age, partition: (partition, click(item, age)),
        st.sampled_from("abcd"),
        st.floats(0, 100),
        st.integers(0, PARTITIONS - 1),
    ),
    max_size=30,
)


@settings(max_examples=30, deadline=None)
@given(found=records, data=st.data())
def test_a_replay_after_a_crash_counts_every_record_once(
    kv: KeyValue, found: list[tuple[int, Interaction]], data: st.DataObject
) -> None:
    ends = [0] * PARTITIONS
    log = []
    for partition, event in found:
        log.append(Record(partition, ends[partition], event))
        ends[partition] += 1
    once = begun(emptied(kv))
    once.add(log, REWARDS)
    once.write(kv, NOW)
    expected = dict(kv.scan(""))

    counters = begun(emptied(kv))
    written = data.draw(st.integers(0, len(log)))
    counters.add(log[:written], REWARDS)
    counters.write(kv, NOW)
    counters.add(log[written : data.draw(st.integers(written, len(log)))], REWARDS)  # and the process dies before it writes
    counters = begun(kv)
    counters.add(log[data.draw(st.integers(0, written)) :], REWARDS)
    counters.write(kv, NOW)
    assert dict(kv.scan("")) == expected


def test_an_items_score_is_the_sum_of_its_decayed_rewards(kv: KeyValue) -> None:
    counters = begun(emptied(kv), 24.0)
    events = [
        click("a"),
        click("a", 24),
        click("b", 24, "rating", 5.0),
        click("b", 1, "rating", 3.0),  # under the threshold
        click("c", 0, "skip"),
        click("d", 0, "return"),  # a negative reward is no reason to trend
    ]
    counters.add([Record(number % PARTITIONS, number // PARTITIONS, event) for number, event in enumerate(events)], REWARDS)
    counters.add([Record(0, 2, UserChange("u", NOW, "u"))], REWARDS)
    counters.write(kv, NOW)
    assert trending(kv) == [("a", 1.5), ("b", 1.0)]
    assert counters.best == (("a", 1.5), ("b", 1.0))


def test_the_list_fades_although_nothing_happens_and_is_not_written_more_often_than_needed(kv: KeyValue) -> None:
    counters = begun(emptied(kv), 1.0)
    counters.add([Record(0, number, click("a")) for number in range(4)], REWARDS)
    counters.write(kv, NOW)
    assert trending(kv) == [("a", 4.0)]
    counters.write(kv, NOW + STALE - 1)
    assert trending(kv) == [("a", 4.0)]
    counters.write(kv, NOW + HOUR)
    assert trending(kv) == [("a", 2.0)]
    counters.write(kv, NOW + 4 * HOUR)
    assert trending(kv) == []


def test_counters_of_another_half_life_begin_anew_and_count_nothing_twice(kv: KeyValue) -> None:
    counters = begun(emptied(kv), 24.0)
    counters.add([Record(1, 0, click("a")), Record(1, 1, click("a"))], REWARDS)
    counters.write(kv, NOW)
    same = begun(kv, 24.0)
    assert same.parts[1].offset == 1
    assert "a" in same.parts[1].accs
    other = begun(kv, 12.0)
    assert other.parts[1].accs == {}
    other.add([Record(1, 1, click("a")), Record(1, 2, click("b"))], REWARDS)
    other.write(kv, NOW)
    assert trending(kv) == [("b", 1.0)]


def test_each_partition_is_written_only_when_it_changed(kv: KeyValue) -> None:
    counters = begun(emptied(kv))
    counters.add([Record(2, 0, click("a"))], REWARDS)
    counters.write(kv, NOW)
    assert [key for key, _ in kv.scan("items:")] == [keys.counters(2, FEATURE)]


def test_counters_that_could_not_be_written_are_written_the_next_time(tmp_path_factory: pytest.TempPathFactory) -> None:
    config = world.config_of(tmp_path_factory.mktemp("closed"))
    with Storage(config) as storage:
        counters = begun(storage.kv)
        counters.add([Record(0, 0, click("a"))], REWARDS)
        closed = storage.kv
        closed.close()
        with pytest.raises(StorageError, match="closed"):
            counters.write(closed, NOW)
    with Storage(config) as storage:
        assert trending(storage.kv) == []
        counters.write(storage.kv, NOW)
        assert trending(storage.kv) == [("a", 1.0)]


def test_two_workers_share_the_partitions_and_the_owner_of_the_first_merges_what_both_wrote(kv: KeyValue) -> None:
    emptied(kv)
    first, second = Counters(PARTITIONS, 24.0), Counters(PARTITIONS, 24.0)
    first.own(kv, [0])
    second.own(kv, [1, 2])
    first.add([Record(0, 0, click("a"))], REWARDS)
    second.add([Record(1, 0, click("b")), Record(2, 0, click("b"))], REWARDS)
    second.write(kv, NOW)
    assert trending(kv) == [], "the list is not its business"
    first.write(kv, NOW)
    assert trending(kv) == [("b", 2.0), ("a", 1.0)]
    second.write(kv, NOW + 1)
    assert second.best == first.best, "but it shows it"
    second.own(kv, [1])
    first.own(kv, [0, 2])
    first.add([Record(2, 0, click("b")), Record(2, 1, click("b"))], REWARDS)
    first.write(kv, NOW)
    assert trending(kv) == [("b", 3.0), ("a", 1.0)], "a partition moves with its counters, and what comes again counts once"
