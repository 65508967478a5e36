"""Training of iALS: half-steps in turn, each in the eigenbasis of the side that stands still.

Apart from the model, which serves: the users' factors, the rows of both sides and their penalties are needed here alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemaker.models.als_kernels import STEPS, half_step
from tastemaker.models.als_products import eigenbasis, rotate
from tastemaker.models.interactions import Floats, Histories

Doubles = npt.NDArray[np.float64]

FIRST_STEPS = 8  # of the users' first half-step where the items are known already: it begins at zero


def random_factors(rows: int, f: int, seed: int) -> Floats:
    """Small normal numbers, (rows, f), of standard deviation 0.1 / sqrt(f)."""
    numbers = np.random.default_rng(seed).standard_normal((rows, f), dtype=np.float32)
    numbers *= np.float32(0.1 / np.sqrt(f))
    return numbers


@dataclass
class Alternation:
    """Two sides that take turns. ``rows`` are the users' events, ``columns`` the same by item; ridges are (rows,) each."""

    rows: Histories
    columns: Histories
    user_ridge: Doubles
    item_ridge: Doubles
    alpha0: float
    users: Floats
    items: Floats

    def epoch(self, first_steps: int = STEPS) -> float:
        """Moves the users, then the items, in place. Returns the loss afterwards."""
        spectrum = self.turn(self.items)
        _, penalty = half_step(self.items, self.rows, self.alpha0 * spectrum, self.user_ridge, self.users, first_steps)
        spectrum = self.turn(self.users)
        loss, _ = half_step(self.users, self.columns, self.alpha0 * spectrum, self.item_ridge, self.items)
        return loss + penalty

    def turn(self, fixed: Floats) -> Doubles:
        """Rotates both sides into the eigenbasis of one; returns its eigenvalues. No score changes."""
        spectrum, basis = eigenbasis(fixed)
        rotate(self.items, basis)
        rotate(self.users, basis)
        return spectrum
