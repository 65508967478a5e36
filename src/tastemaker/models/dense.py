"""Models whose scores are made row by row: a block of dense scores at a time, and the best of each row.

Whoever can say ``scores(histories)``, (rows, items), gets ``recommend`` from here. Factor models do without: their scores are
never all there (``topk.top_scores``).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tastemaker.models import Recommendations
from tastemaker.models.interactions import Bools, Floats, Histories, Rows, known
from tastemaker.models.topk import require_rows, select, without

BLOCK = 64  # rows whose dense scores are held at once

Scores = Callable[[Histories], Floats]
"""Histories to dense scores, (rows, items)."""


def best_of(
    scores: Scores,
    histories: Histories,
    k: int,
    exclude: Rows | None = None,
    allowed: Bools | None = None,
    floor: float = -np.inf,
) -> Recommendations:
    """``Recommender.recommend`` by dense scores. Nothing for rows that say nothing, nor at or below ``floor``."""
    excluded = histories if exclude is None else exclude
    require_rows(excluded, len(histories))
    if len(histories) <= BLOCK:
        return without(select(scores(histories), k, excluded, allowed, floor), ~known(histories))
    parts = []
    for start in range(0, len(histories), BLOCK):
        stop = min(start + BLOCK, len(histories))
        block = histories.take(np.arange(start, stop))
        parts.append(best_of(scores, block, k, excluded.part(start, stop), allowed, floor))
    return Recommendations(np.concatenate([part.items for part in parts]), np.concatenate([part.scores for part in parts]))
