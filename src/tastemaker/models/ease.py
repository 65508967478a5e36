"""EASE: every item regressed on all others, in closed form.

Steck 2019 ("Embarrassingly shallow autoencoders for sparse data"): the weights B that minimise

    |X - X B|^2 + lambda |B|^2    with a diagonal of zeros,

X the users' summed rewards, are those of eq. 8, with one inverse of items x items:

    B = I - P diag(1 / diag P),    P = (X' X + lambda I)^-1

Two additions, off when their powers are zero: a user's row weighs D_u^-user_power in the sum of squares, since the 500th item
of a history says little about the others, and column j of B is divided by D_j^target_power, D = sums of rewards.

The inverse takes the cube of the items in time and their square in memory, which is why ``limit_mb`` refuses a large catalogue
before anything is allocated; ``ridge`` is the same regression on each item's neighbours, for catalogues of any size.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import msgspec
from msgspec import Meta

from tastemaker.errors import InputError
from tastemaker.models import Progress, silent
from tastemaker.models.ease_kernels import gram, peak_bytes, regression
from tastemaker.models.interactions import Interactions, row_sums, trainable, transposed
from tastemaker.models.linear import Linear
from tastemaker.models.similarity import damping
from tastemaker.models.space import between
from tastemaker.models.tables import Matrix

MEBIBYTE = 1 << 20


class EaseParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``ease``."""

    reg: Annotated[float, Meta(gt=0, extra=between(0.3, 30.0, log=True))] = 3.0
    """Lambda, in multiples of the mean of the diagonal of X'X, so that it fits any amount of data and any scale of rewards."""
    user_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 1.0))] = 0.5
    """How much a user with many events is held back as a witness."""
    target_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 0.5))] = 0.1
    """How much a popular target is held back; the larger, the further into the tail recommendations reach."""
    limit_mb: Annotated[int, Meta(ge=1)] = 2048
    """Memory that training may take, in MiB; a catalogue that needs more is refused."""


class Ease(Linear):
    """One table: the weights of all pairs of items."""

    kind: ClassVar[str] = "ease"
    Params: ClassVar[type[msgspec.Struct]] = EaseParams

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        params, rows, n_items = self.params, trainable(data), len(data.items)
        require_room(n_items, params.limit_mb)
        columns = transposed(rows, n_items)
        degrees = row_sums(columns, columns.weights)
        matrix = gram(rows, columns, damping(row_sums(rows, rows.weights), params.user_power))
        progress(1, 2, "items multiplied")
        used = max(int((degrees > 0).sum()), 1)
        ridge = params.reg * float(matrix.diagonal().sum()) / used
        self.tables = (Matrix(regression(matrix, ridge, damping(degrees, params.target_power))),)
        self.items = data.items
        progress(2, 2, "items regressed")
        return self


def require_room(items: int, limit_mb: int) -> None:
    """Raises ``InputError`` where the inverse would take more memory than it may."""
    needed = -(-peak_bytes(items) // MEBIBYTE)
    if needed > limit_mb:
        remedy = (
            f"ease holds a matrix of {items} x {items}, which takes {needed} MiB, and limit_mb allows {limit_mb}; "
            "train ridge instead, which regresses each item on its neighbours, or raise limit_mb"
        )
        raise InputError("interactions.items", items, remedy)
