"""Events: what is written today is read back whole, and what a later version writes can be read today."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker import domain
from tastemaker.domain import EVENTS, AnyEvent, Decision, Event, Interaction, Slot, decode_event, encode_event, key_of, tag_of

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=256)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
MILLIS = st.integers(0, 253_402_300_799_999)
INT64 = st.integers(-(2**63), 2**63 - 1)
SCORES = st.floats(-1e9, 1e9)
SCALARS = st.one_of(TEXT, st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none())
FIELDS = st.dictionaries(TEXT, SCALARS, max_size=3)
NUMBERS = st.floats(allow_infinity=False)  # NaN among them: "nobody computed it"
SLOTS = st.builds(
    Slot, TEXT, INT64, INT64, NUMBERS, TEXT, INT64, st.booleans(), INT64, INT64, NUMBERS, st.booleans(),
    st.lists(TEXT, max_size=3).map(tuple),
)  # fmt: skip

STRATEGIES: dict[type[Event], dict[str, st.SearchStrategy[Any]]] = {
    domain.Interaction: {
        "user": IDS, "item": IDS, "kind": NAMES, "value": st.none() | SCORES, "decision": st.none() | IDS,
        "row": st.none() | INT64, "position": st.none() | INT64, "session": st.none() | IDS,
        "context": FIELDS, "mature_at": st.none() | MILLIS,
    },
    domain.View: {
        "user": IDS, "decision": IDS, "item": IDS, "row": INT64, "position": INT64, "visible_ms": st.integers(0, 2**63 - 1),
        "session": st.none() | IDS,
    },
    domain.Decision: {
        "user": IDS, "surface": TEXT, "session": st.none() | IDS, "context_hash": TEXT, "feature_snapshot": TEXT,
        "arms": st.dictionaries(TEXT, TEXT, max_size=3), "policy": TEXT, "models": st.lists(TEXT, max_size=3).map(tuple),
        "reward": TEXT, "explore": st.booleans(), "temperature": NUMBERS, "seed": INT64, "rung": TEXT, "latency_ms": NUMBERS,
        "eligible": INT64, "candidates": st.lists(TEXT, max_size=3).map(tuple),
        "scores": st.lists(NUMBERS, max_size=3).map(tuple), "slots": st.lists(SLOTS, max_size=3).map(tuple),
    },
    domain.Exposure: {
        "experiment": NAMES, "unit": IDS, "arm": NAMES, "version": INT64, "layer": TEXT, "bucket": NUMBERS, "reason": TEXT,
        "triggered": st.booleans(),
    },
    domain.ItemChange: {
        "item": IDS, "title": TEXT, "categories": st.lists(TEXT, max_size=3).map(tuple), "text": TEXT, "active": st.booleans(),
        "released": st.none() | MILLIS, "deleted": st.booleans(), "fields": FIELDS,
    },
    domain.UserChange: {
        "user": IDS, "preferences": st.none() | st.dictionaries(TEXT, SCORES, max_size=3), "segment": st.none() | TEXT,
        "fields": st.none() | FIELDS,
    },
    domain.Erase: {"user": IDS, "reason": TEXT},
}  # fmt: skip
ANY = st.one_of(*(st.builds(kind, id=IDS, time=MILLIS, **parts) for kind, parts in STRATEGIES.items()))


def same(a: Any, b: Any) -> bool:
    """Equality in which NaN equals NaN."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, msgspec.Struct):
        return type(a) is type(b) and same(msgspec.structs.astuple(a), msgspec.structs.astuple(b))
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_the_strategies_fill_every_field_of_every_event() -> None:
    for kind in EVENTS:
        assert set(STRATEGIES[kind]) | {"id", "time"} == {info.name for info in msgspec.structs.fields(kind)}, kind


@given(ANY)
def test_an_event_comes_back_whole_from_the_log(event: AnyEvent) -> None:
    assert same(decode_event(encode_event(event)), event)


@given(st.lists(ANY, max_size=5))
def test_a_batch_comes_back_whole_from_the_log(events: list[AnyEvent]) -> None:
    found = domain.decode_events(msgspec.msgpack.encode(events))
    assert len(found) == len(events)
    assert all(map(same, found, events))


@given(st.one_of(*(st.builds(kind, id=IDS, time=MILLIS, **parts) for kind, parts in STRATEGIES.items() if kind in (
    domain.Interaction, domain.View, domain.ItemChange, domain.UserChange, domain.Erase
))))  # fmt: skip
def test_an_event_without_unknown_numbers_comes_back_whole_from_json(event: AnyEvent) -> None:
    """JSON has no NaN, so decisions and exposures (which may hold it) live in MessagePack alone."""
    assert msgspec.json.decode(domain.encode_json(event), type=AnyEvent) == event


def test_a_propensity_that_nobody_computed_stays_nan_in_the_log_and_never_becomes_one() -> None:
    decision = Decision("d", 1, "u", slots=(Slot("a"), Slot("b", log_propensity=-0.5)))
    found = decode_event(encode_event(decision))
    assert isinstance(found, Decision)
    assert math.isnan(found.slots[0].log_propensity)
    assert found.slots[1].log_propensity == -0.5
    assert math.isnan(found.latency_ms)


@given(ANY, st.from_regex(r"\Alater_[a-z]{1,8}\Z"), st.one_of(SCALARS, st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)))
def test_fields_of_a_later_version_are_ignored_when_the_log_is_read(event: AnyEvent, name: str, value: Any) -> None:
    tree = msgspec.msgpack.decode(encode_event(event))
    tree[name] = value
    if isinstance(event, Decision):
        for slot in tree.get("slots", ()):
            slot[name] = value
    assert same(decode_event(msgspec.msgpack.encode(tree)), event)


@given(ANY)
def test_the_wire_names_the_kind_of_event(event: AnyEvent) -> None:
    assert msgspec.msgpack.decode(encode_event(event))["type"] == tag_of(type(event))


@given(ANY)
def test_what_an_event_is_about_is_its_user_item_or_unit(event: AnyEvent) -> None:
    row = msgspec.structs.asdict(event)
    assert key_of(event) == row.get("user", row.get("item", row.get("unit")))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", ""), ("user", "x" * 257), ("user", None), ("user", 7), ("item", ""), ("kind", "k" * 65), ("kind", ""),
        ("time", -1), ("time", 253_402_300_800_000), ("time", "now"), ("value", "five"), ("value", 1e10), ("position", 2**63),
        ("context", {"a": [1]}), ("type", "interactoin"),
    ],
)  # fmt: skip
def test_an_event_outside_its_bounds_is_refused(field: str, value: object) -> None:
    row = {"type": "interaction", "id": "e", "time": 1, "user": "u", "item": "i", "kind": "click"}
    assert msgspec.convert(row, AnyEvent) == Interaction("e", 1, "u", "i", "click")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(row | {field: value}, AnyEvent)


def test_events_are_frozen() -> None:
    event = Interaction("e", 1, "u", "i", "click")
    with pytest.raises(AttributeError):
        event.user = "v"  # type: ignore[misc]  # this is the point
