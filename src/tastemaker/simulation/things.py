"""The items of a world: what each is like, when it came, and whether it is still to be had."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from tastemaker.simulation.noise import exponential, normal, uniform
from tastemaker.simulation.people import arrivals
from tastemaker.simulation.settings import WorldSettings

Doubles = npt.NDArray[np.float64]
OFF = 0.5  # how far an item is off the centre of its genre
MINUTES, SPREAD = 40.0, 0.7  # of its length: the median, and the deviation of the logarithm


@dataclass
class Things:
    """One row an item."""

    genres: npt.NDArray[np.int64]
    vectors: Doubles  # (items, dimensions)
    quality: Doubles  # attraction to everybody
    born: Doubles  # day
    active: npt.NDArray[np.bool_]
    minutes: Doubles
    bait: npt.NDArray[np.bool_]  # clicked more, liked less

    def __len__(self) -> int:
        return len(self.quality)

    @classmethod
    def of(
        cls, settings: WorldSettings, seed: int, centres: Doubles, count: int, first: int = 0, day: float | None = None
    ) -> Things:
        """New ones, numbered from ``first``; the first of a world are as old as they may be."""
        which = np.arange(first, first + count)
        genres = (settings.genres * uniform(seed, "genre", which)).astype(np.int64)
        off = normal(seed, "items", which[:, None], np.arange(settings.dimensions)) / np.sqrt(settings.dimensions)
        born = -100.0 * exponential(seed, "born", which) - 10.0 if day is None else np.full(count, day)
        quality = settings.quality * normal(seed, "quality", which)
        minutes = MINUTES * np.exp(SPREAD * normal(seed, "minutes", which))
        bait = uniform(seed, "bait", which) < settings.clickbait
        return cls(genres, centres[genres] + OFF * off, quality, born, np.ones(count, np.bool_), minutes, bait)

    def grow(self, settings: WorldSettings, seed: int, centres: Doubles, begin: float, end: float) -> None:
        """Births and retirements of an interval."""
        if settings.retired:
            lost = 1 - np.exp(-settings.retired * (end - begin))
            self.active &= uniform(seed, "retired", np.arange(len(self)), round(begin * 86_400)) >= lost
        count = arrivals(seed, "births", settings.births, begin, end)
        if count:
            others = Things.of(settings, seed, centres, count, len(self), begin)
            for field in fields(self):
                setattr(self, field.name, np.concatenate([getattr(self, field.name), getattr(others, field.name)]))
