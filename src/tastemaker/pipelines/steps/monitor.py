"""The step ``monitor``: what was served in the window, into the metrics history.

A run is a process of its own; servers read the history and show it on /metrics (``monitoring/runs.py``).
"""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.compute as pc

from tastemaker.config import Config
from tastemaker.domain import Interval
from tastemaker.monitoring.health import health, rungs
from tastemaker.monitoring.quality import click_through, overall
from tastemaker.pipelines.pipeline import Outcome, Progress, Window, summary_of
from tastemaker.registry import live
from tastemaker.storage import Storage
from tastemaker.storage.tables.learning import Metric


def monitor(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Measures decisions of the window by the interactions that name them."""
    versions: dict[str, int] = summary_of(storage, window, "ingest")["versions"]
    found: list[Metric] = []
    progress(0, 2, "health")
    now = live.read(storage.kv)
    numbers = health(storage, window.end, now.made if now is not None else None)
    if "decisions" in versions:
        progress(1, 2, "click-through")
        decisions = within(
            storage.lake.read("decisions", versions["decisions"], ["id", "time", "user", "models", "slots", "rung"]), window
        )
        if len(decisions):
            numbers |= rungs(decisions)
            taken = clicks(storage, versions)
            for model, rate in click_through(decisions, taken, config.evaluate.confidence).items():
                found.append(metric("ctr", model, rate, window.end))
            found.append(metric("ctr", "", overall(decisions, taken, config.evaluate.confidence), window.end))
    found += [metric(name, "", Interval(value, math.nan, math.nan, 0), window.end) for name, value in numbers.items()]
    storage.tables.metrics.put(found)
    return Outcome({"metrics": {f"{m.name} {m.model}".strip(): m.value for m in found}})


def within(decisions: pa.Table, window: Window) -> pa.Table:
    """The window's decisions: from its start up to its end."""
    time = decisions["time"]
    return decisions.filter(pc.and_(pc.greater_equal(time, window.start), pc.less(time, window.end)))


def clicks(storage: Storage, versions: dict[str, int]) -> pa.Table:
    """Interactions that name a decision."""
    if "interactions" not in versions:
        return pa.table({"decision": pa.array([], pa.string()), "item": pa.array([], pa.string())})
    found = storage.lake.read("interactions", versions["interactions"], ["decision", "item"])
    return found.filter(pc.is_valid(found["decision"]))


def metric(name: str, model: str, value: Interval, time: int) -> Metric:
    return Metric(
        name=name, model=model, value=value.value, low=value.low, high=value.high, n=value.n, time=time, source="online"
    )
