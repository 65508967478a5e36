"""Kinds are commutative monoids whose accumulators travel as MessagePack."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.features.kinds import KINDS, Acc, Count, Decayed, Kind, Last, Rate, Recent

HOUR = 3_600_000
EXAMPLES: dict[str, Kind] = {
    "count": Count(),
    "decayed": Decayed(half_life=5 * HOUR),
    "rate": Rate(prior=0.2, strength=3.0),
    "decayed rate": Rate(half_life=5 * HOUR, prior=0.2, strength=3.0),
    "mean": Rate(),
    "last": Last(),
    "recent": Recent(newest=4),
}
NOW = 60 * HOUR
additions = st.tuples(
    st.integers(0, 50).map(lambda hours: hours * HOUR),
    st.integers(0, 10**6),
    st.floats(-100, 100, width=16),
    st.sampled_from(["a", "b"]),
    st.integers(0, 1),
)
streams = st.lists(additions, max_size=12, unique_by=lambda addition: addition[1])


def total(kind: Kind, events: list[tuple[int, int, float, str, int]]) -> Acc:
    acc = kind.zero()
    for event in events:
        acc = kind.add(acc, *event)
    return acc


def assert_same(kind: Kind, a: Acc, b: Acc) -> None:
    found, expected = kind.value(a, NOW), kind.value(b, NOW)
    if isinstance(found, float) and isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-6, rel=1e-6)
    else:
        assert found == expected


def positive_below(kind: Kind, events: list[tuple[int, int, float, str, int]]) -> list[tuple[int, int, float, str, int]]:
    """A denominator counts, so for rates it gets no negative amounts (a sum near 0 would amplify rounding)."""
    if not isinstance(kind, Rate):
        return events
    return [(time, offset, abs(amount) + 1 if part else amount, item, part) for time, offset, amount, item, part in events]


@pytest.mark.parametrize("kind", EXAMPLES.values(), ids=EXAMPLES)
@settings(max_examples=50, deadline=None)
@given(a=streams, b=streams, c=streams)
def test_merging_is_associative_and_commutative_and_agrees_with_adding(kind: Kind, a: Any, b: Any, c: Any) -> None:
    a, b, c = (positive_below(kind, events) for events in (a, b, c))
    x, y, z = total(kind, a), total(kind, b), total(kind, c)
    assert_same(kind, kind.merge(x, y), kind.merge(y, x))
    assert_same(kind, kind.merge(kind.merge(x, y), z), kind.merge(x, kind.merge(y, z)))
    assert_same(kind, kind.merge(kind.zero(), x), x)
    assert_same(kind, kind.merge(x, y), total(kind, a + b))


@pytest.mark.parametrize("kind", EXAMPLES.values(), ids=EXAMPLES)
@settings(max_examples=50, deadline=None)
@given(events=streams, data=st.data())
def test_the_order_of_events_does_not_matter_and_accumulators_survive_the_wire(
    kind: Kind, events: Any, data: st.DataObject
) -> None:
    events = positive_below(kind, events)
    acc = total(kind, events)
    assert_same(kind, acc, total(kind, data.draw(st.permutations(events))))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(acc)) == acc


@pytest.mark.parametrize("kind", EXAMPLES.values(), ids=EXAMPLES)
def test_adding_leaves_the_old_accumulator_as_it_was(kind: Kind) -> None:
    before = total(kind, [(HOUR, 0, 1.0, "a", 0)])
    copy = msgspec.msgpack.encode(before)
    kind.add(before, 2 * HOUR, 1, 2.0, "b", 1)
    kind.merge(before, before)
    assert msgspec.msgpack.encode(before) == copy


def test_a_decayed_sum_is_the_textbook_sum() -> None:
    events = [(0, 0, 3.0, "a", 0), (10 * HOUR, 1, 2.0, "a", 0), (4 * HOUR, 2, -1.0, "a", 0)]
    expected = sum(amount * 2 ** (-(NOW - time) / (5 * HOUR)) for time, _, amount, _, _ in events)
    assert EXAMPLES["decayed"].value(total(EXAMPLES["decayed"], events), NOW) == pytest.approx(expected)


def test_events_decades_apart_neither_overflow_nor_vanish() -> None:
    kind = Decayed(half_life=HOUR)
    forty_years = 350_000 * HOUR
    acc = kind.add(kind.add(kind.zero(), forty_years, 0, 1.0, "a"), 0, 1, 1.0, "a")
    assert kind.value(acc, forty_years) == 1.0


def test_a_clock_that_is_behind_does_not_inflate() -> None:
    kind = Decayed(half_life=HOUR)
    assert kind.value(kind.add(kind.zero(), 10 * HOUR, 0, 1.0, "a"), now=0) == 1.0


def test_every_kind_is_tried_here() -> None:
    assert {type(kind) for kind in EXAMPLES.values()} == set(KINDS.values())
