"""The stored form of a slate says the same as the slate."""

from __future__ import annotations

import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.domain import Decision, ItemChange, Reason, Scored, Slate, decode_events, encode_event
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.decided import HOME, POLICY, completed, opening_of, place_of, slots_of
from tastemaker.slates.stored import body_of, decode_front, decode_whole, store, tail_of

CATALOGUE = Catalogue.of([ItemChange("1", 1, "a", 'The "A" of Ümläut'), ItemChange("2", 1, "b")], 42)
ids = st.sampled_from(["a", "b", "not in the catalogue", "ä/%"])
reasons = st.builds(
    Reason,
    kind=st.sampled_from(["history", "popular"]),
    item=st.none() | ids,
    contribution=st.floats(0, 10),
    text=st.text(max_size=20),
)
offers = st.builds(
    Scored, item=ids, score=st.floats(-1e6, 1e6), source=st.just("als"), reasons=st.lists(reasons, max_size=2).map(tuple)
)
slates = st.builds(
    Slate,
    user=st.just("u"),
    model=st.just("als-1"),
    made=st.integers(0, 2**50),
    offset=st.integers(-1, 2**40),
    items=st.lists(offers, max_size=8).map(tuple),
)


@given(slates, st.integers(1, 10))
def test_a_stored_slate_comes_back_whole_whatever_was_made_ready(slate: Slate, k: int) -> None:
    front, whole = store(slate, "personal", CATALOGUE, k, "r1")
    assert decode_whole(whole) == slate
    stored = decode_front(front)
    assert (stored.made, stored.offset, stored.stamp, stored.rung) == (slate.made, slate.offset, 42, "personal")
    assert stored.count == min(k, len(slate.items))
    body = body_of(slate.items[:k], CATALOGUE)
    assert stored.tail == tail_of(slate.user, slate.model, "personal", "", body)
    assert msgspec.json.decode(b"{" + stored.tail)["items"] == msgspec.json.decode(body)
    assert stored.opening == opening_of("u", "als-1", "personal", slate.offset, "r1", slate.items[:k])


@given(slates)
def test_the_ready_body_is_the_json_of_the_items(slate: Slate) -> None:
    shown = msgspec.json.decode(body_of(slate.items, CATALOGUE))
    assert [row["item"] for row in shown] == [offer.item for offer in slate.items]
    assert [row["score"] for row in shown] == [offer.score for offer in slate.items]
    assert [row["title"] for row in shown] == [CATALOGUE.title(offer.item) for offer in slate.items]
    for row, offer in zip(shown, slate.items, strict=True):
        assert [reason["kind"] for reason in row.get("reasons", [])] == [reason.kind for reason in offer.reasons]


@given(slates, st.text(min_size=1, max_size=256), st.text(max_size=40), st.none() | ids, st.integers(-1, 2**40))
def test_a_decision_put_together_from_its_parts_is_the_encoded_decision(
    slate: Slate, user: str, surface: str, session: str | None, eligible: int
) -> None:
    opening = opening_of(user, "als-1", "personal", slate.offset, "r1", slate.items, eligible)
    packed = completed(opening, place_of(surface, session), b"abc-1f", 1_700_000_000.25, 0.5)
    wanted = Decision(
        "abc-1f",
        1_700_000_000_250,
        user,
        surface,
        session,
        feature_snapshot=f"{slate.offset}",
        policy=POLICY,
        models=("als-1",),
        reward="r1",
        rung="personal",
        latency_ms=500.0,
        eligible=eligible,
        slots=slots_of(slate.items),
    )
    (found,) = decode_events(b"\x91" + packed)
    assert encode_event(found) == encode_event(wanted)


def test_an_answer_without_model_or_place_leaves_a_decision_too() -> None:
    (found,) = decode_events(b"\x91" + completed(opening_of("u", "", "empty", -1, "r1", ()), HOME, b"n-0", 1.0, 0.0))
    assert isinstance(found, Decision)
    assert (found.models, found.surface, found.session, found.slots, found.eligible) == ((), "home", None, (), -1)


@given(slates)
def test_slots_number_the_places_and_carry_the_evidence(slate: Slate) -> None:
    slots = slots_of(slate.items)
    assert [(slot.item, slot.row, slot.position) for slot in slots] == [
        (offer.item, 0, place) for place, offer in enumerate(slate.items)
    ]
    assert all(math.isnan(slot.log_propensity) for slot in slots)
    for slot, offer in zip(slots, slate.items, strict=True):
        assert slot.evidence == tuple(reason.item for reason in offer.reasons if reason.item is not None)


def test_a_reason_without_a_contribution_shows_none() -> None:
    offer = Scored("a", 1.0, "popular", (Reason("popular", text="Popular with everybody"),))
    assert msgspec.json.decode(body_of([offer], CATALOGUE)) == [
        {
            "item": "a",
            "title": 'The "A" of Ümläut',
            "score": 1.0,
            "source": "popular",
            "reasons": [{"kind": "popular", "text": "Popular with everybody"}],
        }
    ]


def test_the_same_slate_gives_the_same_bytes() -> None:
    slate = Slate("u", "als-1", 5, 3, (Scored("a", 0.25, "als"),))
    assert store(slate, "personal", CATALOGUE, 10, "r1") == store(slate, "personal", CATALOGUE, 10, "r1")
