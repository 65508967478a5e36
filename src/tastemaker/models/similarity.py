"""What makes two items alike: five textbook measures as one walk from item to user to item.

Each measure is the same sum with other weights and other damping, so that one kernel (``item_knn.find_neighbours``) serves
all of them:

    s(i, j) = sum over users  x_ui x_uj e_u  /  (a_i b_j + shrink)

The ``Walk`` that a function here returns holds x, e, 1/a and 1/b. The shrink term is that of Ferrari Dacrema et al. 2019
("Are we really making much progress?", eq. 1): it holds back pairs that few have in common.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tastemaker.models.interactions import Floats, Histories, row_sums, transposed
from tastemaker.models.pairs import lengths_squared, paired, with_weights

Doubles = npt.NDArray[np.float64]


class Walk(NamedTuple):
    """Two hops, item to user to item, and how much each stop on the way is held back."""

    rows: Histories  # row = user
    columns: Histories  # row = item
    user_damp: Floats  # (users,), e
    item_damp: Floats  # (items,), 1 / a
    target_damp: Floats  # (items,), 1 / b


def two_hop(rows: Histories, items: int, user_power: float, item_power: float, target_power: float) -> Walk:
    """The events' own rewards; e = D_u^-user_power, a = D_i^item_power, b = D_j^target_power, D = sums of rewards."""
    columns = transposed(rows, items)
    degrees = row_sums(columns, columns.weights)
    users = damping(row_sums(rows, rows.weights), user_power)
    return Walk(rows, columns, users, damping(degrees, item_power), damping(degrees, target_power))


def cosine(rows: Histories, items: int) -> Walk:
    """x = a pair's summed reward, a = |x_i|, b = |x_j| (Sarwar et al. 2001, section 3.1.1)."""
    return asymmetric(rows, items, 0.5)


def asymmetric(rows: Histories, items: int, alpha: float) -> Walk:
    """a = |x_i|^(2 alpha), b = |x_j|^(2 - 2 alpha) (Aiolli 2013, eq. 3); alpha = 1/2 is the cosine.

    Of plain events it is P(j | i)^alpha P(i | j)^(1 - alpha): the larger alpha, the less a popular target is held back.
    """
    pairs = paired(rows)
    squares = lengths_squared(pairs, items)
    ones = np.ones(len(rows), np.float32)
    return Walk(pairs, transposed(pairs, items), ones, damping(squares, alpha), damping(squares, 1 - alpha))


def bm25(rows: Histories, items: int, k1: float, b: float) -> Walk:
    """x = idf_u tf (k1 + 1) / (tf + k1 (1 - b + b D_i / mean D)), neither end held back beyond that.

    Items are documents and users their words (Robertson & Zaragoza 2009, eq. 3.15; as a weighting of users' matrices in the
    library ``implicit``): tf is a pair's summed reward, D_i an item's, idf_u = log(1 + (N - n_u + 1/2) / (n_u + 1/2)) for a
    user with n_u of the N items. A reward saturates the sooner, the smaller k1; b is how much a popular item is held back.
    """
    pairs = paired(rows)
    degrees = np.bincount(pairs.items, weights=pairs.weights, minlength=items)
    norm = k1 * (1 - b + b * degrees / degrees[degrees > 0].mean())
    counts = pairs.lengths.astype(np.float64)
    idf = np.log1p((items - counts + 0.5) / (counts + 0.5))
    frequency = pairs.weights.astype(np.float64)
    saturated = frequency * (k1 + 1) / (frequency + norm[pairs.items]) * np.repeat(idf, pairs.lengths)
    weighted = with_weights(pairs, saturated.astype(np.float32))
    ones = np.ones(items, np.float32)
    return Walk(weighted, transposed(weighted, items), np.ones(len(rows), np.float32), ones, ones)


def damping(degrees: Doubles, power: float) -> Floats:
    """degree^-power, and 0 where there is nothing to damp."""
    return np.where(degrees > 0, np.maximum(degrees, 1e-30) ** -power, 0).astype(np.float32)
