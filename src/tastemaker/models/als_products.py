"""Gramians, rotations and lengths of factors: the dense products of iALS, from register tiles on threads that end.

They are written here, not left to BLAS, for its threads would still be spinning on the cores when the sparse half begins.
Sums are taken in blocks of fixed size and added in fixed order.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from tastemaker.models.eigen import eigen
from tastemaker.models.interactions import Floats
from tastemaker.models.tiles import ROWS, WIDTH, multiply
from tastemaker.models.topk_kernels import pack
from tastemaker.models.workers import share

Doubles = npt.NDArray[np.float64]

BLOCK = 128  # rows that are summed in float32 before they are added in float64
PIECE = 40 * ROWS  # rows that a thread rotates at a time
PARTS = 16
PART_NUMBERS = 1 << 22  # float64 numbers that the parts of a Gramian may take together


def gramian(factors: Floats) -> Doubles:
    """factors.T @ factors, (f, f), exactly symmetric."""
    f = factors.shape[1]
    count = max(1, min(PARTS, PART_NUMBERS // (f * f), -(-len(factors) // BLOCK)))
    parts = np.zeros((count, f, f))
    blocks = -(-len(factors) // BLOCK)

    def work(part: int) -> None:
        add_gramian(factors, blocks * part // count * BLOCK, min(len(factors), blocks * (part + 1) // count * BLOCK), parts[part])

    share(work, count)
    upper = np.triu(parts.sum(axis=0))
    total: Doubles = upper + np.triu(upper, 1).T
    return total


def eigenbasis(factors: Floats) -> tuple[Doubles, Floats]:
    """Eigenvalues (f,) and eigenvectors (f, f), in columns, of the Gramian."""
    values, vectors = eigen(gramian(factors))
    return np.maximum(values, 0.0), np.ascontiguousarray(vectors.astype(np.float32))


def rotate(factors: Floats, basis: Floats) -> None:
    """factors @ basis, in place. factors: (n, f), basis: (f, f)."""
    f = len(basis)
    panels = np.empty((-(-f // WIDTH), f, WIDTH), np.float32)
    pack(np.ascontiguousarray(basis.T), np.arange(f, dtype=np.int32), 0, len(panels), panels)
    share(
        lambda piece: rotate_rows(factors, piece * PIECE, min(len(factors), (piece + 1) * PIECE), panels),
        -(-len(factors) // PIECE),
    )


@numba.njit(cache=True, nogil=True)
def rotate_rows(factors: Floats, first: int, last: int, panels: Floats) -> None:
    f = factors.shape[1]
    packed, tile = np.zeros((f, ROWS), np.float32), np.empty((ROWS, WIDTH), np.float32)
    for start in range(first, last, ROWS):
        count = min(ROWS, last - start)
        for row in range(count):
            for c in range(f):
                packed[c, row] = factors[start + row, c]
        for panel in range(len(panels)):
            multiply(packed.ctypes.data, ROWS, panels[panel].ctypes.data, WIDTH, f, tile.ctypes.data)
            for row in range(count):
                for column in range(min(WIDTH, f - panel * WIDTH)):
                    factors[start + row, panel * WIDTH + column] = tile[row, column]


@numba.njit(cache=True, nogil=True)
def add_gramian(factors: Floats, first: int, last: int, total: Doubles) -> None:
    """Adds the upper half, and some of the lower, of the Gramian of rows ``first`` to ``last``."""
    f = factors.shape[1]
    stride = f + max(WIDTH, ROWS) + (-f) % 16 + 16  # past the end for whole tiles, and no power of two, which caches dislike
    block, tile = np.zeros((BLOCK, stride), np.float32), np.empty((ROWS, WIDTH), np.float32)
    for start in range(first, last, BLOCK):
        count = min(BLOCK, last - start)
        block[:count, :f] = factors[start : start + count]
        for top in range(0, f, ROWS):
            for left in range(top - top % WIDTH, f, WIDTH):
                multiply(block.ctypes.data + 4 * top, stride, block.ctypes.data + 4 * left, stride, count, tile.ctypes.data)
                for row in range(min(ROWS, f - top)):
                    for column in range(min(WIDTH, f - left)):
                        total[top + row, left + column] += tile[row, column]


@numba.njit(cache=True, nogil=True)
def column_squares(factors: Floats) -> Doubles:
    """The diagonal of the Gramian, (f,)."""
    totals = np.zeros(factors.shape[1])
    for row in range(len(factors)):
        for c in range(factors.shape[1]):
            totals[c] += np.float64(factors[row, c]) * np.float64(factors[row, c])
    return totals
