"""One model, judged: lists for all test users, metrics with intervals, slices, and how long an answer takes.

A model is anything that turns histories into lists, so what is judged can be the model alone or, by ``with_fallback``, what
users would really get.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tastemaker.domain import Interval
from tastemaker.errors import InputError
from tastemaker.evaluation.compare import intervals
from tastemaker.evaluation.metrics import Doubles, beyond, evaluate_lists
from tastemaker.evaluation.splits import Split
from tastemaker.models import Progress, Recommendations, silent
from tastemaker.models.interactions import Bools, Histories, Ints, Longs, Rows

Recommend: TypeAlias = Callable[[Histories, int], Recommendations]
"""Histories and k in, the k best items of each out; ``Recommender.recommend`` is one."""

TIMED = 30
"""Calls with a single user behind the latency."""
HEAD = 0.8
"""Share of the training events that the popular items hold; all other items are the tail."""


@dataclass(frozen=True)
class Evaluation:
    """What is known of a model's quality. Arrays are aligned with ``rows``."""

    intervals: dict[str, Interval]  # metric -> mean over users
    per_user: dict[str, Doubles]  # metric -> (users,)
    slices: dict[str, dict[str, Interval]]  # "new users", "known users", "tail items" -> the same; empty ones are left out
    beyond: dict[str, float]  # coverage, gini, novelty
    users: int
    rows: Longs  # (users,), ``Split.users``
    excluded: dict[str, int]  # reason -> how many were left out
    seconds: float  # for all lists
    latency_ms: float  # median for one user
    touched: float = 1.0  # share of the items that have training events: what most models can cover at all


def evaluate(
    recommend: Recommend,
    split: Split,
    ks: Sequence[int],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    block: int = 1024,
    progress: Progress = silent,
    popularity: Longs | None = None,
) -> Evaluation:
    """Judges a model on a split, over the full catalogue, in blocks of users.

    ``popularity``: (items,), events behind the novelty and the tail; None takes the training events. Raises ``InputError``
    if no user has a relevant item.
    """
    if not len(split):
        raise InputError("split", split.excluded, "no user has a relevant item: hold out more events or bring more data")
    popularity = split.popularity if popularity is None else popularity
    began = time.perf_counter()
    lists = lists_of(recommend, split.histories, max(ks), block, progress)
    seconds = time.perf_counter() - began
    per_user = evaluate_lists(lists, split.relevant, ks)

    def estimate(values: dict[str, Doubles]) -> dict[str, Interval]:
        return intervals(values, confidence=confidence, resamples=resamples, seed=seed)

    slices = {}
    for name, chosen in (("new users", split.new), ("known users", ~split.new)):
        if chosen.any():
            slices[name] = estimate({metric: values[chosen] for metric, values in per_user.items()})
    rare, wanted = tail_only(split.relevant, tail(popularity))
    if rare.any():
        slices["tail items"] = estimate(evaluate_lists(lists[rare], wanted, ks))
    return Evaluation(
        intervals=estimate(per_user),
        per_user=per_user,
        slices=slices,
        beyond=beyond(lists, popularity, len(popularity), ks),
        users=len(split),
        rows=split.users,
        excluded=split.excluded,
        seconds=seconds,
        latency_ms=latency(recommend, split.histories, max(ks), seed),
        touched=float((popularity > 0).mean()) if len(popularity) else 1.0,
    )


def lists_of(recommend: Recommend, histories: Histories, k: int, block: int, progress: Progress) -> Ints:
    """The lists of all rows, (rows, k), padded with -1."""
    lists = np.full((len(histories), k), -1, np.int32)
    for start in range(0, len(lists), block):
        rows = np.arange(start, min(start + block, len(lists)))
        found = recommend(histories.take(rows), k).items[:, :k]
        lists[rows, : found.shape[1]] = found
        progress(int(rows[-1]) + 1, len(lists), "users")
    return lists


def latency(recommend: Recommend, histories: Histories, k: int, seed: int) -> float:
    """Median milliseconds of a call with one user, after one call that nobody times."""
    rows = np.random.default_rng(seed).choice(len(histories), min(TIMED, len(histories)), replace=False)
    one_by_one = [histories.take(rows[place : place + 1]) for place in range(len(rows))]
    recommend(one_by_one[0], k)
    taken = []
    for history in one_by_one:
        began = time.perf_counter()
        recommend(history, k)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken) * 1000.0)


def tail(popularity: Longs) -> Bools:
    """Which items are not among the most popular ones that together hold ``HEAD`` of the events, (items,).

    >>> tail(np.array([80, 15, 5, 0])).tolist()
    [False, True, True, True]
    """
    order = np.argsort(-popularity, kind="stable")
    held_before = np.cumsum(popularity[order]) - popularity[order]
    result = np.empty(len(popularity), np.bool_)
    result[order] = held_before >= HEAD * popularity.sum()
    return result


def tail_only(relevant: Rows, rare: Bools) -> tuple[Bools, Rows]:
    """The users with a relevant item in the tail, (users,), and only these items of theirs."""
    keep = rare[relevant.items]
    before = np.concatenate([[0], np.cumsum(keep)])[relevant.indptr]
    chosen = np.diff(before) > 0
    return chosen, Rows(np.concatenate([[0], before[1:][chosen]]), relevant.items[keep])


def with_fallback(model: Recommend, fallback: Recommend) -> Recommend:
    """What users get: where the model has too few items for a row, the fallback's follow, as in serving.

    No item comes twice, and both are asked in their own way to leave out what the user already took. Scores of the two are
    not comparable: those of the fallback's items continue downwards from the model's last.
    """

    def recommend(histories: Histories, k: int) -> Recommendations:
        own = model(histories, k)
        short = np.flatnonzero((own.items < 0).any(axis=1) | (own.items.shape[1] < k))
        if not len(short):
            return own
        items = np.full((len(histories), k), -1, np.int32)
        scores = np.full((len(histories), k), -np.inf, np.float32)
        items[:, : own.items.shape[1]], scores[:, : own.items.shape[1]] = own.items, own.scores
        more = fallback(histories.take(short), k).items  # k are enough: whatever repeats is a place that is filled
        mine = items[short]
        repeated = (more[:, :, None] == mine[:, None, :]).any(axis=2)
        both = np.concatenate([mine, np.where(repeated, -1, more)], axis=1)  # (short, 2k)
        order = np.argsort(both < 0, axis=1, kind="stable")[:, :k]
        items[short] = np.take_along_axis(both, order, axis=1)
        filled = (mine >= 0).sum(axis=1, keepdims=True)
        last = np.where(filled > 0, np.take_along_axis(scores[short], np.maximum(filled - 1, 0), axis=1), 0.0)
        place = np.arange(k)[None, :]
        continued = np.where(place < filled, scores[short], last - (place - filled + 1))
        scores[short] = np.where(items[short] >= 0, continued, -np.inf)
        return Recommendations(items, scores)

    return recommend
