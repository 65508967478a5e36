"""What makes a slate more than its best items: penalties for the sampler, and one method of its own.

A penalty is in units of relevance (``sampler.scaled``), so it can be weighed against a standard deviation of the scores. With
temperature 0 the sampler makes the greedy slate of a penalty: maximal marginal relevance, calibration, caps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemaker.errors import InputError

Doubles = npt.NDArray[np.float64]
SMOOTH = 0.01  # of the target in a slate's shares, so that no divergence is infinite
MOST = 300  # candidates of a determinantal point process: its kernel has their square


def normalised(vectors: npt.ArrayLike) -> Doubles:
    """(candidates, features) rows of length 1; rows of zeros stay."""
    found = np.asarray(vectors, np.float64)
    lengths = np.sqrt((found**2).sum(1, keepdims=True))
    return found / np.where(lengths > 0, lengths, 1.0)


@dataclass(frozen=True)
class Similar:
    """Maximal marginal relevance: ``weight`` times the cosine to the nearest item above (Carbonell and Goldstein, SIGIR 1998).

    ``vectors``: (candidates, features), of length 1: factors of a model, or categories.
    """

    vectors: Doubles
    weight: float

    def begin(self) -> Nearest:
        return Nearest(self.vectors, self.weight)


class Nearest:
    """The prefix of ``Similar``."""

    def __init__(self, vectors: Doubles, weight: float) -> None:
        self.vectors, self.weight = vectors, weight
        self.nearest = np.zeros(len(vectors))

    @property
    def penalty(self) -> Doubles:
        return self.weight * self.nearest

    def add(self, item: int) -> None:
        np.maximum(self.nearest, self.vectors @ self.vectors[item], out=self.nearest)


@dataclass(frozen=True)
class Cap:
    """At most ``most`` items of any group: of a category, of a maker. ``groups``: (candidates, groups), True for a member."""

    groups: npt.NDArray[np.bool_]
    most: int

    def begin(self) -> Counted:
        return Counted(self.groups, self.most)


class Counted:
    """The prefix of ``Cap``."""

    def __init__(self, groups: npt.NDArray[np.bool_], most: int) -> None:
        self.groups, self.most = groups, most
        self.counts = np.zeros(groups.shape[1], np.int64)

    @property
    def penalty(self) -> Doubles:
        return np.where(self.groups[:, self.counts >= self.most].any(1), np.inf, 0.0)

    def add(self, item: int) -> None:
        self.counts += self.groups[item]


@dataclass(frozen=True)
class Calibrated:
    """``weight`` times the divergence of the slate's categories from the user's (Steck, "Calibrated recommendations", 2018).

    ``shares``: (candidates, categories), each row adding up to 1; ``target``: (categories,), those of the user's history.
    """

    shares: Doubles
    target: Doubles
    weight: float

    def begin(self) -> Mixed:
        return Mixed(self)


class Mixed:
    """The prefix of ``Calibrated``."""

    def __init__(self, rule: Calibrated) -> None:
        self.rule = rule
        self.total = np.zeros(rule.shares.shape[1])
        self.count = 0

    @property
    def penalty(self) -> Doubles:
        return self.rule.weight * divergence(self.rule.target, (self.total + self.rule.shares) / (self.count + 1))

    def add(self, item: int) -> None:
        self.total = self.total + self.rule.shares[item]
        self.count += 1


def divergence(target: Doubles, shares: Doubles) -> Doubles:
    """Kullback and Leibler's, of ``target`` (categories,) from ``shares`` (..., categories), which are smoothed a little.

    >>> round(float(divergence(np.array([0.5, 0.5]), np.array([0.5, 0.5]))), 6)
    0.0
    """
    smoothed = (1 - SMOOTH) * shares + SMOOTH * target
    there = target > 0
    return np.asarray((target[there] * np.log(target[there] / smoothed[..., there])).sum(-1))


def dpp_greedy(kernel: npt.ArrayLike, k: int) -> list[int]:
    """The ``k`` items that a determinantal point process likes best, found greedily: the largest determinant of their kernel.

    ``kernel``: (candidates, candidates), symmetric: quality of one times similarity times quality of the other. The determinant
    grows by a Cholesky row for each item (Chen, Zhang and Zhou, "Fast greedy MAP inference for determinantal point process",
    NeurIPS 2018). Fewer than ``k`` where no other item adds anything. Raises ``InputError`` for more than ``MOST`` candidates.
    """
    rows = np.asarray(kernel, np.float64)
    if rows.ndim != 2 or rows.shape[0] != rows.shape[1] or len(rows) > MOST:
        raise InputError("kernel", rows.shape, f"give a square of {MOST} candidates at most: the best by relevance")
    gains, factors = rows.diagonal().copy(), np.zeros((k, len(rows)))
    chosen: list[int] = []
    while len(chosen) < min(k, len(rows)):
        best = int(gains.argmax())
        if not gains[best] > 1e-10:
            break
        done = len(chosen)
        factors[done] = (rows[best] - factors[:done, best] @ factors[:done]) / np.sqrt(gains[best])
        gains = gains - factors[done] ** 2
        chosen.append(best)
        gains[chosen] = -np.inf
    return chosen
