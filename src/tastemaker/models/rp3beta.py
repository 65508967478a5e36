"""RP3beta: a random walk of three steps from a user over what others had, with popular ends held back.

The graph's edges are pairs of user and item, weighted by rewards; a step goes along an edge with a probability in proportion
to its weight. The walk goes from the user to an item of his history, on to another user, and on to that user's items. With
every probability raised to ``alpha`` (Cooper et al. 2014, P3alpha) and the end j's popularity divided out (Paudel et al.
2016, "Updatable, accurate, diverse, and scalable recommendations for interactive applications", eq. 5):

    s(u, j) = sum over items i, users v  (w_ui / D_u)^alpha  (w_vi / D_i)^alpha  (w_vj / D_v)^alpha  /  D_j^beta

D are sums of rewards. The last two steps do not depend on the user: they are the table, of which each item keeps its
``neighbours`` best targets, and the first step is the weight of a history's entry. Beta = 0 is P3alpha itself.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import msgspec
import numpy as np
from msgspec import Meta

from tastemaker.models import Progress, silent
from tastemaker.models.interactions import Histories, Interactions, row_sums, trainable, transposed
from tastemaker.models.item_knn import nearest
from tastemaker.models.linear import Linear
from tastemaker.models.pairs import paired, powered, with_weights
from tastemaker.models.similarity import Walk, damping
from tastemaker.models.space import between


class Rp3BetaParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``rp3beta``."""

    neighbours: Annotated[int, Meta(ge=1, le=10_000, extra=between(50, 1000, log=True))] = 200
    """Targets kept for each item."""
    alpha: Annotated[float, Meta(ge=0, le=4, extra=between(0.3, 1.5))] = 0.7
    """Power of each step's probability: below one, roads past busy users and popular items count more."""
    beta: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 0.8))] = 0.4
    """How much popular targets are held back; the larger, the further into the tail recommendations reach; 0 is P3alpha."""


class Rp3Beta(Linear):
    """One table: where two steps from each item end."""

    kind: ClassVar[str] = "rp3beta"
    Params: ClassVar[type[msgspec.Struct]] = Rp3BetaParams

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        params, n_items = self.params, len(data.items)
        walk = last_steps(paired(trainable(data)), n_items, params.alpha, params.beta)
        self.tables = (nearest(*walk, min(params.neighbours, n_items), progress),)
        self.items = data.items
        return self

    def query(self, histories: Histories) -> Histories:
        """The first step: each entry's share of its history, to the power of alpha."""
        totals = np.repeat(row_sums(histories, histories.weights), histories.lengths)
        used = histories.weights > 0
        shares = np.where(used, histories.weights / np.where(totals > 0, totals, 1), 1) ** self.params.alpha
        return with_weights(histories, np.where(used, shares, 0).astype(np.float32))


def last_steps(pairs: Histories, items: int, alpha: float, beta: float) -> Walk:
    """From item to user to item: a power of a quotient is the quotient of the powers, so the degrees go into the damping."""
    columns = transposed(pairs, items)
    degrees = row_sums(columns, columns.weights)
    users = damping(row_sums(pairs, pairs.weights), alpha)
    rows = powered(pairs, alpha)
    return Walk(rows, powered(columns, alpha), users, damping(degrees, alpha), damping(degrees, beta))
