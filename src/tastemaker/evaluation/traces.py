"""What a replay leaves behind: at which place each event was that came next. Means, curves and comparisons follow from it.

Events of one user are alike, so users are what is drawn: a mean is the ratio of two means over users, and its interval that of
an experiment (``experiments/effects.py``). Two replays of the same events are compared event by event, and a user who takes
both sides' noise along counts once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tastemaker.domain import Interval
from tastemaker.errors import InputError, did_you_mean
from tastemaker.evaluation.metrics import Doubles
from tastemaker.experiments.effects import Effect, alone, lift
from tastemaker.experiments.intervals import fixed
from tastemaker.experiments.moments import Moments
from tastemaker.models.interactions import Longs

METRICS = ("hit_rate", "ndcg", "mrr")


@dataclass(frozen=True)
class Trace:
    """(events,) arrays in the order of time. ``ranks``: the place of the event's item in the list before it, from 1; 0: none."""

    name: str
    k: int
    times: Longs  # epoch ms
    users: Longs  # rows of the data
    ranks: Longs
    trained: tuple[int, ...]  # times (ms) up to which the models had learnt
    excluded: dict[str, int] = field(default_factory=dict)  # reason -> events
    training_seconds: float = 0.0
    answer_ms: float = 0.0  # mean for one list, many at once

    def __len__(self) -> int:
        return len(self.times)

    def values(self, metric: str = "hit_rate") -> Doubles:
        """One number an event: hit_rate, ndcg (one item is relevant) or mrr, among the first ``k``.

        >>> trace = Trace("a", 3, *(np.array([0, 1, 2]),) * 2, np.array([1, 0, 2]), ())
        >>> trace.values("mrr").tolist()
        [1.0, 0.0, 0.5]
        """
        if metric not in METRICS:
            raise InputError("metric", metric, f"a replay has no such metric; {did_you_mean(metric, METRICS)}")
        hit = self.ranks > 0
        safe = np.maximum(self.ranks, 1)
        gains = {"hit_rate": np.ones(len(self)), "ndcg": 1 / np.log2(safe + 1.0), "mrr": 1.0 / safe}
        return np.where(hit, gains[metric], 0.0)

    def mean(self, metric: str = "hit_rate", alpha: float = 0.05) -> Interval:
        """The mean over events with its interval over users."""
        return bounded(alone(self.moments(self.values(metric))), alpha)

    def moments(self, values: Doubles) -> Moments:
        """Sums over users of an event's numbers, to the number of their events."""
        rows, place = np.unique(self.users, return_inverse=True)
        top = np.bincount(place, weights=values, minlength=len(rows))
        return Moments.of(top, np.bincount(place, minlength=len(rows)).astype(np.float64))

    def curve(self, metric: str = "hit_rate", windows: int = 30) -> Curve:
        """Means over stretches of as many events each, in the order of time."""
        values, edges = self.values(metric), np.linspace(0, len(self), min(windows, max(len(self), 1)) + 1).astype(np.int64)
        parts = [slice(a, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True) if b > a]
        means = [float(values[part].mean()) for part in parts]
        return Curve(tuple(int(self.times[part][-1]) for part in parts), tuple(means), tuple(p.stop - p.start for p in parts))


@dataclass(frozen=True)
class Curve:
    """A metric over time: by stretch its end (ms), the mean, and the number of events."""

    times: tuple[int, ...]
    means: tuple[float, ...]
    events: tuple[int, ...]


@dataclass(frozen=True)
class Gain:
    """What one replay does better than another on the same events: the difference, and the quotient minus 1."""

    difference: Interval
    relative: float
    users: int


def compare(base: Trace, other: Trace, metric: str = "hit_rate", alpha: float = 0.05) -> Gain:
    """``other`` minus ``base``, with an interval over users. Raises ``InputError`` where the events are not the same."""
    if base.k != other.k:
        raise InputError("k", other.k, f"replay both with the same length of lists ({base.k})")
    if not (np.array_equal(base.times, other.times) and np.array_equal(base.users, other.users)):
        raise InputError("other", f"{len(other)} events", f"replay both over the same events ({len(base)} in {base.name})")
    a, b = base.values(metric), other.values(metric)
    difference = bounded(alone(base.moments(b - a)), alpha)
    relative = lift(base.moments(a), base.moments(b)).value if len(base) else float("nan")
    return Gain(difference, float(relative), difference.n)


def bounded(effect: Effect, alpha: float) -> Interval:
    """An effect as mean and interval; NaN bounds where there are fewer than two users."""
    found = fixed(effect, alpha)
    return Interval(float(found.value), float(found.low), float(found.high), int(effect.n))


def order_of(times: npt.NDArray[np.integer]) -> Longs:
    """Entries in the order of time, ties as they are."""
    return np.argsort(times, kind="stable").astype(np.int64)
