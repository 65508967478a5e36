"""The arithmetic of iALS: one row's least squares, over all rows, in the eigenbasis of the fixed side.

``solve_row`` is the only solver: a few warm-started steps in training, until convergence when a history is folded in. Rows
are dealt out to a fixed number of lanes, and nothing is added up across lanes but in their order: the result has the same
bits on any number of threads.

What costs is reading the vectors of a row's events. A step reads each once (``accumulate``): its inner product and its share
of the sum are taken while it is in the first cache, four events at a time, so that four sums run beside each other. The loss
needs no pass of its own: each step of conjugate gradients knows by how much it lowers it.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from tastemaker.models.als_steps import accumulate, dot
from tastemaker.models.interactions import Floats, Histories, Ints, Longs
from tastemaker.models.topk import FEW
from tastemaker.models.workers import share

Doubles = npt.NDArray[np.float64]
Reals = npt.NDArray[np.floating]

LANES = 64  # stretches of rows with as many events each, one behind the other as they lie in memory
STEPS = 2  # preconditioned steps per training half-step; two do better than three plain ones
TOLERANCE = 1e-7  # of the residual in fold-in, relative to that at the start, in the preconditioner's norm

FLOOR = 1e-9  # of the largest eigenvalue, for those that are zero where no penalty stands beside them


def half_step(
    fixed: Floats, rows: Histories, dense: Doubles, ridge: Doubles, moving: Floats, steps: int = STEPS
) -> tuple[float, float]:
    """Moves every row some steps towards its minimum, in place.

    fixed: (n, f), dense: (f,), ridge: (rows,), moving: (rows, f). The dense part of row r is diag(dense + ridge[r]).
    Returns what the rows have of the loss after it (all but the penalty of the fixed side), and how much of that is penalty.
    """
    parts = np.zeros((LANES, 2))
    dense = np.maximum(dense, FLOOR * dense.max())
    narrow = (dense.astype(np.float32), ridge.astype(np.float32))
    sweep(fixed, rows, *narrow, moving, steps, 0.0, parts)
    loss, penalty = parts.sum(axis=0)
    return float(loss), float(penalty)


def solve_exactly(fixed: Floats, rows: Histories, dense: Doubles, ridge: Doubles) -> Floats:
    """Every row's minimum, from zero, (rows, f). In float64, since a few weak directions would cost float32 its digits."""
    solved = np.zeros((len(rows), fixed.shape[1]))
    steps = 4 * fixed.shape[1] + 10  # exact arithmetic needs at most f
    dense = np.maximum(dense, FLOOR * dense.max())
    sweep(fixed, rows, dense, ridge, solved, steps, TOLERANCE, np.zeros((LANES, 2)))
    return solved.astype(np.float32)


def sweep(
    fixed: Floats, rows: Histories, dense: Reals, ridge: Reals, moving: Reals, steps: int, tolerance: float, parts: Doubles
) -> None:
    """All rows, lane by lane; a few rows without waking a thread."""
    arguments = (fixed, rows.indptr, rows.items, rows.weights, dense, ridge, moving, steps, tolerance)
    if len(rows) <= FEW:
        lane(0, len(rows), *arguments, parts[0])
        return
    work = rows.indptr + np.arange(len(rows) + 1)  # before each row: its events, and one for itself
    bounds = np.searchsorted(work, np.linspace(0, work[-1], LANES + 1)).tolist()
    share(lambda number: lane(bounds[number], bounds[number + 1], *arguments, parts[number]), LANES)


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
    parts = np.zeros(LANES)

    def work(first: int) -> None:
        parts[first] = event_losses(first, users, items, rows.indptr, rows.items, rows.weights)

    share(work, LANES)
    return float(parts.sum())


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def solve_row(
    fixed: Floats,
    others: Ints,
    weights: Floats,
    dense: Reals,
    ridge: float,
    x: Reals,
    scratch: Reals,
    target: Reals,
    steps: int,
    tolerance: float,
) -> float:
    """Preconditioned conjugate gradients on (diag(dense + ridge) + sum of w q q') x = sum of w q, from ``x``, in place.

    fixed: (n, f), q = fixed[others]. scratch: (4, f), whose type is that of the arithmetic. target: 1 and 0 in that type.
    Returns sum of w (1 - q . x)^2 plus x . diag(dense + ridge) x at the end: a step lowers that by length * norm.
    """
    residual, direction, product, inverse = scratch[0], scratch[1], scratch[2], scratch[3]
    loss = 0.0
    for c in range(len(x)):
        diagonal = dense[c] + ridge
        inverse[c] = target[0] / diagonal
        residual[c] = -diagonal * x[c]
        loss -= residual[c] * x[c]
    loss += accumulate(fixed, others, weights, target, x, residual, True)
    norm = dense[0] * 0
    for c in range(len(x)):
        direction[c] = residual[c] * inverse[c]
        norm += residual[c] * direction[c]
    goal = norm * tolerance * tolerance
    for step in range(steps):
        if norm <= goal:
            break
        for c in range(len(x)):
            product[c] = -(dense[c] + ridge) * direction[c]
        accumulate(fixed, others, weights, target[1:], direction, product, False)
        length = -norm / dot(direction, product)
        loss -= length * norm
        for c in range(len(x)):
            x[c] += length * direction[c]
        if step + 1 == steps:
            break
        before, norm = norm, dense[0] * 0
        for c in range(len(x)):
            residual[c] += length * product[c]
            norm += residual[c] * residual[c] * inverse[c]
        turn = norm / before
        for c in range(len(x)):
            direction[c] = residual[c] * inverse[c] + turn * direction[c]
    return loss


@numba.njit(cache=True, nogil=True)
def lane(
    first: int,
    last: int,
    fixed: Floats,
    indptr: Longs,
    items: Ints,
    weights: Floats,
    dense: Reals,
    ridge: Reals,
    moving: Reals,
    steps: int,
    tolerance: float,
    part: Doubles,
) -> None:
    """Rows ``first`` to ``last``; adds loss and penalty to ``part``, (2,).

    A row without a single term is at zero and stays there.
    """
    scratch, target = np.empty((4, fixed.shape[1]), moving.dtype), np.zeros(2, moving.dtype)
    target[0] = 1
    for row in range(first, last):
        start, stop = indptr[row], indptr[row + 1]
        if start == stop:
            moving[row] = 0
            continue
        others, x = items[start:stop], moving[row]
        part[0] += solve_row(fixed, others, weights[start:stop], dense, ridge[row], x, scratch, target, steps, tolerance)
        part[1] += ridge[row] * dot(x, x)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def event_losses(first: int, users: Floats, items: Floats, indptr: Longs, others: Ints, weights: Floats) -> float:
    """A lane's part of the loss."""
    total = 0.0
    for row in range(first, len(users), LANES):
        for entry in range(indptr[row], indptr[row + 1]):
            miss = 1 - dot(users[row], items[others[entry]])
            total += weights[entry] * miss * miss
    return total


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
