"""The same things on dense matrices in float64, for tests: what sparse kernels must agree with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tastemaker.models.interactions import Histories, Interactions, Vocabulary

Doubles = npt.NDArray[np.float64]


def interactions(users: int, items: int, seed: int) -> Interactions:
    """Users with up to 14 events, some of them on the same item, some worth nothing; the last item has none."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(users):
        length = int(random.integers(0, 15))
        chosen = np.minimum(random.geometric(0.1, length) - 1, items - 2)
        rows.append((chosen.tolist(), random.choice([-1.0, 0.0, 1.0, 2.5], length).tolist(), list(range(length))))
    return Interactions(tuple(map(str, range(users))), Vocabulary(tuple(map(str, range(items)))), Histories.of(rows))


def rewards(data: Interactions) -> Doubles:
    """Sums of rewards, (users, items)."""
    matrix = np.zeros((len(data.users), len(data.items)))
    row = np.repeat(np.arange(len(data.users)), data.histories.lengths)
    np.add.at(matrix, (row, data.histories.items), np.maximum(data.histories.weights, 0))
    return matrix


def damp(degrees: Doubles, power: float) -> Doubles:
    return np.where(degrees > 0, np.maximum(degrees, 1e-9) ** -power, 0)
