"""What is known of a user, and what is offered: histories, states, slates."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from tastemaker.domain.events import NAN


class History(Struct, frozen=True):
    """What a user did, oldest first: the only thing a model needs to know of anybody."""

    items: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()  # reward of each event
    times: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.items)


class UserState(Struct, frozen=True):
    """All that the nearline plane keeps of a user. ``offset`` is the last event applied: replayed ones are ignored."""

    user: str
    partition: int
    offset: int = -1
    time: int = 0  # of the newest event
    history: History = History()
    features: dict[str, Any] = field(default_factory=dict)  # accumulators by feature name, see features.kinds
    recent: tuple[str, ...] = ()  # ids of the last events, to drop those sent twice
    preferences: dict[str, float] = field(default_factory=dict)
    segment: str = ""


class Reason(Struct, frozen=True, omit_defaults=True):
    """Why an item is offered. ``contribution`` is the part of the score that ``item`` brought."""

    kind: str  # history, category, trending, popular, new
    item: str | None = None
    contribution: float = NAN
    text: str = ""


class Scored(Struct, frozen=True, omit_defaults=True):
    """An item with its score, where it came from and why."""

    item: str
    score: float
    source: str
    reasons: tuple[Reason, ...] = ()


class Slate(Struct, frozen=True):
    """What a user would be shown, best first."""

    user: str
    model: str  # version that made it
    made: int  # when
    offset: int  # last event of the user's partition that it knows of
    items: tuple[Scored, ...] = ()
