"""Replays of a platform's own events, or of a public data set, by models of the configuration.

What is replayed is everything that is worth something under ``[rewards]``, each event with the worth that it has now: a replay
asks how good models are at what comes next, not what was known of it at the time. Those of whom a model knows nothing get the
popular items, as in serving.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from tastemaker.config import Config, Rewards
from tastemaker.domain import ItemChange
from tastemaker.errors import InputError, NotFound, did_you_mean
from tastemaker.evaluation.replay import prequential
from tastemaker.evaluation.traces import Trace
from tastemaker.features import table
from tastemaker.models import IMPERSONAL, MODELS, Progress, Recommender, create, silent
from tastemaker.models.interactions import Interactions
from tastemaker.pipelines import datasets, engines
from tastemaker.pipelines.catalogue import Known
from tastemaker.pipelines.steps.train import FALLBACK
from tastemaker.pipelines.training import WORTHLESS, in_memory, interactions_of, pinned_events
from tastemaker.storage import Storage

if TYPE_CHECKING:
    import ibis.expr.types as ir

DAY = 86_400_000
ALL = 2**31 - 1  # events of a user
STALE = ":stale"


@dataclass(frozen=True)
class Plan:
    """What is replayed how. ``models``: kinds, each as it is configured; ``KIND:stale`` is answered from its last training."""

    models: tuple[str, ...]
    every_days: float = 7.0
    k: int = 20
    burn_in: float = 0.25
    strangers: bool = True

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("models", "none", "name at least one kind of model, as als or session_knn")
        if len(set(self.models)) < len(self.models):
            raise InputError("models", " ".join(self.models), "name each once: the same model gives the same trace")
        for name in self.models:
            kind = name.removesuffix(STALE)
            if kind not in MODELS:
                raise InputError("models", name, f"there is no such kind; {did_you_mean(kind, MODELS)}")
            if name.endswith(STALE) and kind in IMPERSONAL:
                raise InputError("models", name, "this kind does not read histories: with or without news it says the same")
        if not self.every_days >= 0:
            raise InputError("every", self.every_days, "give the days from one training to the next, or 0 for a single one")
        if not 1 <= self.k <= 1000:
            raise InputError("k", self.k, "give the length of a list, from 1 to 1000")


def of_lake(storage: Storage, config: Config, days: float = 0.0) -> Interactions:
    """All events of the lake that are worth something, with the catalogue; of the newest ``days``, unless these are 0.

    They are held in memory, 20 bytes each: of a large lake take some days. Raises ``NotFound`` without any.
    """
    engine = engines.queries(config, "training_set")
    found = pinned_events(engine, storage, {"interactions": storage.lake.version("interactions")})
    rows = engine.rows(table.histories(lately(found, days), config.rewards, length=ALL))
    return numbered_rows(rows, Known.of(storage.tables.items.each()))


def lately(events: ir.Table, days: float) -> ir.Table:
    """Those of the newest ``days``; all of them if these are 0."""
    if not days >= 0:
        raise InputError("days", days, "give the days of events to replay, or 0 for all")
    return events.filter(events.time > events.time.max().as_scalar() - round(days * DAY)) if days else events


def of_dataset(name: str, rewards: Rewards, days: float = 0.0) -> Interactions:
    """The same of a public data set that is on this machine. Raises ``NotFound`` where it is not."""
    data = datasets.load(name)
    rows = sorted(data.items.select(["item", "title", "categories"]).to_pylist(), key=lambda row: row["item"])
    items = (ItemChange(row["item"], 0, row["item"], row["title"] or "", tuple(row["categories"] or ())) for row in rows)
    return of_table(data.interactions, rewards, Known.of(items), days)


def of_table(events: pa.Table, rewards: Rewards, known: Known | None = None, days: float = 0.0) -> Interactions:
    """The same of a table of user, item, kind, value, time (epoch ms)."""
    import ibis  # takes a second to load

    count = events.num_rows
    places = pa.array(range(count), pa.int64())
    columns = {name: events[name] for name in ("user", "item", "kind", "value", "time")}
    rows = pa.table(
        columns
        | {"partition": pa.array([0] * count, pa.int32()), "offset": places, "id": places.cast(pa.string())}
        | {"mature_at": pa.nulls(count, pa.int64())}
    )
    found = table.connect().to_pyarrow(table.histories(lately(ibis.memtable(rows), days), rewards, length=ALL))
    return numbered_rows(found, known or Known.of([]))


def numbered_rows(rows: pa.Table, known: Known) -> Interactions:
    events = in_memory(rows)
    if events is None:
        raise NotFound(WORTHLESS)
    return interactions_of(events, known, {})


def replay(config: Config, data: Interactions, plan: Plan, progress: Progress = silent) -> list[Trace]:
    """A trace for each model of the plan, over the same events."""
    return list(traces(config, data, plan, progress))


def traces(config: Config, data: Interactions, plan: Plan, progress: Progress) -> Iterator[Trace]:
    count = len(plan.models)
    for number, name in enumerate(plan.models):

        def report(done: int, total: int, note: str, number: int = number) -> None:
            progress(number * total + done, count * total, note)

        yield prequential(
            data,
            lambda name=name: made(config, name.removesuffix(STALE)),  # type: ignore[misc]  # a default that binds the loop's name
            every=round(plan.every_days * DAY),
            k=plan.k,
            burn_in=plan.burn_in,
            fold_in=not name.endswith(STALE),
            fallback=None if name == FALLBACK else lambda: made(config, FALLBACK),
            length=config.rewards.history,
            strangers=plan.strangers,
            name=name,
            seed=config.train.seed,
            progress=report,
        )


def made(config: Config, kind: str) -> Recommender:
    return create(kind, config.models.get(kind, {}))
