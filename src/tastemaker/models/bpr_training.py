"""How ``bpr`` is trained: passes over users in random order, in batches, and the loss of a fixed sample between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tastemaker.errors import InputError
from tastemaker.models.bpr_kernels import LANES, Odds, Pairs, Side, Triples, ask, deal, descend
from tastemaker.models.interactions import Histories, Longs, row_sums
from tastemaker.models.topk import PARALLEL

if TYPE_CHECKING:
    from tastemaker.models.bpr import BprParams

Doubles = npt.NDArray[np.float64]

BATCH = 4096  # pairs between two steps; one user alone may have more
STEPS = 64  # steps an epoch that small data get at least
SAMPLE = 20_000  # pairs whose loss is reported
SCALE = 0.1  # lengths of the vectors at the start
START = 1e-8  # of Adagrad's sums of squares


class Trainer:
    """Both sides' vectors, and all that a pass over the pairs needs."""

    def __init__(self, params: BprParams, candidates: int, rows: Histories, counts: Longs, random: np.random.Generator) -> None:
        """``rows``: pairs, ``counts``: users of each item. Raises ``InputError`` where no user has two items."""
        self.params, self.candidates, self.lengths, self.random = params, candidates, rows.lengths, random
        self.users = np.flatnonzero(rows.lengths > 1)
        if len(self.users) == 0:
            raise InputError("interactions", len(rows), "bpr learns from users with two items or more, and nobody has them")
        self.pairs = pairs_of(rows, params.norm)
        self.odds = odds_of(np.where(counts > 0, np.maximum(counts, 1) ** params.negative_power, 0.0))
        self.left, self.right = side_of(counts, params.factors, random), side_of(counts, params.factors, random)
        self.touched = np.zeros(len(counts), np.bool_)
        self.size = min(BATCH, max(1, len(rows.items) // STEPS))
        self.room = room_for(max(self.size, int(rows.lengths.max())), params.factors)
        self.order = np.empty(2 * len(self.room.positives), np.int32)
        self.bounds = np.zeros(LANES + 1, np.int64)
        self.seed = drawn_seed(random)
        shuffled = random.permutation(self.users)
        self.sample = shuffled[: max(1, int(np.searchsorted(np.cumsum(rows.lengths[shuffled]), SAMPLE)))]

    def run(self) -> None:
        """One pass over all pairs."""
        params, seed = self.params, drawn_seed(self.random)
        for users, lines, count in self.batches(self.random.permutation(self.users)):
            self.ask(users, lines, seed, self.candidates)
            deal(count, self.room, self.order, self.bounds)
            with PARALLEL:
                descend(
                    *(self.order, self.bounds, self.room, self.left, self.right),
                    *(np.float32(params.rate), np.float32(params.reg), self.touched),
                )

    def ask(self, users: Longs, lines: Longs, seed: np.uint64, candidates: int) -> None:
        """Fills ``room`` with the triples of a batch."""
        with PARALLEL:
            ask(
                *(users, lines, self.pairs, self.left.vectors, self.right.vectors, self.odds),
                *(seed, candidates, self.room),
            )

    def batches(self, users: Longs) -> Iterator[tuple[Longs, Longs, int]]:
        """Users in their order, the first line of each, and how many lines there are in all."""
        ends = np.cumsum(self.lengths[users])
        start, before = 0, 0
        while start < len(users):
            stop = max(start + 1, int(np.searchsorted(ends, before + self.size, side="right")))
            batch = users[start:stop]
            yield batch, ends[start:stop] - self.lengths[batch] - before, int(ends[stop - 1]) - before
            start, before = stop, int(ends[stop - 1])

    def loss(self) -> float:
        """Mean loss of the sample's pairs, each against one drawn item, always the same, with its share of the penalty."""
        total, lines = 0.0, 0
        for users, starts, count in self.batches(self.sample):
            self.ask(users, starts, self.seed, 1)
            entries = np.concatenate([np.arange(self.pairs.indptr[user], self.pairs.indptr[user + 1]) for user in users])
            margins = self.room.margins[:count].astype(np.float64)
            used, positives = self.room.negatives[:count] >= 0, self.room.positives[:count]
            total += float((self.pairs.worth[entries] * np.logaddexp(0, -margins))[used].sum())
            lengths = sum((side.vectors[positives].astype(np.float64) ** 2).sum(1) for side in (self.left, self.right))
            total += self.params.reg / 2 * float(lengths.sum())
            lines += count
        return total / lines


def pairs_of(rows: Histories, norm: float) -> Pairs:
    """Pairs with what their histories weigh without them."""
    rest = np.repeat(row_sums(rows, rows.weights), rows.lengths) - rows.weights
    alone = np.repeat(rows.lengths, rows.lengths) == 1
    norms = np.where(alone, 0, np.maximum(rest, 1e-30) ** -norm)
    worth = rows.weights / rows.weights.mean(dtype=np.float64)
    return Pairs(rows.indptr, rows.items, rows.weights, norms.astype(np.float32), worth.astype(np.float32))


def odds_of(weights: Doubles) -> Odds:
    """Walker's table of chances in proportion to the weights, (items,): the slots that lack something are filled by one other."""
    shares = weights * (len(weights) / weights.sum())
    own, other = np.ones(len(weights), np.float32), np.arange(len(weights), dtype=np.int32)
    poor, rich = [int(slot) for slot in np.flatnonzero(shares < 1)], [int(slot) for slot in np.flatnonzero(shares >= 1)]
    while poor and rich:
        slot, giver = poor.pop(), rich[-1]
        own[slot], other[slot] = shares[slot], giver
        shares[giver] -= 1 - shares[slot]
        if shares[giver] < 1:
            poor.append(rich.pop())
    return Odds(own, other)


def side_of(counts: Longs, factors: int, random: np.random.Generator) -> Side:
    """Small random vectors; zeros for items that nobody has, which therefore are never recommended."""
    shape = (len(counts), factors)
    vectors = random.normal(0, SCALE / np.sqrt(factors), shape).astype(np.float32)
    vectors[counts == 0] = 0
    return Side(vectors, np.zeros(shape, np.float32), np.full(shape, START, np.float32))


def room_for(lines: int, factors: int) -> Triples:
    """Memory for a batch of this many lines."""
    return Triples(
        np.empty(lines, np.int32),
        np.empty(lines, np.int32),
        np.empty(lines, np.float32),
        np.empty(lines, np.float32),
        np.empty((lines, factors), np.float32),
        np.empty((lines, factors), np.float32),
    )


def drawn_seed(random: np.random.Generator) -> np.uint64:
    """A seed for the kernels' own hash."""
    return np.uint64(random.integers(0, 1 << 63))
