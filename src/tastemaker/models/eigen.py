"""Eigenvectors of small symmetric matrices, without waking LAPACK's threads.

LAPACK's own threads meet at a barrier for every column. On a machine with other work one of them is always late, and the
others spin: a matrix of 256 then takes half a second instead of ten milliseconds. Here the serial part is a chain of
scalars, and what is left is cut into pieces that need no barrier: Householder reflections make the matrix tridiagonal,
implicit QL with Wilkinson's shift diagonalises that and writes its rotations down (Golub and Van Loan, Matrix Computations,
section 8.3), and then rotations and reflections are applied to columns and to rows of the vectors, a piece to a thread.
Larger matrices go to LAPACK, whose method does less work on them.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import scipy.linalg

from tastemaker.models.interactions import Ints
from tastemaker.models.workers import share

Doubles = npt.NDArray[np.float64]

LARGEST = 256  # from here on LAPACK is faster even so
COLUMNS = 64
TOGETHER = 8  # rows that stay in the first cache while the reflections pass
ROTATIONS = 4  # times n^2 that there is room for; about one is needed
SWEEPS = 30  # times n, after which it is given up; two are needed
EPSILON = 2.0**-53


def eigen(matrix: Doubles) -> tuple[Doubles, Doubles]:
    """Eigenvalues (n,), in no order, and eigenvectors (n, n), in columns, of a symmetric matrix of finite numbers."""
    n = len(matrix)
    if n > LARGEST:
        return lapack(matrix)
    diagonal, beside, reflections = np.empty(n), np.zeros(n), np.zeros((n, n))
    tridiagonalise(matrix.copy(), diagonal, beside, reflections)
    places, turns = np.empty(ROTATIONS * n * n + n, np.int32), np.empty((ROTATIONS * n * n + n, 2))
    count = diagonalise(diagonal, beside, places, turns)
    if count < 0:
        return lapack(matrix)
    vectors = np.eye(n)  # in rows
    pieces = -(-n // COLUMNS)
    share(lambda piece: turn_columns(vectors, piece * COLUMNS, min(n, (piece + 1) * COLUMNS), places, turns, count), pieces)
    share(lambda piece: reflect_rows(vectors, piece * COLUMNS, min(n, (piece + 1) * COLUMNS), reflections), pieces)
    return diagonal, vectors.T


def lapack(matrix: Doubles) -> tuple[Doubles, Doubles]:
    values, vectors = scipy.linalg.eigh(matrix, driver="evd", check_finite=False)
    return values, vectors


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def tridiagonalise(matrix: Doubles, diagonal: Doubles, beside: Doubles, reflections: Doubles) -> None:
    """Overwrites the matrix. Row k of ``reflections`` is u of the k-th reflection I - u u', zero up to place k."""
    n = len(matrix)
    w = np.empty(n)
    for k in range(n - 2):
        u = reflections[k]
        norm = 0.0
        for i in range(k + 1, n):
            u[i] = matrix[k, i]
            norm += u[i] * u[i]
        norm = np.sqrt(norm)
        diagonal[k] = matrix[k, k]
        beside[k] = norm if u[k + 1] < 0 else -norm
        u[k + 1] -= beside[k]
        length = norm * (norm + abs(matrix[k, k + 1]))  # half the square of u
        if length == 0.0:
            u[:] = 0
            continue
        scale = 1 / np.sqrt(length)
        for i in range(k + 1, n):
            u[i] *= scale
        inner = 0.0
        for i in range(k + 1, n):
            total, line = 0.0, matrix[i]
            for j in range(k + 1, n):
                total += line[j] * u[j]
            w[i] = total
            inner += total * u[i]
        for i in range(k + 1, n):
            w[i] -= 0.5 * inner * u[i]
        for i in range(k + 1, n):
            line, ui, wi = matrix[i], u[i], w[i]
            for j in range(k + 1, n):
                line[j] -= ui * w[j] + wi * u[j]
    for k in range(max(0, n - 2), n):
        diagonal[k] = matrix[k, k]
    if n > 1:
        beside[n - 2] = matrix[n - 2, n - 1]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def diagonalise(d: Doubles, e: Doubles, places: Ints, turns: Doubles) -> int:
    """Implicit QL on diagonal d and the numbers e beside it, in place; d becomes the eigenvalues.

    Rotation r mixes rows places[r] and places[r] + 1 by turns[r] = (cosine, sine). Returns how many there are; -1 where
    they are too many.
    """
    n, count, sweeps = len(d), 0, 0
    least = EPSILON * (np.abs(d).max() + np.abs(e).max())  # smaller numbers are rounding of the largest
    for low in range(n):
        while True:
            end = low
            while end < n - 1 and abs(e[end]) > least:
                end += 1
            if end == low:
                break
            sweeps += 1
            if count + end - low > len(places) or sweeps > SWEEPS * n:
                return -1
            ahead = (d[low + 1] - d[low]) / (2 * e[low])
            root = np.sqrt(ahead * ahead + 1)
            bulge = d[end] - d[low] + e[low] / (ahead + (root if ahead >= 0 else -root))
            cosine, sine, shift, whole = 1.0, 1.0, 0.0, True
            for i in range(end - 1, low - 1, -1):
                up, along = sine * e[i], cosine * e[i]
                root = np.sqrt(up * up + bulge * bulge)
                e[i + 1] = root
                if root == 0.0:  # it falls apart here
                    d[i + 1] -= shift
                    e[end] = 0.0
                    whole = False
                    break
                sine, cosine = up / root, bulge / root
                bulge = d[i + 1] - shift
                root = (d[i] - bulge) * sine + 2 * cosine * along
                shift = sine * root
                d[i + 1] = bulge + shift
                bulge = cosine * root - along
                places[count], turns[count, 0], turns[count, 1] = i, cosine, sine
                count += 1
            if whole:
                d[low] -= shift
                e[low], e[end] = bulge, 0.0
    return count


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def turn_columns(vectors: Doubles, first: int, last: int, places: Ints, turns: Doubles, count: int) -> None:
    """All rotations, on some columns."""
    part = vectors[:, first:last].copy()
    for turn in range(count):
        upper, lower = part[places[turn]], part[places[turn] + 1]
        cosine, sine = turns[turn, 0], turns[turn, 1]
        for c in range(last - first):
            a, b = upper[c], lower[c]
            lower[c] = sine * a + cosine * b
            upper[c] = cosine * a - sine * b
    vectors[:, first:last] = part


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def reflect_rows(vectors: Doubles, first: int, last: int, reflections: Doubles) -> None:
    """All reflections, the last first, on some rows."""
    n = len(reflections)
    for start in range(first, last, TOGETHER):
        for k in range(n - 3, -1, -1):
            u = reflections[k]
            for row in range(start, min(start + TOGETHER, last)):
                x, total = vectors[row], 0.0
                for c in range(k + 1, n):
                    total += u[c] * x[c]
                for c in range(k + 1, n):
                    x[c] -= total * u[c]
