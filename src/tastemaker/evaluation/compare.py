"""How sure are we of a mean, and of a difference?

Users differ far more than models do, so a difference is taken user by user, on the same users. Intervals are percentile
bootstraps over users (Efron and Tibshirani, 1993, chapter 13): no assumption on the distribution of a metric, which is
never normal for one user.
"""

from __future__ import annotations

import numpy as np

from tastemaker.domain import Interval
from tastemaker.errors import InputError
from tastemaker.evaluation.metrics import Doubles

BLOCK = 1_000_000
"""Draws made at once; 16 MB of memory."""


def interval(values: Doubles, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0) -> Interval:
    """The mean of (users,) values with its bootstrap interval. NaN without values.

    >>> interval(np.array([0.0, 1.0, 1.0, 0.0]), resamples=200).value
    0.5
    """
    n = len(values)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    means = resampled_means(np.asarray(values, np.float64)[:, None], resamples, seed)[:, 0]
    return bounds(float(np.mean(values)), means, confidence, n)


def intervals(
    values: dict[str, Doubles], *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """``interval`` of many metrics of the same users, with the same draws for all: (users,) each."""
    names = list(values)
    if not names or not len(values[names[0]]):
        return {name: interval(values[name]) for name in names}
    table = np.column_stack([values[name] for name in names])  # (users, metrics)
    means = resampled_means(table, resamples, seed)  # (resamples, metrics)
    return {name: bounds(float(table[:, m].mean()), means[:, m], confidence, len(table)) for m, name in enumerate(names)}


def paired_difference(a: Doubles, b: Doubles, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0) -> Interval:
    """The mean of ``a - b`` over the same users, (users,) each, with its interval."""
    if len(a) != len(b):
        raise InputError("b", f"{len(b)} users", f"compare on the same users as the other side has ({len(a)})")
    return interval(np.asarray(a) - np.asarray(b), confidence=confidence, resamples=resamples, seed=seed)


def resampled_means(table: Doubles, resamples: int, seed: int) -> Doubles:
    """Means of resamples of the rows with replacement, (resamples, columns), from (rows, columns)."""
    rng = np.random.default_rng(seed)
    n = len(table)
    at_once = max(1, BLOCK // n)
    means = np.empty((resamples, table.shape[1]))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = rng.integers(0, n, (size, n))  # (size, rows)
        counts = np.empty((size, n))  # how often each row was drawn, so that all columns share one matrix product
        for place in range(size):
            counts[place] = np.bincount(drawn[place], minlength=n)
        means[start : start + size] = counts @ table / n
    return means


def bounds(mean: float, means: Doubles, confidence: float, n: int) -> Interval:
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(mean, float(low), float(high), n)
