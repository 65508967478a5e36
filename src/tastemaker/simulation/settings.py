"""What kind of world it is. The defaults are about as uneven as films; ``calibrate.py`` finds others."""

from __future__ import annotations

from dataclasses import dataclass, field

from tastemaker.errors import InputError
from tastemaker.simulation.examination import Examination


@dataclass(frozen=True)
class WorldSettings:
    """Times are in days. Tastes and items lie in one space of ``dimensions``, around the centres of ``genres``."""

    users: int = 2000
    items: int = 1500
    genres: int = 12
    dimensions: int = 16
    # affinity
    appeal: float = 1.3  # of taste in the click
    base: float = -2.2
    quality: float = 0.7  # deviation of the items' own attraction
    noise: float = 0.3
    repeated: float = 3.0  # what an item loses that was consumed
    satiation: float = 0.6
    rested: float = 3.0  # days in which satiation falls to a third
    intent: float = 1.5  # how much of a genre a session wants
    pause: float = 4 / 24  # after which a new session has a new intent
    # novelty
    fresh: float = 1.0
    faded: float = 3.0  # days in which freshness falls to a third
    births: float = 5.0  # items a day
    retired: float = 0.0  # of the old items, each day
    # coming and going
    sessions: float = 0.5  # a day, of the median user
    spread: float = 0.8  # of the logarithm of that
    pull: float = 0.6  # of good sessions on the next one
    churn: float = 0.01  # a day, of somebody who has not liked anything lately
    newcomers: float = 10.0  # users a day
    organic: float = 0.3  # share of sessions that do not ask the server
    popular: float = 1.0  # what those choose by: attraction, and taste
    personal: float = 1.0
    # items that are clicked more and liked less
    clickbait: float = 0.0  # share of items
    bait: float = 1.5
    regret: float = 1.5
    looking: Examination = field(default_factory=Examination)

    def __post_init__(self) -> None:
        for name in ("users", "items", "genres", "dimensions"):
            if getattr(self, name) < 1:
                raise InputError(f"world.{name}", getattr(self, name), "give 1 or more")
        for name in ("noise", "quality", "births", "sessions", "spread", "churn", "newcomers"):
            if not getattr(self, name) >= 0:
                raise InputError(f"world.{name}", getattr(self, name), "give 0 or more")
        for name in ("organic", "clickbait", "retired"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"world.{name}", getattr(self, name), "give a share from 0 to 1")
        for name in ("rested", "faded", "pause"):
            if not getattr(self, name) > 0:
                raise InputError(f"world.{name}", getattr(self, name), "give days above 0")
