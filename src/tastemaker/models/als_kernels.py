"""The arithmetic of iALS: one row's least squares, over all rows, in the eigenbasis of the fixed side.

``solve_row`` is the only solver: a few warm-started steps in training, until convergence when a history is folded in. Rows
are dealt out to a fixed number of lanes, and nothing is added up across lanes but in their order: the result has the same
bits on any number of threads.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import scipy.linalg

from tastemaker.models.interactions import Floats, Histories, Ints, Longs
from tastemaker.models.topk import FEW, PARALLEL

Doubles = npt.NDArray[np.float64]
Reals = npt.NDArray[np.floating]

LANES = 64  # row r belongs to lane r mod 64: popular rows, which often come first, are spread
STEPS = 2  # preconditioned steps per training half-step; two do better than three plain ones
TOLERANCE = 1e-7  # of the residual in fold-in, relative to that at the start, in the preconditioner's norm
BLOCK = 8192


def gramian(factors: Floats) -> Doubles:
    """factors.T @ factors, (f, f), added up in float64 block by block."""
    total = np.zeros((factors.shape[1], factors.shape[1]))
    for start in range(0, len(factors), BLOCK):
        block = factors[start : start + BLOCK]
        total += block.T @ block
    return total


def eigenbasis(factors: Floats) -> tuple[Doubles, Floats]:
    """Eigenvalues (f,) and eigenvectors (f, f), in columns, of the Gramian."""
    values, vectors = scipy.linalg.eigh(gramian(factors), driver="evd")
    return np.maximum(values, 0.0), np.ascontiguousarray(vectors.astype(np.float32))


def half_step(fixed: Floats, rows: Histories, dense: Doubles, ridge: Doubles, moving: Floats) -> None:
    """Moves every row some steps towards its minimum, in place.

    fixed: (n, f), dense: (f,), ridge: (rows,), moving: (rows, f). The dense part of row r is diag(dense + ridge[r]).
    """
    narrow = (dense.astype(np.float32), ridge.astype(np.float32))
    with PARALLEL:
        sweep(fixed, rows.indptr, rows.items, rows.weights, *narrow, moving, STEPS, 0.0)


def solve_exactly(fixed: Floats, rows: Histories, dense: Doubles, ridge: Doubles) -> Floats:
    """Every row's minimum, from zero, (rows, f). In float64, since a few weak directions would cost float32 its digits."""
    solved = np.zeros((len(rows), fixed.shape[1]))
    steps = 4 * fixed.shape[1] + 10  # exact arithmetic needs at most f
    arguments = (fixed, rows.indptr, rows.items, rows.weights, dense, ridge, solved, steps)
    if len(rows) <= FEW:
        lane(0, 1, *arguments, TOLERANCE)
    else:
        with PARALLEL:
            sweep(*arguments, TOLERANCE)
    return solved.astype(np.float32)


def entry_shares(fixed: Floats, others: Ints, weights: Floats, diagonal: Doubles, right: Floats) -> Floats:
    """w q . A^-1 r for each r of ``right`` (n, f) and each event (q, w): (n, entries), A = diag(diagonal) + sum of w q q'.

    By one thread and without BLAS, whose threads may take milliseconds to wake: this runs inside requests.
    """
    solved = right.astype(np.float64)
    cholesky_solve(fixed, others, weights, diagonal, solved)
    parts = np.empty((len(right), len(others)), np.float32)
    share_out(fixed, others, weights, solved, parts)
    return parts


def observed_loss(users: Floats, items: Floats, rows: Histories) -> float:
    """Sum over events of w (1 - x)^2."""
    with PARALLEL:
        parts = event_losses(users, items, rows.indptr, rows.items, rows.weights)
    return float(parts.sum())


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def dot(a: Reals, b: Reals) -> np.floating:
    total = a.dtype.type(0)
    for c in range(len(a)):
        total += a[c] * b[c]
    return total


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def solve_row(
    fixed: Floats,
    others: Ints,
    weights: Floats,
    dense: Reals,
    ridge: float,
    x: Reals,
    scratch: Reals,
    steps: int,
    tolerance: float,
) -> None:
    """Preconditioned conjugate gradients on (diag(dense + ridge) + sum of w q q') x = sum of w q, from ``x``, in place.

    fixed: (n, f), q = fixed[others]. scratch: (4, f), whose type is that of the arithmetic.
    """
    residual, direction, product, diagonal = scratch[0], scratch[1], scratch[2], scratch[3]
    for c in range(len(x)):
        diagonal[c] = dense[c] + ridge
        residual[c] = -diagonal[c] * x[c]
    for entry in range(len(others)):
        q, w = fixed[others[entry]], weights[entry]
        share = w - w * dot(q, x)  # a literal 1 would make float64 of it
        for c in range(len(x)):
            residual[c] += share * q[c]
    norm = dense[0] * 0
    for c in range(len(x)):
        direction[c] = residual[c] / diagonal[c]
        norm += residual[c] * direction[c]
    goal = norm * tolerance * tolerance
    for step in range(steps):
        if norm <= goal:
            break
        for c in range(len(x)):
            product[c] = diagonal[c] * direction[c]
        for entry in range(len(others)):
            q = fixed[others[entry]]
            share = weights[entry] * dot(q, direction)
            for c in range(len(x)):
                product[c] += share * q[c]
        length = norm / dot(direction, product)
        for c in range(len(x)):
            x[c] += length * direction[c]
        if step + 1 == steps:
            break
        before, norm = norm, dense[0] * 0
        for c in range(len(x)):
            residual[c] -= length * product[c]
            norm += residual[c] * residual[c] / diagonal[c]
        turn = norm / before
        for c in range(len(x)):
            direction[c] = residual[c] / diagonal[c] + turn * direction[c]


@numba.njit(cache=True, nogil=True)
def lane(
    first: int,
    lanes: int,
    fixed: Floats,
    indptr: Longs,
    items: Ints,
    weights: Floats,
    dense: Reals,
    ridge: Reals,
    moving: Reals,
    steps: int,
    tolerance: float,
) -> None:
    """Every ``lanes``-th row from the first one on. A row without a single term is at zero and stays there."""
    scratch = np.empty((4, fixed.shape[1]), moving.dtype)
    for row in range(first, len(moving), lanes):
        start, stop = indptr[row], indptr[row + 1]
        if start == stop:
            moving[row] = 0
            continue
        solve_row(fixed, items[start:stop], weights[start:stop], dense, ridge[row], moving[row], scratch, steps, tolerance)


@numba.njit(cache=True, nogil=True, parallel=True)
def sweep(
    fixed: Floats,
    indptr: Longs,
    items: Ints,
    weights: Floats,
    dense: Reals,
    ridge: Reals,
    moving: Reals,
    steps: int,
    tolerance: float,
) -> None:
    """All rows, lane by lane."""
    for first in numba.prange(LANES):
        lane(first, LANES, fixed, indptr, items, weights, dense, ridge, moving, steps, tolerance)


@numba.njit(cache=True, nogil=True, parallel=True, fastmath={"reassoc", "contract"})
def event_losses(users: Floats, items: Floats, indptr: Longs, others: Ints, weights: Floats) -> Doubles:
    """Each lane's part of the loss, (LANES,)."""
    parts = np.zeros(LANES)
    for first in numba.prange(LANES):
        total = 0.0
        for row in range(first, len(users), LANES):
            for entry in range(indptr[row], indptr[row + 1]):
                miss = 1 - dot(users[row], items[others[entry]])
                total += weights[entry] * miss * miss
        parts[first] = total
    return parts


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def cholesky_solve(fixed: Floats, others: Ints, weights: Floats, diagonal: Doubles, right: Doubles) -> None:
    """A^-1 r for each row r of ``right``, in place. Row-wise, so that all inner loops run along memory."""
    f = len(diagonal)
    lower = np.zeros((f, f))
    for entry in range(len(others)):
        q = fixed[others[entry]].astype(np.float64)
        for i in range(f):
            share = weights[entry] * q[i]
            for j in range(i + 1):
                lower[i, j] += share * q[j]
    for i in range(f):
        lower[i, i] += diagonal[i]
        for j in range(i):
            lower[i, j] = (lower[i, j] - inner(lower[i], lower[j], j)) / lower[j, j]
        lower[i, i] = np.sqrt(lower[i, i] - inner(lower[i], lower[i], i))
    for row in range(len(right)):
        x = right[row]
        for i in range(f):
            x[i] = (x[i] - inner(lower[i], x, i)) / lower[i, i]
        for i in range(f - 1, -1, -1):
            x[i] /= lower[i, i]
            for j in range(i):
                x[j] -= x[i] * lower[i, j]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def inner(a: Doubles, b: Doubles, length: int) -> float:
    total = 0.0
    for c in range(length):
        total += a[c] * b[c]
    return total


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def share_out(fixed: Floats, others: Ints, weights: Floats, solved: Doubles, parts: Floats) -> None:
    """parts[i, e] = weight of event e times the inner product of its vector and solved[i]."""
    for row in range(len(solved)):
        for entry in range(len(others)):
            parts[row, entry] = weights[entry] * dot(solved[row], fixed[others[entry]])
