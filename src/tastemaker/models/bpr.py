"""BPR: vectors trained so that what a user has ranks above what he has not.

Rendle et al. 2009 ("BPR: Bayesian personalized ranking from implicit feedback", BPR-Opt, section 4.1): over pairs (u, i) and
items j that u does not have, minimise

    sum of  - c_ui ln sigma(x_ui - x_uj)  +  reg / 2 (|p_i|^2 + |q_i|^2)

A user is a history here too, so his vector is made of it as in FISM (Kabbur et al. 2013, eq. 4), with one vector of an item
as a part of histories, p, and one as a target, q:

    x_uj = q_j . sum over the history's items e other than i  w_e p_e  /  (sum of these w)^norm

In training the positive i itself is left out, or it would learn to point to itself. w_e is the summed reward of a pair and
c_ui is w_ui over the mean of all. There is no bias: popularity is one more direction of the vectors, and scores remain sums over
the history. Of ``candidates`` drawn items the one that scores highest is j (Zhang et al. 2013, "Optimizing top-N collaborative
filtering via dynamic negative item sampling", algorithm 2): most items teach nothing once they rank below.

``losses`` are those of a fixed sample of pairs against plainly drawn items, one for each: they fall, but the steps are random,
so that a later one may be a little above an earlier one.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import msgspec
import numpy as np
from msgspec import Meta

from tastemaker.models import Progress, silent
from tastemaker.models.bpr_training import Trainer
from tastemaker.models.interactions import Histories, Interactions, item_counts, row_sums, trainable
from tastemaker.models.linear import Linear
from tastemaker.models.pairs import paired, with_weights
from tastemaker.models.space import between
from tastemaker.models.tables import LowRank


class BprParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``bpr``."""

    factors: Annotated[int, Meta(ge=1, le=2048, extra=between(32, 256, log=True))] = 64
    """Dimensions of the vectors."""
    epochs: Annotated[int, Meta(ge=1, le=1000, extra=between(5, 40, log=True))] = 10
    """Passes over the pairs."""
    rate: Annotated[float, Meta(gt=0, extra=between(0.02, 0.3, log=True))] = 0.1
    """Length of the first step of each number; Adagrad shortens the later ones."""
    reg: Annotated[float, Meta(ge=0, extra=between(0.001, 0.1, log=True))] = 0.01
    """Strength of the L2 penalty, counted once for each pair of an item."""
    norm: Annotated[float, Meta(ge=0, le=1, extra=between(0.2, 1.0))] = 0.5
    """How much a long history is held back: 0 sums its items, 1 takes their mean."""
    candidates: Annotated[int, Meta(ge=1, le=1024, extra=between(4, 64, log=True))] | None = None
    """Items drawn for each pair, of which the one with the highest score is the negative; 1 is plain BPR. Unset, one for every
    500 items (``default_candidates``): with more of them the negative is often something that the user would like."""
    negative_power: Annotated[float, Meta(ge=0, le=1, extra=between(0.0, 1.0))] = 0.0
    """Candidates are drawn in proportion to their number of events to this power: 0 draws all alike."""


def default_candidates(items: int) -> int:
    """One for every 500 items, between 4 and 64.

    >>> default_candidates(100), default_candidates(3_416), default_candidates(40_981)
    (4, 6, 64)
    """
    return min(64, max(4, items // 500))


class Bpr(Linear):
    """One table, a product of the vectors as parts of histories and those as targets."""

    kind: ClassVar[str] = "bpr"
    Params: ClassVar[type[msgspec.Struct]] = BprParams

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:
        params, pairs = self.params, paired(trainable(data))
        candidates = params.candidates or default_candidates(len(data.items))
        trainer = Trainer(params, candidates, pairs, item_counts(pairs, len(data.items)), np.random.default_rng(seed))
        losses = []
        for epoch in range(params.epochs):
            trainer.run()
            losses.append(trainer.loss())
            progress(epoch + 1, params.epochs, f"loss {losses[-1]:.6g}")
        self.tables = (LowRank(trainer.left.vectors, trainer.right.vectors),)
        self.items, self.losses = data.items, tuple(losses)
        return self

    def query(self, histories: Histories) -> Histories:
        """Each entry's weight over the power of its history's sum."""
        totals = np.repeat(row_sums(histories, histories.weights), histories.lengths)
        shares = histories.weights * np.where(totals > 0, np.maximum(totals, 1e-30) ** -self.params.norm, 0)
        return with_weights(histories, shares.astype(np.float32))
