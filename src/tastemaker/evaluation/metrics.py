"""How good ranked lists are, user by user.

Libraries disagree about these definitions (Tamm, Damdinov, Vasilev: "Quality Metrics in Recommender Systems: Do We
Calculate Metrics Consistently?", RecSys 2021), so this file fixes them: those of trec_eval, over the whole catalogue.
Gains are 0 or 1, average precision is divided by *all* relevant items, the ideal DCG ranks min(relevant, k) items, a list
that is too short is wrong in its missing places. Every metric is a value per user, so that each mean gets an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tastemaker.errors import ConfigError, InputError, did_you_mean
from tastemaker.models.interactions import Bools, Ints, Longs, Rows

Doubles: TypeAlias = npt.NDArray[np.float64]

METRICS: dict[str, str] = {
    "precision@k": "Relevant items among the first k, divided by k.",
    "recall@k": "Relevant items among the first k, divided by all relevant items of the user.",
    "ndcg@k": "Discounted gain of the first k (1 / log2(rank + 1) for a relevant item), divided by the best that is possible.",
    "map@k": "Precision at the rank of each relevant item among the first k, summed and divided by all relevant items.",
    "mrr@k": "One divided by the rank of the first relevant item, 0 if it is not among the first k.",
    "hit_rate@k": "1 if there is a relevant item among the first k, else 0.",
    "coverage@k": "Share of the catalogue that is among the first k of at least one user.",
    "gini@k": "Inequality of how often items are among the first k: 0 if all alike, near 1 if few items take all places.",
    "novelty@k": "Mean surprise of the recommended items: minus log2 of an item's share of all training events, in bits.",
}
PER_USER = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate")


def evaluate_lists(items: Ints, relevant: Rows, ks: Sequence[int]) -> dict[str, Doubles]:
    """Every accuracy metric of every user: ``{"ndcg@10": (users,), ...}``.

    ``items``: (users, places), best first, each item once, padded with -1. ``relevant``: a row of items per user, at least
    one each (leave the others out before and count them; ``splits`` does). Raises ``InputError`` otherwise.

    >>> lists = np.array([[3, 1, 2]], dtype=np.int32)
    >>> wanted = Rows(np.array([0, 2]), np.array([1, 7], dtype=np.int32))
    >>> {name: round(float(value[0]), 3) for name, value in evaluate_lists(lists, wanted, [2]).items()}
    {'precision@2': 0.5, 'recall@2': 0.5, 'ndcg@2': 0.387, 'map@2': 0.25, 'mrr@2': 0.5, 'hit_rate@2': 1.0}
    """
    hits, wanted = hits_of(items, relevant)
    hits = padded(hits, max(ks))  # (users, places)
    ranks = np.arange(1, hits.shape[1] + 1)
    discounts = 1.0 / np.log2(ranks + 1.0)
    found = np.cumsum(hits, axis=1)  # (users, places), hits up to each rank
    gain = np.cumsum(hits * discounts, axis=1)
    ideal = np.cumsum(discounts)
    precision_at_hits = np.cumsum(hits * found / ranks, axis=1)
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)  # (users,), rank of the first hit
    result: dict[str, Doubles] = {}
    for k in ks:
        result[f"precision@{k}"] = found[:, k - 1] / k
        result[f"recall@{k}"] = found[:, k - 1] / wanted
        result[f"ndcg@{k}"] = gain[:, k - 1] / ideal[np.minimum(wanted, k) - 1]
        result[f"map@{k}"] = precision_at_hits[:, k - 1] / wanted
        result[f"mrr@{k}"] = np.where(first <= k, 1.0 / first, 0.0)
        result[f"hit_rate@{k}"] = (found[:, k - 1] > 0).astype(np.float64)
    return result


def hits_of(items: Ints, relevant: Rows) -> tuple[Bools, Longs]:
    """Which places hold a relevant item, (users, places), and how many relevant items each user has, (users,)."""
    if len(items) != len(relevant):
        raise InputError("relevant", len(relevant), f"there are {len(items)} lists; give one row of relevant items per list")
    stride = 1 + int(max(items.max(initial=0), relevant.items.max(initial=0)))
    rows = np.arange(len(items), dtype=np.int64)
    # (row, item) as one sorted number: one binary search per place, and neighbours stay near in memory
    keys = np.unique(np.repeat(rows, relevant.lengths) * stride + relevant.items)
    wanted = np.bincount(keys // stride, minlength=len(items)).astype(np.int64)
    if not wanted.all():
        row = int(np.flatnonzero(wanted == 0)[0])
        raise InputError(f"relevant[{row}]", [], "leave users without a relevant item out, and count them")
    in_order = np.sort(items, axis=1)
    twice = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)
    if twice.any():
        row = int(np.flatnonzero(twice.any(axis=1))[0])
        raise InputError(f"items[{row}]", items[row].tolist(), "an item may stand in a list only once")
    asked = rows[:, None] * stride + items
    place = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
    hits = (keys[place] == asked) & (items >= 0) if len(keys) else np.zeros(items.shape, np.bool_)
    return hits, wanted


def padded(hits: Bools, k: int) -> Bools:
    """The first ``k`` places, with misses where lists are shorter."""
    missing = k - hits.shape[1]
    return hits[:, :k] if missing <= 0 else np.pad(hits, ((0, 0), (0, missing)))


def beyond(items: Ints, popularity: npt.NDArray[np.integer], n_items: int, ks: Sequence[int]) -> dict[str, float]:
    """Coverage, Gini and novelty of the lists as a whole.

    ``items``: (users, places), padded with -1. ``popularity``: (n_items,), training events of each item; one event is added
    to each, so that the novelty of an item without events is finite. Without any recommendation all is 0.

    >>> lists = np.array([[0, 1], [0, 2]], dtype=np.int32)
    >>> beyond(lists, np.array([3, 1, 1, 0]), 4, [1])
    {'coverage@1': 0.25, 'gini@1': 0.75, 'novelty@1': 1.1699250014423124}
    """
    surprise = -np.log2((popularity + 1.0) / (popularity.sum() + n_items))  # (n_items,), bits
    result: dict[str, float] = {}
    for k in ks:
        shown = items[:, :k]
        shown = shown[shown >= 0]
        exposure = np.bincount(shown, minlength=n_items)
        result[f"coverage@{k}"] = float(np.count_nonzero(exposure) / n_items) if n_items else 0.0
        result[f"gini@{k}"] = gini(exposure)
        result[f"novelty@{k}"] = float(surprise[shown].mean()) if len(shown) else 0.0
    return result


def gini(counts: npt.NDArray[np.integer]) -> float:
    """The Gini coefficient: 0 if all counts are alike, 1 - 1/n if one has everything.

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    total, n = counts.sum(), len(counts)
    if not total:
        return 0.0
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float((weights * np.sort(counts)).sum() / (n * total))


def metric_of(name: str, ks: Sequence[int]) -> str:
    """Checks a metric's name against the cut-offs that are computed.

    >>> metric_of("ndgc@10", [5, 10])
    Traceback (most recent call last):
    tastemaker.errors.ConfigError: evaluate.metric = 'ndgc@10': did you mean "ndcg@10"?
    """
    known = [f"{metric}@{k}" for metric in PER_USER for k in ks]
    if name not in known:
        raise ConfigError(f"evaluate.metric = {name!r}: {did_you_mean(name, known)}")
    return name
