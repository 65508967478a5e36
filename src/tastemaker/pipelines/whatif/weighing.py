"""Drawn slates under other policies, block by block: what is kept of each are a few numbers for each slot.

A model scores the users of a block at once. Where the other model is the one that drew the slate, the scores that were logged
are taken, so nothing is lost by rounding; they are compared with those that the history from the lake gives, which tells whether
histories are what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from tastemaker.models.interactions import Floats
from tastemaker.pipelines.whatif.question import Other
from tastemaker.pipelines.whatif.reading import Past
from tastemaker.slates import rules
from tastemaker.slates.arranged import terms_of
from tastemaker.slates.batch import stacked
from tastemaker.slates.rescored import Rescored, rescored
from tastemaker.slates.sources import Taste, numbered

Doubles = npt.NDArray[np.float64]
BLOCK = 256  # slates
ROOM = 64_000_000  # bytes of a block's scores
NEAR = 1e-3  # deviations of the scores by which two of them may differ and be the same


@dataclass
class Weighed:
    """One policy's numbers for all slates: (slots,) for each, in ``Rescored``. ``own``: slates that its model drew itself;
    ``unlike``: those of them that the history from the lake scores in another way."""

    other: Other
    rows: list[Rescored] = field(default_factory=list)
    own: int = 0
    unlike: int = 0

    def add(self, block: Sequence[Past]) -> None:
        """Weighs a block."""
        for past, scores in zip(block, self.scores(block), strict=True):
            row = rescored(self.other.shelf, past.decision, Taste(past.history), self.chosen(past, scores))
            self.rows.append(row)

    def scores(self, block: Sequence[Past]) -> Iterator[Doubles]:
        """(candidates,) for each slate, NaN for what the model does not know."""
        shelf = self.other.shelf
        assert shelf.model is not None
        histories = stacked([numbered(past.history, shelf.model.items, shelf.half_life_days) for past in block])
        dense: Floats = shelf.model.scores(histories)
        for past, row in zip(block, dense, strict=True):
            numbers = rules.numbers_of(shelf, past.decision.candidates)
            yield np.where(numbers >= 0, row[numbers], np.nan).astype(np.float64)

    def chosen(self, past: Past, scores: Doubles) -> Doubles:
        """The logged scores where the same model has drawn."""
        decision = past.decision
        if decision.models[:1] != (self.other.version,):
            return scores
        logged = np.array(decision.scores)
        old = slice(0, len(logged) - terms_of(decision).fresh)  # what is new may have been scored by rule
        self.own += 1
        self.unlike += bool((np.abs(scores[old] - logged[old]) > NEAR * max(logged.std(), 1e-12)).any())
        return logged


@dataclass
class Weighing:
    """All slates of a question, and whose they are."""

    policies: list[Weighed]
    logged: list[Doubles] = field(default_factory=list)
    rewards: list[Doubles] = field(default_factory=list)
    users: dict[str, int] = field(default_factory=dict)
    user_of: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, others: Iterable[Other], pasts: Iterable[Past], progress: Callable[[int], None]) -> Weighing:
        """Reads and weighs. ``progress`` hears how many slates are done."""
        made = cls([Weighed(other) for other in others])
        size = made.block()
        source = iter(pasts)
        while block := list(islice(source, size)):
            made.add(block)
            progress(len(made.logged))
        return made

    def block(self) -> int:
        """How many slates are weighed at once."""
        items = max(len(weighed.other.shelf.model.items) for weighed in self.policies if weighed.other.shelf.model is not None)
        return int(np.clip(ROOM // (4 * max(1, items)), 1, BLOCK))

    def add(self, block: Sequence[Past]) -> None:
        for past in block:
            self.logged.append(past.logged)
            self.rewards.append(past.rewards)
            self.user_of.append(self.users.setdefault(past.decision.user, len(self.users)))
        for weighed in self.policies:
            weighed.add(block)


def padded(rows: Sequence[Doubles]) -> Doubles:
    """(slates, slots), NaN behind the end of the shorter ones."""
    found = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for number, row in enumerate(rows):
        found[number, : len(row)] = row
    return found
