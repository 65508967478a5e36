"""A training set of some of its users."""

from __future__ import annotations

from dataclasses import replace

from tastemaker.models.interactions import Bools, Interactions


def of_users(data: Interactions, chosen: Bools) -> Interactions:
    """The same with the users that are ``chosen``, (users,); all items stay, also those that none of them has had."""
    rows = chosen.nonzero()[0]
    return replace(
        data,
        users=tuple(data.users[row] for row in rows.tolist()),
        histories=data.histories.chosen(rows),
        preferences=data.preferences[rows] if len(data.preferences) else data.preferences,
    )
