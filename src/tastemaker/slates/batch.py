"""Slates for many users at once: one call of the model a block, the same slates as ``compose`` one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tastemaker.domain import History
from tastemaker.models import IMPERSONAL
from tastemaker.models.interactions import Floats, Histories, Ints, Rows
from tastemaker.slates.arranged import depth, refined
from tastemaker.slates.compose import Composed, compose, filled
from tastemaker.slates.sources import Shelf, Taste, Wish, explained, numbered


def compose_block(shelf: Shelf, histories: Sequence[History], k: int) -> list[Composed]:
    """The ``k`` best items for each history; histories that fill less than a slate go down the ladder by themselves."""
    model = shelf.model
    if model is None or model.kind in IMPERSONAL or not histories:
        return [one(shelf, history, k) for history in histories]
    rows = [numbered(history, model.items, shelf.half_life_days) for history in histories]
    block = stacked(rows)
    seen = Rows(block.indptr, block.items)
    many = depth(shelf, k) if shelf.rules.shaped else k
    found = model.recommend(block, many, exclude=seen, allowed=shelf.catalogue.mask(model.items))
    composed = []
    for row, history in enumerate(histories):
        items, scores = found.items[row], found.scores[row]
        if items[k - 1] < 0:
            composed.append(one(shelf, history, k))
        elif shelf.rules.shaped:
            composed.append(shaped(shelf, history, k, rows[row], items, scores))
        else:
            composed.append(Composed(tuple(explained(shelf, rows[row], items, scores)), "personal"))
    return composed


def shaped(shelf: Shelf, history: History, k: int, numbers: Histories, items: Ints, scores: Floats) -> Composed:
    """By the rules, from the candidates of one user."""
    taste, wish = Taste(history), wished(history, k)
    return filled(shelf, taste, wish, refined(shelf, taste, wish, numbers, items, scores))


def wished(history: History, k: int) -> Wish:
    return Wish(k, exclude=frozenset(history.items))


def one(shelf: Shelf, history: History, k: int) -> Composed:
    return compose(shelf, Taste(history), wished(history, k))


def stacked(rows: Sequence[Histories]) -> Histories:
    """Single-row histories as one block."""
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row.items) for row in rows], out=indptr[1:])
    return Histories(
        indptr,
        np.concatenate([row.items for row in rows]),
        np.concatenate([row.weights for row in rows]),
        np.concatenate([row.times for row in rows]),
    )
