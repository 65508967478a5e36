"""One event at a time: how a record of the log moves what is known of its user, and of its item.

``advance`` is the whole nearline logic of a user and is a pure function, so an embedded worker, a Kafka consumer and a
replay give the same state, byte for byte. It is safe under repetition: offsets that a state has seen are ignored, and so
are event ids among the last 256 (a client that sends twice gets two offsets). Events may come late: features do not depend on
the order, and the history is kept sorted by (time, offset).

A value that is final only later (``mature_at``) waits in ``features["pending"]`` until then, because a training set does
not know it earlier either. The history does not wait: a click must count at once.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from tastemaker.config import Rewards
from tastemaker.domain import Erase, History, Interaction, Record, UserChange, UserState, View
from tastemaker.errors import InputError
from tastemaker.features.catalog import BY_NAME, FEATURES, Amount, Events, Feature, Key
from tastemaker.features.kinds import Kind, Recent
from tastemaker.features.rewards import reward

REMEMBERED = 256
PENDING = "pending"
Categories: TypeAlias = Mapping[str, Sequence[str]]
"""Item -> its categories."""
UNCATEGORISED: Categories = {}


class Step(NamedTuple):
    """A feature's part, flattened so that the loop over one event's features stays cheap."""

    name: str
    key: Key
    kind: Kind
    part: int
    amount: Amount
    waits: bool  # until the value is final
    only: Events | None  # a filter beyond the event's type


def steps_of(features: Sequence[Feature]) -> dict[str, tuple[Step, ...]]:
    """The parts of features by the type of event that they read."""
    steps: dict[str, tuple[Step, ...]] = {"interaction": (), "view": ()}
    for feature in features:
        for part, of in enumerate(feature.parts):
            only = of if of.kinds or of.attributed else None
            waits = of.amount in ("value", "valued")
            steps[of.type] += (Step(feature.name, feature.key, feature.kind, part, of.amount, waits, only),)
    return steps


# histories are kept as such and not as a feature, so that models read them without a conversion
USER_STEPS = steps_of([feature for feature in FEATURES if feature.key != "item" and not isinstance(feature.kind, Recent)])
ITEM_STEPS = steps_of([feature for feature in FEATURES if feature.key == "item"])


def advance(state: UserState, record: Record, rewards: Rewards, categories: Categories = UNCATEGORISED) -> UserState:
    """The state after one more event of its user."""
    return advance_all(state, (record,), rewards, categories)


def advance_all(
    state: UserState, records: Sequence[Record], rewards: Rewards, categories: Categories = UNCATEGORISED
) -> UserState:
    """The state after more events of its user, in the order of their offsets. Any batching gives the same state.

    Decisions, views and exposures tell nothing of the user and leave the state as it is, its offset too. An erasure leaves
    nothing but the offset. Raises ``InputError`` for a record of another user or partition.
    """
    offset, newest, preferences, segment = state.offset, state.time, state.preferences, state.segment
    items, weights, times = list(state.history.items), list(state.history.weights), list(state.history.times)
    features, recent, forgotten = opened(state.features), list(state.recent), 0
    known = set(recent)
    for record in records:
        event = record.event
        if record.offset <= offset or not isinstance(event, Interaction | UserChange | Erase):
            continue
        if event.user != state.user or record.partition != state.partition:
            raise InputError("record", f"{event.user} in {record.partition}", f"this is the state of {state.user}; group records")
        offset = record.offset
        if event.id in known:
            continue
        known.add(event.id)
        recent.append(event.id)
        if len(recent) - forgotten > REMEMBERED:
            known.discard(recent[forgotten])
            forgotten += 1
        newest = max(newest, event.time)
        if isinstance(event, Interaction):
            worth = reward(rewards, event.kind, event.value)
            fold(USER_STEPS["interaction"], features, event, offset, worth, categories)
            if worth:
                place = len(times) if not times or event.time >= times[-1] else bisect.bisect_right(times, event.time)
                items.insert(place, event.item)
                weights.insert(place, worth)
                times.insert(place, event.time)
                if len(items) > rewards.history:
                    del items[0], weights[0], times[0]
        elif isinstance(event, UserChange):
            preferences = preferences if event.preferences is None else event.preferences
            segment = segment if event.segment is None else event.segment
        else:
            items, weights, times, features, recent, known, forgotten = [], [], [], {}, [], set(), 0
            newest, preferences, segment = 0, {}, ""
    if offset == state.offset:
        return state
    return UserState(
        user=state.user,
        partition=state.partition,
        offset=offset,
        time=newest,
        history=History(tuple(items), tuple(weights), tuple(times)),
        features=features,
        recent=tuple(recent[forgotten:]),
        preferences=preferences,
        segment=segment,
    )


def advance_items(features: dict[str, Any], record: Record, rewards: Rewards) -> None:
    """Adds an event to the item features, ``{feature: {item: accumulator}}``, in place."""
    event = record.event
    if isinstance(event, Interaction):
        worth = reward(rewards, event.kind, event.value)
        fold(ITEM_STEPS["interaction"], features, event, record.offset, worth, UNCATEGORISED)
    elif isinstance(event, View):
        fold(ITEM_STEPS["view"], features, event, record.offset, 0.0, UNCATEGORISED)


def values(features: Mapping[str, Any], now: int) -> dict[str, Any]:
    """Features at a time: name -> value, or name -> key -> value where they have a key of their own (category, item).

    Right for any ``now`` after the events that were folded. The user's history is in the state itself.
    """
    ripe = opened(features)
    ripen(ripe, now)
    found: dict[str, Any] = {}
    for name, acc in ripe.items():
        if name == PENDING or name not in BY_NAME:  # a state may be older than the catalogue
            continue
        feature = BY_NAME[name]
        keyed = feature.key != "user"
        found[name] = {key: feature.kind.value(a, now) for key, a in acc.items()} if keyed else feature.kind.value(acc, now)
    return found


def fold(
    steps: Sequence[Step], accs: dict[str, Any], event: Interaction | View, offset: int, worth: float, categories: Categories
) -> None:
    """Adds one event to the accumulators of ``steps``, in place."""
    time, item = event.time, event.item
    if accs.get(PENDING):
        ripen(accs, time)
    amounts = amounts_of(event, worth)
    final = getattr(event, "mature_at", None) or time  # views are final at once
    for name, key, kind, part, what, waits, only in steps:
        amount = amounts[what]
        if amount is None or (only is not None and not passes(only, event)):
            continue
        if waits and final > time:
            for own in keys_of(key, event, categories):
                accs.setdefault(PENDING, []).append([final, name, own, time, offset, amount, item, part])
        elif key == "user":
            accs[name] = kind.add(accs.get(name) or kind.zero(), time, offset, amount, item, part)
        else:
            inner = accs.setdefault(name, {})
            for own in keys_of(key, event, categories):
                inner[own] = kind.add(inner.get(own) or kind.zero(), time, offset, amount, item, part)


def keys_of(key: Key, event: Interaction | View, categories: Categories) -> Sequence[str | None]:
    """What an event's feature is kept under; None stands for the user, whose state it is."""
    if key == "user_category":
        return categories.get(event.item, ())
    return (event.item,) if key == "item" else (None,)


def amounts_of(event: Interaction | View, worth: float) -> dict[str, float | None]:
    """What an event brings, by ``Events.amount``; None where it brings nothing and is left out."""
    value = event.value if isinstance(event, Interaction) else None
    valued = None if value is None else 1.0
    return {"one": 1.0, "value": value, "valued": valued, "reward": worth or None, "time": float(event.time)}


def passes(events: Events, event: Interaction | View) -> bool:
    """Whether an event of the right type passes the rest of the filter."""
    if not isinstance(event, Interaction):
        return True
    return (not events.kinds or event.kind in events.kinds) and (not events.attributed or event.decision is not None)


def ripen(accs: dict[str, Any], now: int) -> None:
    """Adds the values that became final before ``now``, in place."""
    waiting = accs.get(PENDING)
    if not waiting:
        return
    for final, name, own, time, offset, amount, item, part in waiting:
        if final < now and name in BY_NAME:
            kind, into = BY_NAME[name].kind, accs if own is None else accs.setdefault(name, {})
            place = name if own is None else own
            into[place] = kind.add(into.get(place) or kind.zero(), time, offset, amount, item, part)
    accs[PENDING] = [entry for entry in waiting if entry[0] >= now]


def opened(features: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that may be changed in place: accumulators are never changed themselves, what holds them is."""
    return {name: dict(acc) if isinstance(acc, dict) else list(acc) if name == PENDING else acc for name, acc in features.items()}
