"""Histories and a training set out of clicks, for tests that train a model in memory."""

from __future__ import annotations

from collections.abc import Sequence

import world
from tastemaker.domain import History, Interaction
from tastemaker.models.interactions import Histories, Interactions, Vocabulary


def history_of(clicks: Sequence[Interaction], user: str) -> History:
    own = [click for click in clicks if click.user == user]
    return History(tuple(click.item for click in own), tuple(1.0 for _ in own), tuple(click.time for click in own))


def training_set(clicks: Sequence[Interaction], histories: Sequence[History], items: int) -> Interactions:
    """Of the users 0, 1, ... of ``world``, whose histories they are."""
    vocabulary = Vocabulary(tuple(sorted(world.item(number) for number in range(items))))
    rows = [([vocabulary.number[item] for item in history.items], history.weights, history.times) for history in histories]
    users = tuple(world.user(number) for number in range(len(histories)))
    return Interactions(users, vocabulary, Histories.of(rows), now=max(click.time for click in clicks))
