"""Drift: how far what happens now is from what happened before, as numbers over two distributions.

Two measures, both 0 where the distributions are equal and both symmetric:

- The population stability index, sum of (p - q) ln(p / q): the symmetric divergence of Kullback and Leibler, "On information
  and sufficiency" (1951), under the name that credit scoring gave it (Siddiqi, "Credit Risk Scorecards", 2006), with its rule
  of thumb: under 0.1 nothing, over 0.25 a major shift. A share of nothing would make it infinite, so shares count as
  ``FLOOR`` at least, and it is at most about ``2 ln(1 / FLOOR)``.
- The Jensen-Shannon divergence in bits, from 0 to 1 (Lin, "Divergence measures based on the Shannon entropy", 1991).

A small sample differs from another by chance. Under no change the index of k bins over n and m observations is spread like
(1/n + 1/m) times a chi-square of k - 1 degrees (Yurdakul and Naranjo, "Statistical properties of the population stability
index", Journal of Risk Model Validation, 2020), so each finding says what chance alone reaches in one of twenty cases.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace
from scipy.special import chdtri

from tastemaker.features.catalog import BY_NAME
from tastemaker.features.kinds import Count, Decayed
from tastemaker.monitoring.samples import Sample

FLOOR = 1e-4  # the smallest share that the index reckons with
BINS = 10
TOP = 50  # of the names of a reference that count one by one
CHANCE = 0.05

Numbers = npt.NDArray[np.float64]


class Drift(Struct, frozen=True):
    """One thing that may have moved: by how much, over how many observations, and from which mean to which."""

    name: str
    psi: float
    js: float
    chance: float  # the index that chance alone reaches in one of twenty cases
    n: int  # observations now
    before_n: int
    now: float  # what people look at: a mean, a share, events per hour
    before: float
    grows: bool = False  # by itself, as a count does that nothing is taken from: told, but no sign of a shift

    @property
    def beyond_chance(self) -> bool:
        return self.psi > self.chance


def psi(p: Numbers, q: Numbers) -> float:
    """The population stability index of two distributions, each a share for each bin.

    >>> round(psi(np.array([0.5, 0.5]), np.array([0.75, 0.25])), 4)
    0.2747
    """
    p, q = np.maximum(p, FLOOR), np.maximum(q, FLOOR)
    return float(np.sum((p - q) * np.log(p / q)))


def js(p: Numbers, q: Numbers) -> float:
    """The Jensen-Shannon divergence of two distributions, in bits.

    >>> js(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    1.0
    """
    middle = (p + q) / 2
    return min(1.0, max(0.0, (relative_entropy(p, middle) + relative_entropy(q, middle)) / 2))


def relative_entropy(p: Numbers, q: Numbers) -> float:
    """Of p beside q in bits, where q is nowhere 0 unless p is."""
    there = p > 0
    return float(np.sum(p[there] * np.log2(p[there] / q[there])))


def chance(bins: int, n: int, m: int) -> float:
    """The index that is exceeded with probability ``CHANCE`` although nothing has changed."""
    return float((1 / n + 1 / m) * chdtri(bins - 1, CHANCE)) if bins > 1 else 0.0


def of_values(name: str, before: Numbers, now: Numbers) -> Drift | None:
    """The drift of a number, over tenths of what it was before; a value that is not there (NaN) is a bin of its own.

    None where one of the two is empty.
    """
    known = before[np.isfinite(before)]
    inner = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.empty(0)
    return of_counts(name, binned(before, inner), binned(now, inner), mean(before), mean(now))


def binned(values: Numbers, inner: Numbers) -> Numbers:
    """Counts of values by bin; ``inner`` are the bounds between the bins, the last count that of values that are missing."""
    there = values[np.isfinite(values)]
    counts = np.bincount(np.searchsorted(inner, there, side="left"), minlength=len(inner) + 1)
    return np.append(counts, len(values) - len(there)).astype(float)


def mean(values: Numbers) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else math.nan


def of_names(name: str, before: Mapping[str, int], now: Mapping[str, int]) -> Drift | None:
    """The drift of names by how often each occurs: the most frequent of before one by one, the others, and those never seen.

    ``now`` and ``before`` of the finding are the shares of the names that were most frequent before.
    """
    ranked = sorted(before, key=lambda each: (-before[each], each))
    top, others = ranked[:TOP], ranked[TOP:]
    rows = []
    for counts in (before, now):
        own = [counts.get(each, 0) for each in top]
        rest = sum(counts.get(each, 0) for each in others)
        rows.append(np.array([*own, rest, sum(counts.values()) - sum(own) - rest], float))
    shares = [float(row[: len(top)].sum() / row.sum()) if row.sum() else math.nan for row in rows]
    return of_counts(name, rows[0], rows[1], *shares)


def of_rates(name: str, before: int, now: int) -> Drift | None:
    """The drift of how many events there are in two intervals of the same length.

    Both as shares of their sum, beside half and half: twice as many are 0.12, three times as many 0.27. None: there are none.
    """
    total = before + now
    if not total:
        return None
    shares, half = np.array([before / total, now / total]), np.array([0.5, 0.5])
    # By chance the share of one interval is off by d with d * d = chi-square / (4 total), and the index is about 4 * d * d.
    by_chance = float(chdtri(1, CHANCE)) / total
    return Drift(name, psi(shares, half), js(shares, half), by_chance, now, before, float(now), float(before))


def of_samples(before: Sample, now: Sample) -> list[Drift]:
    """Everything that two intervals of the same length can be compared by."""
    found = [
        of_rates("events", before.events, now.events),
        of_rates("views", before.views, now.views),
        of_names("kinds", before.kinds, now.kinds),
        of_names("popularity", before.items, now.items),
    ]
    found += [of_feature(name, before.features[name], values) for name, values in now.features.items() if name in before.features]
    return [drift for drift in found if drift is not None]


def of_feature(name: str, before: Numbers, now: Numbers) -> Drift | None:
    """The drift of a feature. Counts grow with the platform's age, and decayed ones until some half-lives have passed."""
    drift = of_values(name, before, now)
    return None if drift is None else replace(drift, grows=isinstance(BY_NAME[name].kind, Count | Decayed))


def of_counts(name: str, before: Numbers, now: Numbers, before_shown: float, now_shown: float) -> Drift | None:
    """The drift between two rows of counts by bin; None where one has none."""
    n, m = int(now.sum()), int(before.sum())
    if not n or not m:
        return None
    p, q = before / m, now / n
    bins = int(np.count_nonzero(before + now))
    return Drift(name, psi(p, q), js(p, q), chance(bins, n, m), n, m, now_shown, before_shown)


def ranked(found: Iterable[Drift]) -> list[Drift]:
    """What moved most, first; then what grows by itself; what chance explains, last."""
    return sorted(found, key=lambda drift: (not drift.beyond_chance, drift.grows, -drift.psi, drift.name))


def largest(found: Iterable[Drift]) -> float:
    """The largest index of all that is more than chance and does not grow by itself; 0: nothing is."""
    return max((drift.psi for drift in found if drift.beyond_chance and not drift.grows), default=0.0)
