"""What a step of iALS does with the events of a row: each vector is read once, for its inner product and its share of the sum.

``accumulate`` has two forms. Training is float32 and goes through vector registers (``gathers``), four events at a time,
asking for the vectors of later events before their turn. Fold-in is float64 and is left to the compiler.
"""

# ruff: noqa: ARG001 - numba wants the same parameters in all forms

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import overload

from tastemaker.models.gathers import LINE, fetch_ahead, four_dots, subtract_four
from tastemaker.models.interactions import Floats, Ints
from tastemaker.models.tiles import LANES

Reals = npt.NDArray[np.floating]

AHEAD = 16  # events between asking for a vector and reading it
OPTIONS: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract"}}


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def dot(a: Reals, b: Reals) -> np.floating:
    total = a.dtype.type(0)
    for c in range(len(a)):
        total += a[c] * b[c]
    return total


def accumulate(fixed: Floats, others: Ints, weights: Floats, target: Reals, x: Reals, total: Reals, first: bool) -> float:
    """Adds w (target - q . x) q of each event to ``total``; returns the sum of w (target - q . x)^2.

    target: (1,). ``first``: the vectors are not in the cache yet. Callable from kernels alone.
    """
    raise NotImplementedError("accumulate is chosen by type when a kernel is compiled; call it from one")


@overload(accumulate, jit_options=OPTIONS)
def accumulate_by_type(fixed: Any, others: Any, weights: Any, target: Any, x: Any, total: Any, first: Any) -> Any:
    """The form for these types; numba compares signatures word for word, hence ``Any`` in all of them."""
    return in_registers if x.dtype == types.float32 else in_loops


def in_loops(fixed: Any, others: Any, weights: Any, target: Any, x: Any, total: Any, first: Any) -> Any:
    """For any type."""
    squares = 0.0
    for e in range(len(others)):
        q, miss = fixed[others[e]], -target[0]
        for c in range(len(x)):
            miss += q[c] * x[c]
        part = weights[e] * miss
        squares += part * miss
        for c in range(len(x)):
            total[c] -= part * q[c]
    return squares


def in_registers(fixed: Any, others: Any, weights: Any, target: Any, x: Any, total: Any, first: Any) -> Any:
    """For float32. The last four events may be fewer: then one of them stands in for the others, with no weight."""
    f, wanted, base, squares, none = len(x), target[0], fixed.ctypes.data, 0.0, np.float32(0)
    stride, count, vectors = 4 * f, len(others), f // LANES
    whole = vectors * LANES
    if first:
        for e in range(min(AHEAD, count)):
            for line in range(0, stride, LINE):
                fetch_ahead(base + others[e] * stride + line)
    for e in range(0, count, 4):
        left = count - e
        i0 = others[e]
        i1, i2, i3 = others[e + 1] if left > 1 else i0, others[e + 2] if left > 2 else i0, others[e + 3] if left > 3 else i0
        w0, w1, w2, w3 = weights[e], none, none, none
        if left > 3:
            w1, w2, w3 = weights[e + 1], weights[e + 2], weights[e + 3]
        elif left > 1:
            w1 = weights[e + 1]
            if left > 2:
                w2 = weights[e + 2]
        if first:
            for later in range(e + AHEAD, min(e + AHEAD + 4, count)):
                for line in range(0, stride, LINE):
                    fetch_ahead(base + others[later] * stride + line)
        q0, q1, q2, q3 = base + i0 * stride, base + i1 * stride, base + i2 * stride, base + i3 * stride
        m0, m1, m2, m3 = -wanted, -wanted, -wanted, -wanted
        if vectors > 0:
            d0, d1, d2, d3 = four_dots(q0, q1, q2, q3, x.ctypes.data, vectors)
            m0, m1, m2, m3 = d0 - wanted, d1 - wanted, d2 - wanted, d3 - wanted
        for c in range(whole, f):
            m0 += fixed[i0, c] * x[c]
            m1 += fixed[i1, c] * x[c]
            m2 += fixed[i2, c] * x[c]
            m3 += fixed[i3, c] * x[c]
        s0, s1, s2, s3 = w0 * m0, w1 * m1, w2 * m2, w3 * m3
        squares += s0 * m0 + s1 * m1 + s2 * m2 + s3 * m3
        if vectors > 0:
            subtract_four(q0, q1, q2, q3, s0, s1, s2, s3, total.ctypes.data, vectors)
        for c in range(whole, f):
            total[c] -= s0 * fixed[i0, c] + s1 * fixed[i1, c] + s2 * fixed[i2, c] + s3 * fixed[i3, c]
    return squares
