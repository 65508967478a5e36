"""Sums over the units of an arm. They can be added up, and all that is concluded of an experiment is a function of them.

Every metric is a ratio of two means over units, ``y`` to ``x``: clicks to impressions, or, with ``x`` 1 for each unit, a mean.
``z`` is what was known of the unit before it met the experiment, 0 where nothing is used. Whoever makes the sums (the lake's
query, a consumer of the log, Spark) makes the same ones; of counts they are whole numbers, hence equal to the last bit in
any order.

Fields are numbers, or arrays of one shape: thousands of simulated experiments are then judged at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from tastemaker.errors import InputError

Doubles = npt.NDArray[np.float64]
Numbers = Any  # a float, or an array of them: mypy knows no type of both that numpy's operators take


@dataclass(frozen=True)
class Moments:
    """``n`` units and the sums of their values, squares and products."""

    n: Numbers = 0.0
    y: Numbers = 0.0
    yy: Numbers = 0.0
    x: Numbers = 0.0
    xx: Numbers = 0.0
    xy: Numbers = 0.0
    z: Numbers = 0.0
    zz: Numbers = 0.0
    yz: Numbers = 0.0
    xz: Numbers = 0.0

    def __add__(self, other: Moments) -> Moments:
        """Those of both together.

        >>> (Moments.of([1.0, 2.0]) + Moments.of([4.0])).y
        7.0
        """
        return Moments(*(getattr(self, name) + getattr(other, name) for name in NAMES))

    @classmethod
    def of(cls, y: npt.ArrayLike, x: npt.ArrayLike | None = None, z: npt.ArrayLike | None = None) -> Moments:
        """Of units' values, (units,) or (..., units); sums run over the last axis. Without ``x`` it is a mean.

        Raises ``InputError`` for values that are no numbers, or of another shape.
        """
        top = values("y", y)
        below = np.ones_like(top) if x is None else values("x", x)
        before = np.zeros_like(top) if z is None else values("z", z)
        for name, found in (("x", below), ("z", before)):
            if found.shape != top.shape:
                raise InputError(name, found.shape, f"give a value for each unit: {top.shape}")
        n = np.full(top.shape[:-1], float(top.shape[-1]))
        pairs = ((top, top), (below, below), (top, below), (before, before), (top, before), (below, before))
        yy, xx, xy, zz, yz, xz = (scalar(np.einsum("...i,...i->...", a, b)) for a, b in pairs)
        y_, x_, z_ = (scalar(column.sum(-1)) for column in (top, below, before))
        return cls(scalar(n), y_, yy, x_, xx, xy, z_, zz, yz, xz)

    def mean(self, name: str) -> Numbers:
        """Of ``y``, ``x`` or ``z``; NaN without units."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.divide(getattr(self, name), self.n)

    def covariance(self, a: str, b: str) -> Numbers:
        """Of two of ``y``, ``x`` and ``z`` over units, with n - 1; NaN where there are fewer than two units."""
        product = getattr(self, a + b if a + b in NAMES else b + a)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.divide(product - getattr(self, a) * self.mean(b), np.asarray(self.n) - 1.0)


NAMES = tuple(field.name for field in fields(Moments))


def values(name: str, given: npt.ArrayLike) -> Doubles:
    found = np.asarray(given, np.float64)
    if found.ndim == 0 or not np.isfinite(found).all():
        raise InputError(name, "not finite" if found.ndim else given, "give a finite number for each unit")
    return found


def scalar(found: Any) -> Numbers:
    """A number where there is one, an array where there are many."""
    return float(found) if np.ndim(found) == 0 else found


def from_columns(
    arm: Sequence[str] | npt.NDArray[Any], y: npt.ArrayLike, x: npt.ArrayLike | None = None, z: npt.ArrayLike | None = None
) -> Mapping[str, Moments]:
    """The moments of each arm, from one row a unit.

    >>> found = from_columns(["a", "b", "a"], [1.0, 2.0, 3.0])
    >>> found["a"].n, found["a"].y, found["b"].yy
    (2.0, 4.0, 4.0)
    """
    arms, top = np.asarray(arm), np.asarray(y, np.float64)
    below = None if x is None else np.asarray(x, np.float64)
    before = None if z is None else np.asarray(z, np.float64)

    def part(chosen: npt.NDArray[np.bool_]) -> Moments:
        return Moments.of(top[chosen], None if below is None else below[chosen], None if before is None else before[chosen])

    return {str(name): part(arms == name) for name in np.unique(arms)}
