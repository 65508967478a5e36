"""The state of a user, and counters of items: replays, limits, erasure, refusals, speed."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.config import Reward, Rewards
from tastemaker.domain import Decision, Erase, Interaction, Record, UserChange, UserState, View
from tastemaker.errors import InputError
from tastemaker.features.counters import ItemCounters, best
from tastemaker.features.fold import PENDING, REMEMBERED, advance, advance_all, values

REWARDS = Rewards(kinds={"rating": Reward(at_least=4.0)}, history=3)
EMPTY = UserState("u", 0)


def click(offset: int, item: str = "a", at: int | None = None, event: str | None = None, **more: object) -> Record:
    fields = {
        "id": event or f"e{offset}",
        "time": offset * 1000 if at is None else at,
        "user": "u",
        "item": item,
        "kind": "click",
    }
    return Record(0, offset, msgspec.convert(fields | more, Interaction))


def test_an_event_extends_the_history_and_the_features() -> None:
    state = advance(EMPTY, click(0, "a", value=3.0), REWARDS)
    assert (state.history.items, state.history.weights, state.history.times) == (("a",), (1.0,), (0,))
    found = values(state.features, 1)
    assert (found["user_events"], found["user_mean_value"], found["user_last_time"]) == (1.0, 3.0, 0.0)
    assert (state.offset, state.recent) == (0, ("e0",))


def test_a_replayed_offset_changes_nothing_at_all() -> None:
    state = advance_all(EMPTY, [click(0), click(1)], REWARDS)
    assert advance(state, click(1), REWARDS) is state


def test_an_event_sent_twice_moves_the_offset_only() -> None:
    once = advance(EMPTY, click(0, event="same"), REWARDS)
    assert advance(once, click(1, at=0, event="same"), REWARDS) == msgspec.structs.replace(once, offset=1)


def test_ids_are_remembered_up_to_a_limit() -> None:
    state = advance_all(EMPTY, [click(n) for n in range(REMEMBERED + 10)], REWARDS)
    assert len(state.recent) == REMEMBERED
    assert state.recent[-1] == f"e{REMEMBERED + 9}"


def test_the_history_keeps_the_newest_in_order_though_events_come_late() -> None:
    records = [click(0, "c", at=30), click(1, "a", at=10), click(2, "b", at=20), click(3, "d", at=30), click(4, "old", at=5)]
    history = advance_all(EMPTY, records, REWARDS).history
    assert (history.items, history.times) == (("b", "c", "d"), (20, 30, 30))


def test_late_events_of_the_same_time_keep_the_order_of_the_log() -> None:
    history = advance_all(EMPTY, [click(0, "a", at=10), click(1, "c", at=20), click(2, "b", at=10)], REWARDS).history
    assert history.items == ("a", "b", "c")


def test_an_old_record_is_known_by_its_offset_when_its_id_is_forgotten() -> None:
    records = [click(n) for n in range(REMEMBERED + 10)]
    state = advance_all(EMPTY, records, REWARDS)
    assert advance_all(state, records, REWARDS) is state


def test_an_event_without_reward_counts_but_is_no_history() -> None:
    state = advance(EMPTY, click(0, kind="rating", value=2.0), REWARDS)
    assert len(state.history) == 0
    assert values(state.features, 1)["user_events"] == 1.0


def test_a_value_is_not_known_before_it_is_final() -> None:
    state = advance(EMPTY, click(0, value=5.0, mature_at=500), REWARDS)
    assert "user_mean_value" not in values(state.features, 500)
    assert values(state.features, 501)["user_mean_value"] == 5.0
    later = advance(state, click(1), REWARDS)
    assert later.features[PENDING] == []
    assert values(later.features, 1001)["user_mean_value"] == 5.0
    assert len(state.features[PENDING]) == 2, "the older state must stay as it was"


def test_profile_changes_keep_what_they_do_not_name() -> None:
    state = advance(EMPTY, Record(0, 0, UserChange("p0", 5, "u", preferences={"drama": 2.0}, segment="new")), REWARDS)
    state = advance(state, Record(0, 1, UserChange("p1", 6, "u", segment="old")), REWARDS)
    assert (state.preferences, state.segment, state.time) == ({"drama": 2.0}, "old", 6)


def test_what_the_server_said_is_nothing_the_user_did() -> None:
    state = advance(EMPTY, click(0), REWARDS)
    for event in (Decision("d", 9, "u"), View("v", 9, "u", "d", "a")):
        assert advance(state, Record(0, 1, event), REWARDS) is state


def test_an_erased_user_leaves_nothing_but_the_offset() -> None:
    state = advance_all(EMPTY, [click(0, value=1.0, mature_at=10**9), click(1)], REWARDS, {"a": ["x"]})
    assert advance(state, Record(0, 2, Erase("x", 9, "u")), REWARDS) == UserState("u", 0, offset=2)


def test_another_users_record_is_refused() -> None:
    with pytest.raises(InputError, match="group records"):
        advance(UserState("w", 0), click(0), REWARDS)
    with pytest.raises(InputError, match="group records"):
        advance(UserState("u", 1), click(0), REWARDS)


def test_a_state_survives_the_store() -> None:
    state = advance_all(EMPTY, [click(0, value=1.0), click(1, value=2.0, mature_at=10**9)], REWARDS, {"a": ["x", "y"]})
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=UserState)
    assert stored == state
    assert advance(stored, click(2), REWARDS, {"a": ["x"]}) == advance(state, click(2), REWARDS, {"a": ["x"]})


def test_a_stream_costs_microseconds_an_event() -> None:
    records = [click(n, f"i{n % 50}", value=1.0) for n in range(20_000)]
    began = time.process_time()
    advance_all(EMPTY, records, Rewards())
    assert (time.process_time() - began) / len(records) < 40e-6, "measured: 6 us on an idle core"


@given(
    events=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 200), st.floats(-2, 5)), max_size=30),
    parts=st.integers(1, 4),
)
def test_the_best_of_partitions_are_the_best_of_all(events: list[tuple[str, int, float]], parts: int) -> None:
    counters = [ItemCounters(100) for _ in range(parts)]
    expected: dict[str, float] = {}
    for number, (item, at, weight) in enumerate(events):
        counters[number % parts].add(item, at, weight)
        expected[item] = expected.get(item, 0.0) + weight * 0.5 ** ((200 - at) / 100)
    found = best(counters, 9, 200)
    wanted = {item: score for item, score in expected.items() if score > 1e-9}
    assert {item: score for item, score in found if score > 1e-9} == pytest.approx(wanted)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert best(counters, 1, 200) == found[:1], "an item that is disliked does not trend"


def test_item_counters_survive_the_store_with_their_offset() -> None:
    counters = ItemCounters(100, offset=41)
    counters.add("a", 5, 1.0)
    assert ItemCounters.from_bytes(counters.to_bytes()) == counters
