"""The two computations of nonnegative factorisation: learning both factors, and one side's exact least squares."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from tastemaker.models import Progress
from tastemaker.models.interactions import Bools, Floats, Ints, Longs

Doubles = npt.NDArray[np.float64]

TINY = float(np.finfo(np.float32).eps)  # instead of a denominator of zero
RIDGE = 0.01  # of the mean diagonal: where little is known, the mixture stays small instead of running off along one type
SWEEPS = 20_000
TOLERANCE = 1e-12


def factorise(
    matrix: Doubles, mask: Bools, left: Doubles, right: Doubles, epochs: int, progress: Progress
) -> tuple[Doubles, Doubles, tuple[float, ...]]:
    """Multiplicative updates from W = ``left`` (rows, types), H = ``right`` (types, columns), for the masked entries.

    Lee & Seung 2001, equation 4, with the mask on both sides. ``matrix`` is 0 where ``mask`` is False. Returns W, H and the
    squared error after each epoch, which never rises.
    """
    losses = []
    for epoch in range(epochs):
        left = left * ratio(matrix @ right.T, (mask * (left @ right)) @ right.T)
        right = right * ratio(left.T @ matrix, left.T @ (mask * (left @ right)))
        losses.append(float((((left @ right - matrix) * mask) ** 2).sum()))
        progress(epoch + 1, epochs, f"loss {losses[-1]:.6g}")
    return left, right, tuple(losses)


def ratio(above: Doubles, below: Doubles) -> Doubles:
    return above / np.where(below == 0, TINY, below)


def ridge_of(types: Doubles) -> float:
    """The penalty on the squared length of a mixture."""
    return RIDGE * max(float((types**2).sum()) / max(len(types), 1), 1e-30)


def mixtures(matrix: Doubles, mask: Bools, types: Doubles) -> Doubles:
    """Each row's W >= 0 with the least squared error over its known entries + ridge |W|^2, (rows, types)."""
    found = np.zeros((len(matrix), len(types)))
    ridge = ridge_of(types) * np.eye(len(types))
    whole = types @ types.T + ridge
    known = mask.sum(axis=1)
    right = matrix @ types.T  # unknown entries are 0
    for row in range(len(matrix)):
        if known[row] == 0:
            continue
        seen = types[:, mask[row]]
        descend(whole if known[row] == mask.shape[1] else seen @ seen.T + ridge, right[row], found[row])
    return found


@numba.njit(cache=True, nogil=True)
def descend(matrix: Doubles, right: Doubles, x: Doubles) -> None:
    """Coordinate descent on x' A x / 2 - r' x, x >= 0, from ``x``, in place; A is positive definite, so there is one minimum."""
    for _ in range(SWEEPS):
        moved, largest = 0.0, 0.0
        for one in range(len(x)):
            gradient = -right[one]
            for other in range(len(x)):
                gradient += matrix[one, other] * x[other]
            goal = max(0.0, x[one] - gradient / matrix[one, one])
            moved = max(moved, abs(goal - x[one]))
            largest = max(largest, goal)
            x[one] = goal
        if moved <= TOLERANCE * largest:
            break


@numba.njit(cache=True, nogil=True)
def add_shares(indptr: Longs, items: Ints, weights: Floats, profiles: Floats, totals: Doubles) -> None:
    """Adds to each row of ``totals`` (rows, categories) its entries' weights times their items' shares (items, categories)."""
    for row in range(len(totals)):
        for entry in range(indptr[row], indptr[row + 1]):
            weight, shares = np.float64(weights[entry]), profiles[items[entry]]
            for category in range(len(shares)):
                totals[row, category] += np.float64(shares[category]) * weight
