"""Runs of pipelines as metrics: how long, how many rows, how often tried, how good the models were, what the gate said.

Runs are done by other processes, often on other machines, so all of this is read from the tables, when somebody collects
metrics and not more often than every few seconds. The reading is done by a thread of its own: requests never wait for it, and
a collector waits a moment and then takes what is known.

Names are few: pipelines and steps of the catalogue, kinds of models, metrics of a card. A version is never a label.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import Gauge

from tastemaker import telemetry
from tastemaker.domain import ModelCard, Run
from tastemaker.errors import TastemakerError
from tastemaker.storage import Storage

EVERY = 10.0  # seconds between looks at the tables
PATIENCE = 1.0  # seconds that a collector waits for a look
STATES = ("pending", "running", "done", "failed", "skipped", "abandoned")
ENDED = ("done", "failed")
ROWS: Mapping[str, Mapping[str, str]] = {
    "ingest": {"out": "rows"},
    "features": {"out": "rows"},
    "train": {"in": "data.events"},
    "evaluate": {"in": "users"},
    "publish": {"out": "users"},
    "freshen": {"in": "events"},
    "drift": {"in": "events"},
    "retain": {"out": "removed"},
}
"""Where a step's summary counts what went in and what came out."""

Labels = tuple[str, ...]
State = Mapping[str, Any]


class RunMetrics:
    """Keeps the gauges of ``telemetry`` that are about runs up to date, for as long as somebody collects them."""

    def __init__(self, storage: Storage, every: float = EVERY) -> None:
        self.storage, self.every = storage, every
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._next = 0.0
        self._away = self._stopped = False

    def refresh(self, patience: float = PATIENCE) -> None:
        """Looks at the tables, if the last look is long enough ago; waits for that no longer than ``patience`` seconds."""
        with self._lock:
            idle = self._thread is None or not self._thread.is_alive()
            if idle and not self._stopped and time.monotonic() >= self._next:
                self._thread = threading.Thread(target=self._look, name="tastemaker-runs", daemon=True)
                self._thread.start()
            thread = self._thread
        if thread is not None:
            thread.join(patience)

    def _look(self) -> None:
        try:
            show_all(self.storage, int(time.time() * 1000))
            self._away = False
        except TastemakerError as error:  # the gauges stay as they are, and whatever else is collected does not suffer
            if not self._away:
                telemetry.log.error("runs_unreadable", error=str(error))
            self._away = True
        finally:
            self._next = time.monotonic() + self.every

    def stop(self) -> None:
        """Waits for a look under way: the stores are closed next."""
        with self._lock:
            self._stopped = True
            thread = self._thread
        if thread is not None:
            thread.join()


def show_all(storage: Storage, now: int) -> None:
    """Everything of this file, from one look at the tables."""
    runs = storage.tables.runs
    latest = {name: found[0] for name in runs.pipelines() if (found := runs.last(name, 1))}
    ended = {name: run for name in latest if (run := runs.last_done(name)) is not None}
    show_runs(latest, ended, now)
    show_steps(latest, ended)
    show_gate(storage, latest, ended)
    show_quality(storage)
    show(telemetry.ALERTS, {(severity,): count for severity, count in storage.tables.alerts.counts().items()})
    pending = [trigger.pipeline for trigger in storage.tables.triggers.pending()]
    show(telemetry.TRIGGERS, {(name,): pending.count(name) for name in latest})


def show_runs(latest: Mapping[str, Run], ended: Mapping[str, Run], now: int) -> None:
    """States of the last runs, and when and how the last good ones ended."""
    show(telemetry.RUN_STATE, {(name, state): float(run.state == state) for name, run in latest.items() for state in STATES})
    good = {(name,): run for name, run in ended.items() if run.ended is not None}
    show(telemetry.RUN_SECONDS, {labels: ((run.ended or 0) - run.began) / 1000 for labels, run in good.items()})
    show(telemetry.RUN_AGE, {labels: (now - (run.ended or 0)) / 1000 for labels, run in good.items()})


def show_steps(latest: Mapping[str, Run], ended: Mapping[str, Run]) -> None:
    """What each step did last: of the newest run where it has ended there, else of the last good one."""
    states: dict[Labels, float] = {}
    seconds: dict[Labels, float] = {}
    tries: dict[Labels, float] = {}
    rows: dict[Labels, float] = {}
    for name, run in latest.items():
        for step, found in run.steps.items():
            states |= {(name, step, each): float(found["state"] == each) for each in STATES}
        for step, state in last_steps(run, ended.get(name)).items():
            tries[name, step] = float(state.get("tries", 1))
            seconds |= {(name, step, part): took for part, took in durations(state)}
            rows |= {(name, step, way): float(count) for way, count in rows_of(step, state.get("summary") or {})}
    show(telemetry.STEP_STATE, states)
    show(telemetry.STEP_SECONDS, seconds)
    show(telemetry.STEP_TRIES, tries)
    show(telemetry.STEP_ROWS, rows)


def last_steps(latest: Run, ended: Run | None) -> dict[str, State]:
    before = ended.steps if ended is not None else {}
    found = {step: state for step, state in before.items() if state["state"] in ENDED}
    return found | {step: state for step, state in latest.steps.items() if state["state"] in ENDED}


def durations(state: State) -> Iterator[tuple[str, float]]:
    """Seconds of a step, and of each of its parts by name."""
    for part, one in [("", state), *state.get("parts", {}).items()]:
        if one.get("ended") is not None and one.get("began") is not None:
            yield part, (one["ended"] - one["began"]) / 1000


def rows_of(step: str, summary: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """What went in and out of a step, where its summary tells.

    >>> list(rows_of("features", {"rows": {"user_features": 3, "item_features": 2}}))
    [('out', 5)]
    """
    for way, path in ROWS.get(step, {}).items():
        value: Any = summary
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            value = sum(number for number in value.values() if isinstance(number, int))
        if isinstance(value, int | float):
            yield way, int(value)


def show_gate(storage: Storage, latest: Mapping[str, Run], ended: Mapping[str, Run]) -> None:
    """The last verdict, and the metrics of the live model and of the candidates that stood beside it."""
    verdicts: dict[Labels, float] = {}
    judged: list[str] = []
    for name, run in latest.items():
        steps = last_steps(run, ended.get(name))
        summary = (steps.get("gate") or {}).get("summary") or {}
        if "version" in summary:
            verdicts[(kind_of(summary["version"]),)] = float(bool(summary["passed"]))
        judged += ((steps.get("evaluate") or {}).get("summary") or {}).get("values", {})
    show(telemetry.GATE, verdicts)
    live = storage.tables.models.all(state="live")[:1]
    others = [card for version in judged if (card := storage.tables.models.get(version)) is not None and card.state != "live"]
    show(telemetry.MODEL_METRIC, values_of("candidate", others) | values_of("live", live))


def values_of(role: str, cards: Iterable[ModelCard]) -> dict[Labels, float]:
    return {(role, card.kind, metric): found.value for card in cards for metric, found in card.metrics.items()}


def kind_of(version: str) -> str:
    return version.rpartition("-")[0] or version


def show_quality(storage: Storage) -> None:
    """The newest click-through rates of the metrics history: runs measure them in processes of their own."""
    points = storage.tables.metrics.history("ctr", limit=100)
    show(telemetry.QUALITY, {(point.name, point.model): point.value for point in points if point.time == points[0].time})


def show(gauge: Gauge, values: Mapping[Labels, float]) -> None:
    """A gauge with exactly these values. It is never empty between: somebody may collect it meanwhile."""
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
    for family in list(gauge.collect()):
        for sample in family.samples:
            labels = tuple(sample.labels.values())
            if labels not in values:
                gauge.remove(*labels)
