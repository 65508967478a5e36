"""What an event is worth, for one event and for a column.

The table ``[rewards.kinds]`` of the configuration gives each kind of interaction a weight and, if wanted, the smallest
value that counts. A reward of 0 means that the event says nothing about taste: it is no part of a history. Training and
serving read the same table, whose version stands on every model card.

Age counts when models read a history: with ``half_life_days``, an event counts half for each half-life between it and the
user's newest event. From that event and not from now, so that a history means the same in training, in publishing and in a
request; states keep what age does not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tastemaker.config import Rewards

if TYPE_CHECKING:
    import ibis.expr.types as ir

DAY = 86_400_000  # milliseconds


def reward(rewards: Rewards, kind: str, value: float | None) -> float:
    """The reward of one event; 0 if its value is under the kind's threshold, or missing where there is one.

    >>> from tastemaker.config import Reward
    >>> rewards = Rewards(kinds={"rating": Reward(weight=2.0, at_least=4.0)})
    >>> reward(rewards, "rating", 5.0), reward(rewards, "rating", 3.0), reward(rewards, "click", None)
    (2.0, 0.0, 1.0)
    """
    rule = rewards.kinds.get(kind)
    if rule is None:
        return rewards.default
    if rule.at_least is not None and (value is None or value < rule.at_least):
        return 0.0
    return rule.weight


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
        if rule.at_least is not None:
            worth = (value >= float(rule.at_least)).fill_null(False).ifelse(worth, 0.0)
        result = (kind == name).ifelse(worth, result)
    return result.cast("float64")
