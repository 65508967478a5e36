"""What an event is worth, for one event and for a column, and when that is known.

The table ``[rewards.kinds]`` of the configuration gives each kind of interaction a weight and, if wanted, the smallest
value that counts, or the value that is worth the weight. A reward of 0 means that the event says nothing about taste: it is no
part of a history. Training and serving read the same table, whose version stands on every model card, with a fingerprint:
a version that changes its meaning is found out.

An event matures when its kind's ``mature_hours`` have passed, or at the time that it names itself: until then more may come
of it, as a watched share comes of a click. Who learns must not read that as nothing (``maturity.py``).

Age counts when models read a history: with ``half_life_days``, an event counts half for each half-life between it and the
user's newest event. From that event and not from now, so that a history means the same in training, in publishing and in a
request; states keep what age does not change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from tastemaker.config import Reward, Rewards
from tastemaker.domain import Interaction

if TYPE_CHECKING:
    import ibis.expr.types as ir

HOUR = 3_600_000  # milliseconds
DAY = 24 * HOUR


def reward(rewards: Rewards, kind: str, value: float | None) -> float:
    """The reward of one event; 0 if its value is under the kind's threshold, or missing where it is asked for.

    >>> rewards = Rewards(kinds={"rating": Reward(weight=2.0, at_least=4.0), "watch": Reward(scale=0.5, cap=1.0)})
    >>> reward(rewards, "rating", 5.0), reward(rewards, "rating", 3.0), reward(rewards, "click", None)
    (2.0, 0.0, 1.0)
    >>> reward(rewards, "watch", 0.25), reward(rewards, "watch", 7.0), reward(rewards, "watch", None)
    (0.5, 2.0, 0.0)
    """
    rule = rewards.kinds.get(kind)
    if rule is None:
        return rewards.default
    if rule.at_least is not None and (value is None or value < rule.at_least):
        return 0.0
    if rule.scale is None:
        return rule.weight
    if value is None:
        return 0.0
    return (value if rule.cap is None else min(value, rule.cap)) * (rule.weight / rule.scale)


def label(rewards: Rewards, event: Interaction, now: int) -> tuple[float, bool]:
    """The reward of one event, and whether it is all that there will be.

    >>> rewards = Rewards(kinds={"click": Reward(mature_hours=1.0)})
    >>> label(rewards, Interaction("e", 0, "u", "i", "click"), now=HOUR)
    (1.0, False)
    """
    return reward(rewards, event.kind, event.value), final_at(rewards, event) < now


def final_at(rewards: Rewards, event: Interaction) -> int:
    """When the event is mature, in epoch milliseconds: at its own time, if it names one."""
    if event.mature_at is not None:
        return max(event.time, event.mature_at)
    rule = rewards.kinds.get(event.kind)
    return event.time + (0 if rule is None else wait(rule))


def wait(rule: Reward) -> int:
    """``mature_hours`` in milliseconds."""
    return round(rule.mature_hours * HOUR)


def fingerprint(rewards: Rewards) -> str:
    """Short for what decides a label: two tables that make the same labels of everything have the same one.

    >>> fingerprint(Rewards(version="1")) == fingerprint(Rewards(version="2")) != fingerprint(Rewards(default=2.0))
    True
    """
    table = {kind: msgspec.to_builtins(rule) for kind, rule in rewards.kinds.items()}
    text = msgspec.json.encode([rewards.default, table, rewards.immature], order="sorted")
    return hashlib.blake2b(text, digest_size=6).hexdigest()


def aged(weights: Sequence[float], times: Sequence[int], half_life_days: float) -> Sequence[float]:
    """One history's weights with its age counted; 0 days: as they are.

    >>> aged([1.0, 2.0], [0, DAY], 1.0)
    [0.5, 2.0]
    """
    if not half_life_days or not times:
        return weights
    newest, unit = max(times), half_life_days * DAY
    return [weight * 2.0 ** ((time - newest) / unit) for weight, time in zip(weights, times, strict=True)]


def reward_column(rewards: Rewards, kind: ir.StringColumn, value: ir.NumericColumn) -> ir.FloatingColumn:
    """``reward`` over columns."""
    import ibis  # takes a second to load, and a server that rewards single events never needs it

    result = ibis.literal(float(rewards.default))
    for name, rule in rewards.kinds.items():
        worth = ibis.literal(float(rule.weight))
        if rule.scale is not None:
            counted = value if rule.cap is None else ibis.least(value, float(rule.cap))
            worth = (counted.cast("float64") * (rule.weight / rule.scale)).fill_null(0.0)
        if rule.at_least is not None:
            worth = (value >= float(rule.at_least)).fill_null(False).ifelse(worth, 0.0)
        result = (kind == name).ifelse(worth, result)
    return result.cast("float64")


def final_column(rewards: Rewards, events: ir.Table) -> ir.IntegerColumn:
    """``final_at`` over ``time, kind, mature_at``."""
    import ibis  # as above

    later = ibis.literal(0, "int64")
    for name, rule in rewards.kinds.items():
        if rule.mature_hours:
            later = (events.kind == name).ifelse(ibis.literal(wait(rule), "int64"), later)
    return ibis.greatest(events.time, ibis.coalesce(events.mature_at, events.time + later))
