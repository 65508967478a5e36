"""The arithmetic of ``ease``: a dense Gramian, its inverse in place, and the regression's weights from that.

Up to ``DOUBLE`` items all is done in float64, where the ridge may be as small as one likes. Beyond, memory is what is short
and float32 takes a third of it: the inverse is made in the matrix's own memory, and so are the weights. The error of a weight
grows with the matrix's condition, which is at most 1 + items / reg, since no eigenvalue is above the trace: three digits are
right at worst for 20,000 items and the default ``reg``, and on real data more. Where none would be left, Cholesky's own check
fails, and the model says so instead of giving noise.

Only the triangle with j >= i is filled and inverted; LAPACK, which reads columns where numpy writes rows, calls it the lower.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from tastemaker.errors import InputError
from tastemaker.models.interactions import Floats, Histories, Ints, Longs
from tastemaker.models.topk import PARALLEL

Reals = npt.NDArray[Any]

DOUBLE = 8192  # items up to which the inverse is made in float64: 0.8 GB
LANES = 64  # item i belongs to lane i mod 64
TILE = 64  # items; two tiles of the matrix stay in the cache while one is turned into the other


def peak_bytes(items: int) -> int:
    """Memory of a fit: the matrix, and beside one of float64 the float32 weights."""
    return items * items * (12 if items <= DOUBLE else 4)


def gram(rows: Histories, columns: Histories, user_damp: Floats) -> Reals:
    """X' diag(user_damp) X, (items, items), of which only j >= i is filled. ``columns``: the rows transposed.

    Sums run over all pairs of events, so an item that occurs twice in a history counts with its summed reward.
    """
    matrix = np.zeros((len(columns), len(columns)), np.float64 if len(columns) <= DOUBLE else np.float32)
    with PARALLEL:
        fill_gram(
            *(columns.indptr, columns.items, columns.weights, rows.indptr, rows.items, rows.weights),
            *(user_damp, matrix),
        )
    return matrix


def regression(matrix: Reals, ridge: float, target_damp: Floats) -> Floats:
    """I - P diag(1 / diag P), columns times ``target_damp``, in float32; P is the inverse of matrix + ridge I.

    Destroys ``matrix``. Raises ``InputError`` where it has no inverse in its precision.
    """
    np.fill_diagonal(matrix, matrix.diagonal() + ridge)
    wide = matrix.dtype == np.float64
    factorise, invert = (lapack.dpotrf, lapack.dpotri) if wide else (lapack.spotrf, lapack.spotri)
    turned, failed = factorise(matrix.T, lower=1, clean=0, overwrite_a=1)  # .T: a view in the order that LAPACK works in
    if failed == 0:
        turned, failed = invert(turned, lower=1, overwrite_c=1)
    if failed != 0:
        raise InputError("ridge", ridge, "the items' Gramian has no inverse in this precision; raise models.ease.reg")
    inverse = turned.T
    columns = -target_damp / inverse.diagonal()
    weights = inverse if inverse.dtype == np.float32 else np.empty(inverse.shape, np.float32)
    with PARALLEL:
        spread(inverse, columns.astype(np.float32), weights)
    return weights


@numba.njit(cache=True, nogil=True, parallel=True)
def fill_gram(
    item_indptr: Longs,
    item_users: Ints,
    item_weights: Floats,
    user_indptr: Longs,
    user_items: Ints,
    user_weights: Floats,
    user_damp: Floats,
    matrix: Reals,
) -> None:
    """Each item's line is one thread's alone, summed in the order of its users."""
    for first in numba.prange(LANES):
        for item in range(first, len(matrix), LANES):
            line = matrix[item]
            for event in range(item_indptr[item], item_indptr[item + 1]):
                user = item_users[event]
                share = item_weights[event] * user_damp[user]
                for entry in range(user_indptr[user], user_indptr[user + 1]):
                    target = user_items[entry]
                    if target >= item:
                        line[target] += share * user_weights[entry]


@numba.njit(cache=True, nogil=True, parallel=True)
def spread(inverse: Reals, columns: Floats, weights: Floats) -> None:
    """weights[i, j] = P[i, j] * columns[j] off the diagonal, from the half with j >= i; ``weights`` may be ``inverse`` itself.

    A pair of tiles, one above the diagonal and its mirror, is one thread's alone, and each number is read before it is
    written over.
    """
    n = len(inverse)
    tiles = (n + TILE - 1) // TILE
    for row in numba.prange(tiles):
        for column in range(row, tiles):
            for i in range(row * TILE, min((row + 1) * TILE, n)):
                for j in range(max(i + 1, column * TILE), min((column + 1) * TILE, n)):
                    value = inverse[i, j]
                    weights[i, j] = value * columns[j]
                    weights[j, i] = value * columns[i]
        for i in range(row * TILE, min((row + 1) * TILE, n)):
            weights[i, i] = 0
