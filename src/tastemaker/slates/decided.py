"""Decisions as bytes: what is known when a slate is made is encoded with it, what is known when it is served comes behind.

A decision has some twenty fields, and all but five are the same whenever a stored slate is served. Making and encoding the
whole event in each request would cost more than reading the slate.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from tastemaker.domain import Decision, Scored, Slot, encode_event
from tastemaker.experiments.interleaving import Drafted
from tastemaker.slates.arranged import Drawn

POLICY = "compose/1"
LATE = ("id", "time", "latency_ms", "surface", "session")
"""The fields that are known when the answer is given."""

_TAG = b"\xa4type\xa8decision"
_BLANK = _TAG + b"\xa2id\xa0\xa4time\x00"  # how a decision without id and time begins, behind the head of the map
_times = struct.Struct(">6sQ12sd")
_count = struct.Struct(">H")
_text = msgspec.msgpack.Encoder().encode


def slots_of(items: Sequence[Scored]) -> tuple[Slot, ...]:
    """The items as slots of a decision. Nothing was drawn, so there is no propensity."""
    return tuple(
        Slot(s.item, 0, position, s.score, s.source, evidence=tuple(r.item for r in s.reasons if r.item is not None))
        for position, s in enumerate(items)
    )


def drafted_slots(items: Sequence[Scored], draft: Drafted[str]) -> tuple[Slot, ...]:
    """The same of two rankings in one list: each slot names the team that brought it, and where both rankings had the item."""
    told = zip(slots_of(items), draft.teams, draft.in_both, draft.ranks, strict=True)
    return tuple(replace(slot, team=team, in_both=both, rank_a=a, rank_b=b) for slot, team, both, (a, b) in told)


def opening_of(
    user: str, version: str, rung: str, offset: int, reward: str, items: Sequence[Scored], eligible: int = -1,
    drawn: Drawn | None = None,
) -> bytes:  # fmt: skip
    """All of a decision but what is known late. ``offset`` is that of the state or slate behind the answer."""
    decision = Decision(
        "", 0, user, feature_snapshot=f"{offset}", policy=POLICY, models=(version,) if version else (), reward=reward,
        rung=rung, eligible=eligible, slots=slots_of(items),
    )  # fmt: skip
    return sealed(decision if drawn is None else by_chance(decision, drawn))


def by_chance(decision: Decision, drawn: Drawn) -> Decision:
    """A decision that says what its slate was drawn from, and each slot's propensity: not those of slots filled behind it."""
    chances = drawn.log_propensity
    slots = tuple(replace(slot, log_propensity=chance) for slot, chance in zip(decision.slots, chances, strict=False))
    return replace(
        decision, explore=True, temperature=drawn.temperature, seed=drawn.seed, policy=drawn.policy, candidates=drawn.candidates,
        eligible=len(drawn.candidates), scores=drawn.scores, slots=slots + decision.slots[len(slots) :],
    )  # fmt: skip


def sealed(decision: Decision) -> bytes:
    """A decision without id, time and the other late fields as ``completed`` takes it."""
    head, _, fields = encode_event(decision).partition(_BLANK)
    count = head[0] & 15 if len(head) == 1 else int.from_bytes(head[1:], "big")
    return struct.pack(">BH", 0xDE, count - 2 + len(LATE)) + _TAG + fields


def with_arms(opening: bytes, arms: bytes) -> bytes:
    """An opening, stored ones too, whose decision names the arms of its unit: ``arms`` is that field with its name, packed."""
    return b"\xde%b%b%b" % (_count.pack(_count.unpack_from(opening, 1)[0] + 1), opening[3:], arms)


def place_of(surface: str, session: str | None) -> bytes:
    """Where an answer is shown, as ``completed`` takes it."""
    return b"\xa7surface%b\xa7session%b" % (_text(surface), _text(session))


HOME = place_of("home", None)


def completed(opening: bytes, place: bytes, name: bytes, moment: float, seconds: float) -> bytes:
    """The decision's MessagePack. ``name`` is its id, ``moment`` the time (epoch seconds), ``seconds`` what it took."""
    times = _times.pack(b"\xa4time\xcf", int(moment * 1000), b"\xaalatency_ms\xcb", seconds * 1000)
    return b"%b%b%b\xa2id\xd9%c%b" % (opening, place, times, len(name), name)
