"""The step ``drift``: has the world moved since the live model was trained?

The last hours are compared with as many before the training, or, where the model is younger than that, with those before them:
what happens, which items are taken, and every feature of those who were active. The findings go to the metrics history, the
largest as ``drift``; the summary ranks the causes.
"""

from __future__ import annotations

import math
from typing import Any

import ibis
import ibis.expr.types as ir
import msgspec
import pyarrow as pa

from tastemaker.config import Config
from tastemaker.features import table
from tastemaker.monitoring import drift as measures
from tastemaker.monitoring.drift import Drift
from tastemaker.monitoring.samples import Source, Span, counted, looked_at
from tastemaker.pipelines.pipeline import Outcome, Progress, Window, summary_of
from tastemaker.registry import live
from tastemaker.storage import Storage
from tastemaker.storage.tables.learning import Metric

HOUR = 3_600_000
CAUSES = 20  # of the summary


def drift(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Measures what moved; an interval with too few events is not judged."""
    versions: dict[str, int] = summary_of(storage, window, "ingest")["versions"]
    now_span, before_span = spans(storage, window.end, config.watch.drift_hours)
    told: dict[str, Any] = {"interval": [now_span.start, now_span.end], "reference": [before_span.start, before_span.end]}
    source = source_of(storage, versions)
    if source is None:
        return Outcome(told | {"skipped": "there are no interactions"})
    progress(0, 4, "counts")
    now, before = counted(source, now_span), counted(source, before_span)
    told |= {"events": now.events, "reference_events": before.events}
    if min(now.events, before.events) < config.watch.drift_least:
        return Outcome(told | {"skipped": f"an interval has fewer than {config.watch.drift_least} events (watch.drift_least)"})
    progress(1, 4, "features now")
    now = looked_at(source, now_span, now, config.rewards, config.watch.drift_most)
    progress(2, 4, "features before")
    before = looked_at(source, before_span, before, config.rewards, config.watch.drift_most)
    progress(3, 4, "comparing")
    found = measures.ranked(measures.of_samples(before, now))
    storage.tables.metrics.put(points(found, window.end))
    return Outcome(told | {"drift": measures.largest(found), "causes": [shown(drift) for drift in found[:CAUSES]]})


def spans(storage: Storage, end: int, hours: float) -> tuple[Span, Span]:
    """The interval that ends now, and the one that it is compared with."""
    length = int(hours * HOUR)
    now = live.read(storage.kv)
    start = end - length
    until = now.made if now is not None and now.made <= start else start
    return Span(start, end), Span(until - length, until)


def source_of(storage: Storage, versions: dict[str, int]) -> Source | None:
    connection = table.connect()
    interactions, views = (
        storage.lake.scan(connection, name, versions[name]) if name in versions else None for name in ("interactions", "views")
    )
    return None if interactions is None else Source(interactions, views, categories(storage))


def categories(storage: Storage) -> ir.Table | None:
    """The catalogue as (item, category) pairs."""
    pairs = [(change.item, category) for change in storage.tables.items.each() for category in change.categories]
    if not pairs:
        return None
    return ibis.memtable(pa.table({"item": [item for item, _ in pairs], "category": [category for _, category in pairs]}))


def points(found: list[Drift], time: int) -> list[Metric]:
    """The findings as points of the metrics history: ``psi`` and ``js`` by what they are about, and the largest index."""
    rows = [
        Metric(name, "", value, math.nan, math.nan, min(drift.n, drift.before_n), time, slice=drift.name, source="drift")
        for drift in found
        for name, value in (("psi", drift.psi), ("js", drift.js))
    ]
    return [*rows, Metric("drift", "", measures.largest(found), math.nan, math.nan, 0, time, source="drift")]


def shown(drift: Drift) -> dict[str, Any]:
    """A finding for people: numbers that they can read, None where there is none."""
    row = msgspec.structs.asdict(drift) | {"beyond_chance": drift.beyond_chance}
    return {name: readable(value) if isinstance(value, float) else value for name, value in row.items()}


def readable(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
