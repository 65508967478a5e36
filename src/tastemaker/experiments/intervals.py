"""Intervals around an effect: for one look, for as many looks as anybody likes, and for both.

``fixed`` is right for the one look that was planned. ``anytime`` is a confidence sequence: with probability 1 - alpha the truth
is in it at all looks at once, so it may be looked at every hour and acted on (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
"Time-uniform central limit theory and asymptotic confidence sequences", equation 9 of arXiv 2103.06476v7). It is wider, by half
and more. ``hybrid`` splits the error: a fifth of it is spent on stopping early, when an effect is large, and the rest on one
fixed interval at the planned size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from tastemaker.errors import InputError
from tastemaker.experiments.effects import Effect
from tastemaker.experiments.moments import Numbers

ALPHA = 0.05
SHARE = 0.2  # of the error: spent on stopping early
EARLY, LATE = 0.01, 0.04
PLANNED = 10_000  # units for which an unplanned sequence is tightest


@dataclass(frozen=True)
class Bounds:
    """An effect between two bounds; ``final``: it may not be looked at again, since the planned size is reached."""

    value: Numbers
    low: Numbers
    high: Numbers
    alpha: float
    final: bool = False

    @property
    def beyond(self) -> Numbers:
        """Whether 0 is outside."""
        return (self.low > 0) | (self.high < 0)


def fixed(effect: Effect, alpha: float = ALPHA) -> Bounds:
    """For one look: Welch's t interval."""
    return around(effect, special.stdtrit(effect.df, 1 - probability(alpha) / 2) * effect.se, alpha, final=True)


def anytime(effect: Effect, alpha: float = ALPHA, planned: float = PLANNED) -> Bounds:
    """For any number of looks. It is tightest around ``planned`` units in all, which must not change meanwhile."""
    return around(effect, stretch(effect.n, probability(alpha), planned) * effect.se, alpha)


def hybrid(effect: Effect, planned: float, early: float = EARLY, late: float = LATE) -> Bounds:
    """``anytime`` at ``early`` until there are ``planned`` units in all, then ``fixed`` at ``late``, for one look."""
    sequence, end = anytime(effect, early, planned), fixed(effect, late)
    at_end = np.asarray(effect.n) >= planned
    low, high = (np.where(at_end, getattr(end, side), getattr(sequence, side))[()] for side in ("low", "high"))
    return Bounds(effect.value, low, high, early + late, bool(np.all(at_end)))


def split(alpha: float) -> tuple[float, float]:
    """The error of looks before the planned size, and that of the one look there.

    >>> tuple(round(part, 6) for part in split(0.05)) == (EARLY, LATE)
    True
    """
    return SHARE * alpha, (1 - SHARE) * alpha


def stretch(n: Numbers, alpha: float, planned: float) -> Numbers:
    """How many standard errors wide one side of the sequence is after ``n`` units."""
    word = -2 * np.log(alpha)
    rho2 = (word + np.log(word + 1)) / planned  # tightest there: section B.2 of the paper
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(2 * (n * rho2 + 1) / (n * rho2) * np.log(np.sqrt(n * rho2 + 1) / alpha))


def one_sided(effect: Effect, alpha: float = ALPHA, planned: float = PLANNED) -> tuple[Numbers, Numbers]:
    """The lower and the upper bound of a sequence that each hold alone: for guardrails, which ask about one side."""
    both = anytime(effect, 2 * alpha, planned)
    return both.low, both.high


def p_value(effect: Effect) -> Numbers:
    """Of ``fixed``: how often chance alone is as far from 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * special.stdtr(effect.df, -np.abs(effect.value / effect.se))


def anytime_p(effect: Effect, planned: float = PLANNED, alpha: float = ALPHA) -> Numbers:
    """The smallest alpha whose sequence, tuned for ``alpha``, leaves 0 out; valid at any look."""
    word = -2 * np.log(alpha)
    rho2 = (word + np.log(word + 1)) / planned
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = (effect.value / effect.se) ** 2 * (effect.n * rho2) / (2 * (effect.n * rho2 + 1))
        return np.minimum(1.0, np.sqrt(effect.n * rho2 + 1) * np.exp(-distance))


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """P-values of several questions that may be read together (Holm, 1979).

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    found: dict[str, float] = {}
    least = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        least = max(least, min(1.0, (len(p_values) - rank) * p))
        found[name] = least
    return found


def around(effect: Effect, half: Numbers, alpha: float, final: bool = False) -> Bounds:
    return Bounds(effect.value, effect.value - half, effect.value + half, alpha, final)


def probability(alpha: float) -> float:
    if not 0 < alpha < 1:
        raise InputError("alpha", alpha, "give a probability between 0 and 1")
    return alpha
