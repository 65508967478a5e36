"""What an event is worth, for one event and for a column.

The table ``[rewards.kinds]`` of the configuration gives each kind of interaction a weight and, if wanted, the smallest
value that counts. A reward of 0 means that the event says nothing about taste: it is no part of a history. Training and
serving read the same table, whose version stands on every model card.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tastemaker.config import Rewards

if TYPE_CHECKING:
    import ibis.expr.types as ir


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
