"""A model of yesterday's vocabulary, judged on today's events.

Numbers of items belong to one model. To compare the live model with a candidate on the same users, histories are handed to
it in its own numbers and its lists come back in the split's; items that one side does not know are left out.
"""

from __future__ import annotations

import numpy as np

from tastemaker.evaluation.evaluate import Recommend
from tastemaker.models import Recommendations, Recommender
from tastemaker.models.interactions import Histories, Ints, Vocabulary


def translated(model: Recommender, vocabulary: Vocabulary) -> Recommend:
    """``model.recommend`` as if it spoke ``vocabulary``."""
    if model.items.ids == vocabulary.ids:
        return model.recommend
    inward = mapping(vocabulary, model.items)
    outward = mapping(model.items, vocabulary)

    def recommend(histories: Histories, k: int) -> Recommendations:
        found = model.recommend(renumbered(histories, inward), k)
        items = np.where(found.items >= 0, outward[found.items], np.int32(-1))
        order = np.argsort(items < 0, axis=1, kind="stable")
        scores = np.where(items >= 0, found.scores, -np.inf).astype(np.float32)
        return Recommendations(np.take_along_axis(items, order, axis=1), np.take_along_axis(scores, order, axis=1))

    return recommend


def mapping(source: Vocabulary, target: Vocabulary) -> Ints:
    """(source items,) the number in the target, -1 where it has none.

    >>> mapping(Vocabulary(("a", "b")), Vocabulary(("b",))).tolist()
    [-1, 0]
    """
    return np.array([target.number.get(item, -1) for item in source.ids], np.int32)


def renumbered(histories: Histories, to: Ints) -> Histories:
    """Histories in other numbers, without the entries that have none."""
    items = to[histories.items]
    keep = items >= 0
    before = np.concatenate([[0], np.cumsum(keep)])
    return Histories(before[histories.indptr], items[keep], histories.weights[keep], histories.times[keep])
