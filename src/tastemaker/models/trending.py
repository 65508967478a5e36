"""What rises: items that are taken more often of late than their past leads to expect.

Rewards are counted twice, with a short half-life and with a long one. The long count says what the short one would be if the item
had its usual share of all that happens; how far it is above that, in the manner of a standard deviation, is the score:

    z = (short - expected) / sqrt(expected + prior),    expected = long * (sum of short / sum of long)

Rewards of rare and independent events have a variance like their mean (Poisson), hence the root. ``prior`` holds back items
with a few events: one event on a new item is no trend. As shares are compared, a busy day lifts no item by itself. An item that
does not rise is not recommended.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import msgspec
import numpy as np
from msgspec import Meta

from tastemaker.errors import ConfigError
from tastemaker.models import Progress, silent
from tastemaker.models.everybody import Everybody, aged_sums
from tastemaker.models.interactions import Interactions, trainable
from tastemaker.models.space import between

ROUNDING = 1e-9  # share of a count below which a difference is none


class TrendingParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``trending``."""

    short_days: Annotated[float, Meta(gt=0, extra=between(0.25, 14.0, log=True))] = 2.0
    """Half-life of what counts as lately."""
    long_days: Annotated[float, Meta(gt=0, extra=between(14.0, 365.0, log=True))] = 30.0
    """Half-life of the past that leads to expect something; longer than ``short_days``."""
    prior: Annotated[float, Meta(gt=0, extra=between(0.1, 100.0, log=True))] = 5.0
    """Expected reward that is added to every item's: the larger, the more events a trend needs."""


class Trending(Everybody):
    """How much each item rises, at the end of the data."""

    kind: ClassVar[str] = "trending"
    Params: ClassVar[type[msgspec.Struct]] = TrendingParams

    def __init__(self, params: TrendingParams | None = None) -> None:
        super().__init__(params)
        if self.params.short_days >= self.params.long_days:
            raise ConfigError(
                f"models.trending.short_days = {self.params.short_days}: give fewer days than long_days ({self.params.long_days})"
            )

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        histories, n_items = trainable(data), len(data.items)
        short, _ = aged_sums(histories, n_items, data.now, self.params.short_days)
        long, _ = aged_sums(histories, n_items, data.now, self.params.long_days)
        total = long.sum()
        expected = long * (short.sum() / total) if total > 0 else long  # nothing is left of events of another age of the world
        rise = short - expected
        rise[np.abs(rise) <= ROUNDING * short] = 0
        self.counts = (rise / np.sqrt(expected + self.params.prior)).astype(np.float32)
        self.items = data.items
        progress(1, 1, f"{int((self.counts > 0).sum())} items rise")
        return self
