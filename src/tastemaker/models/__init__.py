"""Models: history in, scored items out.

A user is a history. No model remembers users: iALS folds the history in, item-kNN sums neighbours, so that publishing for
all, refreshing after a click, a stranger's session and an explanation are the same call. Models are numpy and numba only
and do no input or output but to a folder of their own.

A new model is one file here, one line in ``MODELS`` and one line in ``tests/contracts/test_recommender.py``. Start with
``popular.py`` (the smallest), then ``als.py``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import msgspec

from tastemaker.errors import ConfigError, did_you_mean
from tastemaker.models.interactions import Bools, Floats, Histories, Interactions, Ints, Rows, Vocabulary

MODELS = {
    "popular": "tastemaker.models.popular:Popular",
    "trending": "tastemaker.models.trending:Trending",
    "als": "tastemaker.models.als:Als",
    "item_knn": "tastemaker.models.item_knn:ItemKnn",
    "nmf": "tastemaker.models.nmf:Nmf",
    "content": "tastemaker.models.content:Content",
    "ridge": "tastemaker.models.ridge:Ridge",
    "graph_filter": "tastemaker.models.graph_filter:GraphFilter",
    "blend": "tastemaker.models.blend:Blend",
    "ease": "tastemaker.models.ease:Ease",
    "bpr": "tastemaker.models.bpr:Bpr",
    "rp3beta": "tastemaker.models.rp3beta:Rp3Beta",
    "next_item": "tastemaker.models.next_item:NextItem",
    "transitions": "tastemaker.models.transitions:Transitions",
    "session_knn": "tastemaker.models.session_knn:SessionKnn",
}

UNTOUCHED = frozenset({"content"})
"""Kinds that can recommend items without a single event; the others learn without these (``untouched.py``)."""

IMPERSONAL = frozenset({"popular", "trending"})
"""Kinds that say the same to everybody, or to a segment: their lists are nobody's own."""

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, a word on the state) while a model trains."""


def silent(_done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Recommendations:
    """The best items of each row, best first; ties by the smaller number. -1 with score -inf where a row has no more."""

    items: Ints  # (rows, k)
    scores: Floats  # (rows, k)


class Recommender(Protocol):
    """What every model can do. ``params`` is a frozen struct of hyper-parameters that stands beside the model."""

    kind: ClassVar[str]
    Params: ClassVar[type[msgspec.Struct]]
    params: Any
    items: Vocabulary
    losses: tuple[float, ...]  # training loss by epoch; empty where nothing is iterated

    def __init__(self, params: Any) -> None: ...

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:
        """Learns from histories. The same data and seed give the same model, bit for bit."""

    def recommend(
        self, histories: Histories, k: int, *, exclude: Rows | None = None, allowed: Bools | None = None
    ) -> Recommendations:
        """The ``k`` best items for each history.

        ``exclude``: per row, items never to be given (None: the row's own history). ``allowed``: (items,), False where an
        item may not be given to anybody. A row about which the model knows nothing (no history, for most) gets no items.
        """

    def scores(self, histories: Histories) -> Floats:
        """Dense scores of all items, (rows, items), for a few rows at a time; what ``recommend`` takes the best of.

        Zeros for a row about which the model knows nothing. ``blend`` sums them.
        """

    def similar(self, items: Ints, k: int) -> Recommendations:
        """The ``k`` most similar items of each item, itself left out."""

    def explain(self, histories: Histories, item: int) -> Floats:
        """How much each entry of a single row's history contributes to the item's score: (entries,), the sum is the score.

        Zeros from a model that does not read the history (``popular``).
        """

    def contributions(self, histories: Histories, items: Ints) -> Floats:
        """``explain`` for several items at once, a single row's history: (items, entries)."""

    def save(self, folder: Path) -> None:
        """Writes the artifact into an empty folder: npz and JSON, no pickle."""

    @classmethod
    def load(cls, folder: Path) -> Self: ...


def model_class(kind: str) -> type[Recommender]:
    """The class of a kind of model."""
    if kind not in MODELS:
        raise ConfigError(f"model {kind!r} is unknown; {did_you_mean(kind, MODELS)}")
    module, _, name = MODELS[kind].partition(":")
    found: type[Recommender] = getattr(importlib.import_module(module), name)
    return found


def create(kind: str, params: Mapping[str, Any] | None = None) -> Recommender:
    """An untrained model; unknown or wrong hyper-parameters are refused by name.

    >>> create("als", {"factor": 8})
    Traceback (most recent call last):
    tastemaker.errors.ConfigError: models.als.factor: unknown hyper-parameter; did you mean "factors"?
    """
    found = model_class(kind)
    known = [info.name for info in msgspec.structs.fields(found.Params)]
    for name in params or {}:
        if name not in known:
            raise ConfigError(f"models.{kind}.{name}: unknown hyper-parameter; {did_you_mean(name, known)}")
    try:
        return found(msgspec.convert(dict(params or {}), found.Params))
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`")
        raise ConfigError(f"models.{kind}.{name} = {(params or {}).get(name)!r}: {reason}") from None
