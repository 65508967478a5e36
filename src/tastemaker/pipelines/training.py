"""The lake's events as a training set: dense numbers, compressed rows, one history a user.

The query is Ibis over the files of one pinned table version, run by DuckDB or Spark: a run tried again reads the same. What
would need more memory than ``train.memory_mb`` goes into files (``large_training.py``); the training set is the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tastemaker.config import Config, Rewards
from tastemaker.errors import NotFound
from tastemaker.features import table
from tastemaker.features.maturity import Imputer, outcomes, waiting
from tastemaker.models import silent
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.pipelines import engines
from tastemaker.pipelines.catalogue import Known
from tastemaker.pipelines.engines import Queries
from tastemaker.pipelines.large_training import Numbered, is_large, streamed
from tastemaker.pipelines.pipeline import Progress, Window, summary_of
from tastemaker.storage import Storage

if TYPE_CHECKING:
    import ibis.expr.types as ir

WORTHLESS = "no interaction is worth anything: all have weight 0 or lie under `at_least` (see [rewards.kinds])"
PLACE = "training"  # the folder of the home for training sets that memory does not hold


def training_set(
    storage: Storage,
    config: Config,
    versions: Mapping[str, int],
    before: int | None = None,
    progress: Progress = silent,
    *,
    learning: bool = True,
) -> Interactions:
    """Everybody's history as of the pinned versions, with the catalogue and stated preferences.

    ``before``: only what happened before that time (ms); None: all of it, up to the newest event. ``learning``: events of which
    more may come by then are left out or completed, as ``rewards.immature`` says; who is asked for, and not learnt from, is shown
    whole.

    Raises ``NotFound`` when there is no event to learn from.
    """
    rewards = config.rewards
    engine = engines.queries(config, "training_set", progress)
    found = pinned_events(engine, storage, versions)
    now = None if not learning else before if before is not None else newest(engine, found)
    imputer = imputer_of(engine, found, rewards, now) if now is not None and rewards.immature == "impute" else None
    query = table.histories(found, rewards, before=before, length=rewards.history, aging=True, now=now, imputer=imputer)
    if is_large(found, config.train.memory_mb):
        events = streamed(engine, query, config.home / PLACE, config.train.memory_mb)
    else:
        events = in_memory(engine.rows(query))
    if events is None:
        raise NotFound(WORTHLESS)
    return interactions_of(events, Known.of(storage.tables.items.each()), stated_preferences(storage))


def newest(engine: Queries, events: ir.Table) -> int:
    """The time right after the newest event."""
    return int(engine.rows(events.aggregate(time=events.time.max()))["time"][0].as_py()) + 1


def imputer_of(engine: Queries, events: ir.Table, rewards: Rewards, now: int) -> Imputer | None:
    """What usually comes of events, by those that were mature before ``now``; None where no kind waits."""
    if not waiting(rewards):
        return None
    past = table.distinct_events(events).filter(lambda t: t.time < now)
    return Imputer.of(engine.rows(outcomes(past, rewards, now)).to_pylist())


def pinned_events(engine: Queries, storage: Storage, versions: Mapping[str, int]) -> ir.Table:
    """The interactions of a run; raises ``NotFound`` where there are none."""
    if "interactions" not in versions:
        raise NotFound("there are no interactions to learn from: send events to the API or use `tastemaker import`")
    found = engine.scan(storage.lake, "interactions", versions["interactions"])
    if found is None:
        raise NotFound("there are no interactions to learn from any more: everybody was erased")
    return found


def in_memory(rows: pa.Table) -> Numbered | None:
    """(user, item, weight, time) rows as histories; users and items are numbered in the order of their ids. None: no rows."""
    if not len(rows):
        return None
    users, user_of = numbered(rows["user"])
    items, item_of = numbered(rows["item"])
    weights, times = rows["weight"].to_numpy().astype(np.float32), rows["time"].to_numpy().astype(np.int64)
    histories = Histories.grouped(user_of.astype(np.int64), item_of, weights, times, len(users))
    return Numbered(users, items, histories, int(times.max()))


def interactions_of(events: Numbered, known: Known, stated: Mapping[str, Mapping[str, float]]) -> Interactions:
    """Histories with what is known of their items and users.

    Items without events stand behind those with events (``Known.all_items``).
    """
    everything, names = known.all_items(events.items), known.names
    return Interactions(
        events.users,
        Vocabulary(everything),
        events.histories,
        events.now,
        known.category_rows(everything),
        names,
        preference_matrix(events.users, {name: position for position, name in enumerate(names)}, stated),
        known.text_of(everything),
    )


def numbered(column: pa.ChunkedArray) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """The distinct values in order, and each row's number among them."""
    encoded = column.combine_chunks().dictionary_encode()
    names = np.array(encoded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names)
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    return tuple(names[order].tolist()), rank[encoded.indices.to_numpy()]


def stated_preferences(storage: Storage) -> dict[str, dict[str, float]]:
    stated: dict[str, dict[str, float]] = {}
    for user, category, score in storage.tables.users.preferences():
        stated.setdefault(user, {})[category] = score
    return stated


def preference_matrix(
    users: tuple[str, ...], number: Mapping[str, int], stated: Mapping[str, Mapping[str, float]]
) -> npt.NDArray[np.float32]:
    """(users, categories), NaN where nothing was stated; (0, 0) when nobody stated anything."""
    if not stated or not number:
        return np.zeros((0, 0), np.float32)
    matrix = np.full((len(users), len(number)), np.nan, np.float32)
    for row, user in enumerate(users):
        for category, score in stated.get(user, {}).items():
            if category in number:
                matrix[row, number[category]] = score
    return matrix


def pinned(
    storage: Storage, config: Config, window: Window, progress: Progress = silent
) -> tuple[Interactions, dict[str, int], float]:
    """The run's training set, the table versions it was read from, and the seconds it took.

    It ends with the window: a run for a time that has passed learns what one would have learnt then.
    """
    began = time.perf_counter()
    versions: dict[str, int] = summary_of(storage, window, "ingest")["versions"]
    data = training_set(storage, config, versions, window.end, progress)
    return data, versions, time.perf_counter() - began
