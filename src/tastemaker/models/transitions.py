"""Windowed transitions: what people went to soon after an item, damped by how popular it is.

A first-order view of sequences (as the sequential rules of Ludewig and Jannach 2018, "Evaluation of session-based
recommendation algorithms", section 3.1, and the Markov chains before them), but over a window instead of the next event alone:

    t(i, j) = D_j^-target_power  D_i^-item_power * sum over pairs p < q <= p + window of a history, with items i and j, of
              w_p w_q law(q - p) 2^(-(days between them) / days_half_life)

w are rewards and D their sums by item. A history scores an item by the sum of its own items' transitions to it, the last
``query_window`` of them and decayed by their place from the end, so an explanation is that sum's terms and a new event costs
nothing but a longer history. Each item keeps its ``neighbours`` best targets; no matrix of items x items exists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, Self

import msgspec
import numba
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from tastemaker.models import Progress, silent
from tastemaker.models.heaps import keep_best
from tastemaker.models.interactions import Floats, Histories, Interactions, Ints, Longs, trainable
from tastemaker.models.linear import Linear
from tastemaker.models.recency import decayed, occurrences, wanted
from tastemaker.models.similarity import damping
from tastemaker.models.space import among, between
from tastemaker.models.tables import Neighbours
from tastemaker.models.topk import PARALLEL

LANES = 64  # item i belongs to lane i mod 64, so that each thread gets popular and rare ones
STRETCH = 8192  # items between two words on progress
DAY = 86_400_000

Doubles = npt.NDArray[np.float64]

LAWS: dict[str, Callable[[Doubles], Doubles]] = {
    "inverse": lambda gaps: 1 / gaps,
    "root": lambda gaps: 1 / np.sqrt(gaps),
    "log": lambda gaps: 1 / np.log2(gaps + 1),
    "linear": lambda gaps: 1 - (gaps - 1) / len(gaps),
    "flat": np.ones_like,
}
"""Weights of pairs by their distance in events, 1 .. window."""


class TransitionsParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``transitions``."""

    neighbours: Annotated[int, Meta(ge=1, le=10_000)] = 500
    """Targets kept for each item."""
    window: Annotated[int, Meta(ge=1, le=1000, extra=between(5, 40))] = 20
    """How many events after an item count as reached from it."""
    law: Annotated[Literal["inverse", "root", "log", "linear", "flat"], Meta(extra=among("inverse", "root", "log"))] = "inverse"
    """How a pair's weight falls with its distance in events: 1/d, 1/sqrt(d), 1/log2(d + 1), to zero along a line, or not."""
    bidirectional: bool = False
    """Whether an item also speaks for what came before it; for catalogues without an order to follow."""
    target_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 0.6))] = 0.2
    """How much a popular target is held back."""
    item_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 1.0))] = 0.8
    """How much a popular item in the history is held back."""
    half_life: Annotated[float, Meta(gt=0, extra=between(1.0, 10.0, log=True))] | None = 2.0
    """Places from the end of the history after which an item speaks half as loud; unset, all speak alike."""
    query_window: Annotated[int, Meta(ge=1)] = 20
    """How many of the last items of the history are looked at."""
    days_half_life: Annotated[float, Meta(gt=0)] | None = None
    """Days between two events after which their pair counts half; unset, only their order counts."""


class Transitions(Linear):
    """One table: each item's best targets."""

    kind: ClassVar[str] = "transitions"
    Params: ClassVar[type[msgspec.Struct]] = TransitionsParams

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        params, rows, n_items = self.params, wanted(trainable(data)), len(data.items)
        degrees = np.bincount(rows.items, weights=rows.weights, minlength=n_items).astype(np.float64)
        damped = damping(degrees, params.item_power), damping(degrees, params.target_power)
        law = LAWS[params.law](np.arange(1.0, params.window + 1)).astype(np.float32)
        rate = 0.0 if params.days_half_life is None else 1 / (params.days_half_life * DAY)
        width = min(params.neighbours, n_items)
        self.tables = (reached(rows, occurrences(rows, n_items), law, rate, params.bidirectional, *damped, width, progress),)
        self.items = data.items
        return self

    def query(self, histories: Histories) -> Histories:
        return decayed(histories, self.params.half_life, self.params.query_window)


def reached(
    rows: Histories,
    events: Histories,
    law: Floats,
    rate: float,
    bidirectional: bool,
    item_damp: Floats,
    target_damp: Floats,
    width: int,
    progress: Progress = silent,
) -> Neighbours:
    """The ``width`` targets of each item that are reached with most weight. ``events``: the rows by item (``occurrences``).

    law: (window,), by distance; rate: halvings of a pair's weight for each millisecond between its events.
    """
    found: list[tuple[Ints, Floats]] = []
    for start in range(0, len(events), STRETCH):
        stop = min(start + STRETCH, len(events))
        targets = np.full((stop - start, width), -1, np.int32)
        values = np.zeros((stop - start, width), np.float32)
        with PARALLEL:
            find_targets(
                start,
                *(rows.indptr, rows.items, rows.weights, rows.times),
                *(events.indptr, events.items, events.times),
                law,
                rate,
                bidirectional,
                item_damp,
                target_damp,
                targets,
                values,
            )
        found.append((targets, values))
        progress(stop, len(events), "items")
    return Neighbours.padded(np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found]))


@numba.njit(cache=True, nogil=True, parallel=True)
def find_targets(
    begin: int,
    indptr: Longs,
    items: Ints,
    weights: Floats,
    times: Longs,
    item_indptr: Longs,
    item_rows: Ints,
    item_places: Longs,
    law: Floats,
    rate: float,
    bidirectional: bool,
    item_damp: Floats,
    target_damp: Floats,
    targets: Ints,
    values: Floats,
) -> None:
    """The best targets of items ``begin`` and following, best first; targets and values: (items, neighbours), padded.

    One lane holds one dense accumulator and the list of the places it used; no item x item matrix exists.
    """
    for first in numba.prange(LANES):
        total = np.zeros(len(target_damp), np.float32)
        touched = np.empty(len(target_damp), np.int32)
        for line in range(first, len(targets), LANES):
            item, used = begin + line, 0
            for event in range(item_indptr[item], item_indptr[item + 1]):
                place, row = item_places[event], item_rows[event]
                low = max(indptr[row], place - len(law)) if bidirectional else place + 1
                for other in range(low, min(indptr[row + 1], place + len(law) + 1)):
                    if items[other] == item:
                        continue
                    gap = abs(other - place)
                    added = weights[place] * weights[other] * law[gap - 1]
                    if rate > 0:
                        added *= np.float32(2.0 ** (-rate * abs(times[other] - times[place])))
                    if added == 0:
                        continue  # else the place would be listed twice
                    if total[items[other]] == 0:
                        touched[used] = items[other]
                        used += 1
                    total[items[other]] += added
            for place in range(used):
                total[touched[place]] = np.float32(total[touched[place]] * item_damp[item] * target_damp[touched[place]])
            keep_best(total, touched, used, values[line], targets[line])
