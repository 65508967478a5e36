"""What happens: the events of the log, one tagged union, and their bytes.

JSON with a ``type`` on the wire, MessagePack in the log. A field that the log does not hold today can never be added to
yesterday, so the schema of decisions, slots, views and exposures is complete from the start. What is unknown is absent
(``None``) or NaN; a propensity that nobody computed is NaN, never 1.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Millis = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # what a column of the lake holds
Scalar = str | float | bool | None
Score = Annotated[float, Meta(ge=-1e9, le=1e9)]

NAN = math.nan


class Event(Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    """Something that happened once. ``id`` is the client's: the same id sent again is the same event."""

    # gc=False: events are trees without cycles; not tracking them makes decoding a fifth faster
    id: Id
    time: Millis


class Interaction(Event, frozen=True, tag="interaction"):
    """A user did something with an item: click, play, rating, like, purchase, skip."""

    user: Id
    item: Id
    kind: Name
    value: Score | None = None  # stars, watched fraction, amount: known only after the action
    decision: Id | None = None  # the decision that offered the item, for attribution
    row: Int64 | None = None
    position: Int64 | None = None
    session: Id | None = None
    context: dict[str, Scalar] = field(default_factory=dict)  # device, surface, country: known at request time
    mature_at: Millis | None = None  # when ``value`` is final; None: at once


class View(Event, frozen=True, tag="view"):
    """A slot was really on the screen. Without it "served" is not "seen"."""

    user: Id
    decision: Id
    item: Id
    row: Int64 = 0
    position: Int64 = 0
    visible_ms: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    session: Id | None = None


class Slot(Struct, frozen=True, omit_defaults=True, gc=False):
    """One place of a decision."""

    item: str
    row: Int64 = 0
    position: Int64 = 0
    score: float = NAN
    source: str = ""  # the candidate source that brought the item
    team: Int64 = -1  # interleaving: 0 or 1; -1 outside
    in_both: bool = False
    rank_a: Int64 = -1
    rank_b: Int64 = -1
    log_propensity: float = NAN  # conditional on the slots above; NaN where nothing was drawn
    pinned: bool = False
    evidence: tuple[str, ...] = ()  # items of the history that explain this one


class Decision(Event, frozen=True, tag="decision"):
    """One answer of the server, with all that is needed to give the same answer again."""

    user: Id
    surface: str = "home"
    session: Id | None = None
    context_hash: str = ""
    feature_snapshot: str = ""
    arms: dict[str, str] = field(default_factory=dict)  # experiment -> arm
    policy: str = ""
    models: tuple[str, ...] = ()  # model versions that took part
    reward: str = ""  # reward version
    explore: bool = False
    temperature: float = 0.0
    seed: Int64 = 0
    rung: str = ""  # of the fallback ladder
    latency_ms: float = NAN
    eligible: Int64 = -1  # candidates left after the filters
    candidates: tuple[str, ...] = ()  # logged on exploration traffic
    scores: tuple[float, ...] = ()
    slots: tuple[Slot, ...] = ()


class Exposure(Event, frozen=True, tag="exposure"):
    """A unit met the difference that an experiment makes."""

    experiment: Name
    unit: Id
    arm: Name
    version: Int64 = 1
    layer: str = ""
    bucket: float = NAN
    reason: str = ""
    triggered: bool = True


class ItemChange(Event, frozen=True, tag="item"):
    """The whole new state of an item of the catalogue."""

    item: Id
    title: str = ""
    categories: tuple[str, ...] = ()
    text: str = ""
    active: bool = True  # inactive items are never recommended
    released: Millis | None = None
    deleted: bool = False
    fields: dict[str, Scalar] = field(default_factory=dict)


class UserChange(Event, frozen=True, tag="user"):
    """New facts about a user. What is None stays as it was."""

    user: Id
    preferences: dict[str, Score] | None = None  # stated: category -> score
    segment: str | None = None
    fields: dict[str, Scalar] | None = None


class Erase(Event, frozen=True, tag="erase"):
    """The user asked to be forgotten: log, lake, states, slates and tables follow."""

    user: Id
    reason: str = ""


AnyEvent = Interaction | View | Decision | Exposure | ItemChange | UserChange | Erase
EVENTS: tuple[type[Event], ...] = (Interaction, View, Decision, Exposure, ItemChange, UserChange, Erase)


def tag_of(kind: type[Event]) -> str:
    """The event's name on the wire.

    >>> tag_of(ItemChange)
    'item'
    """
    return str(kind.__struct_config__.tag)


def key_of(event: Event) -> str:
    """What an event is about; the log keeps the order of events that share it."""
    for name in ("user", "item", "unit"):
        value = getattr(event, name, None)
        if value is not None:
            return str(value)
    raise TypeError(f"{type(event).__name__} has no key")


class Record(Struct, frozen=True, gc=False):
    """An event at its place in the log."""

    partition: int
    offset: int  # dense within the partition
    event: AnyEvent


encode_event = msgspec.msgpack.Encoder().encode
encode_json = msgspec.json.Encoder().encode
decode_event = msgspec.msgpack.Decoder(AnyEvent).decode
decode_events = msgspec.msgpack.Decoder(list[AnyEvent]).decode
