"""Models, metrics and runs: what was learnt, how good it is, and the work that made it."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Engine, Row, Select, delete, select

from tastemaker.domain import ModelCard, Run
from tastemaker.errors import InputError, NotFound
from tastemaker.storage.tables.dialect import lock, move, put_rows, reading, writing
from tastemaker.storage.tables.schema import metrics, models, runs

decode_steps = msgspec.json.Decoder(dict[str, dict[str, Any]]).decode


class Metric(msgspec.Struct, frozen=True):
    """One point of a metric's curve. ``name`` carries its cut-off (``ndcg@10``); an interval that nobody knows is NaN."""

    name: str
    model: str
    value: float
    low: float
    high: float
    n: int
    time: int
    slice: str = "all"
    source: str = "offline"


class Models:
    """The cards of all models, by version."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def put(self, card: ModelCard) -> None:
        """Writes a card over the one of its version."""
        row = {"version": card.version, "kind": card.kind, "state": card.state, "made": card.made, "card": encode_card(card)}
        with writing(self.engine) as connection:
            lock(connection, "models")
            put_rows(connection, models, [row])
            move(connection, "models")

    def get(self, version: str) -> ModelCard | None:
        with reading(self.engine) as connection:
            text = connection.execute(select(models.c.card).where(models.c.version == version)).scalar_one_or_none()
        return None if text is None else decode_card(text)

    def all(self, kind: str | None = None, state: str | None = None) -> list[ModelCard]:
        """Cards of a kind and a state, newest first."""
        chosen = select(models.c.card).order_by(models.c.made.desc(), models.c.version.desc())
        if kind is not None:
            chosen = chosen.where(models.c.kind == kind)
        if state is not None:
            chosen = chosen.where(models.c.state == state)
        with reading(self.engine) as connection:
            return [decode_card(text) for text in connection.execute(chosen).scalars()]


def encode_card(card: ModelCard) -> str:
    return msgspec.json.encode(spell(msgspec.to_builtins(card))).decode()


def decode_card(text: str) -> ModelCard:
    return msgspec.convert(msgspec.json.decode(text), ModelCard, strict=False)


def spell(value: Any) -> Any:
    """The value with NaN and infinity as words: JSON has no numbers for them, and a metric may well be unknown.

    >>> spell({"low": math.nan, "n": [1, 2.5]})
    {'low': 'nan', 'n': [1, 2.5]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: spell(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [spell(part) for part in value]
    return value


class Metrics:
    """Metrics over time, offline and online."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def put(self, rows: Sequence[Metric]) -> None:
        """Writes points; one with the same name, model, slice and time replaces the older one."""
        values = [metric_row(metric) for metric in rows]
        if not values:
            return
        with writing(self.engine) as connection:
            lock(connection, "metrics")
            put_rows(connection, metrics, values)
            move(connection, "metrics")

    def history(
        self, name: str | None = None, model: str | None = None, limit: int = 1000, *, slice: str | None = None, since: int = 0
    ) -> list[Metric]:
        """Points of a metric, of a model or of both, newest first; of one slice and from a time on, if wanted."""
        chosen = select(metrics).order_by(metrics.c.time.desc(), metrics.c.name, metrics.c.model, metrics.c.slice).limit(limit)
        if name is not None:
            chosen = chosen.where(metrics.c.name == name)
        if model is not None:
            chosen = chosen.where(metrics.c.model == model)
        if slice is not None:
            chosen = chosen.where(metrics.c.slice == slice)
        if since:
            chosen = chosen.where(metrics.c.time >= since)
        with reading(self.engine) as connection:
            return [metric_of(row) for row in connection.execute(chosen)]

    def forget(self, before: int) -> int:
        """Removes points of before a time; returns how many."""
        with writing(self.engine) as connection:
            lock(connection, "metrics")
            gone = int(connection.execute(delete(metrics).where(metrics.c.time < before)).rowcount)
            move(connection, "metrics")
        return gone


def metric_row(metric: Metric) -> dict[str, Any]:
    for name in ("value", "low", "high"):
        if math.isinf(getattr(metric, name)):
            raise InputError(f"metric.{name}", getattr(metric, name), "a metric is a finite number, or NaN where unknown")
    identity = msgspec.json.encode((metric.name, metric.model, metric.slice, metric.time))
    row = msgspec.structs.asdict(metric)
    unknown = {name: None for name in ("value", "low", "high") if math.isnan(row[name])}
    return {**row, **unknown, "id": hashlib.sha256(identity).hexdigest()}


def metric_of(row: Row[Any]) -> Metric:
    value, low, high = (math.nan if number is None else number for number in (row.value, row.low, row.high))
    return Metric(row.name, row.model, value, low, high, row.n, row.time, row.slice, row.source)


class Runs:
    """Runs of pipelines, with the state of their steps."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def put(self, run: Run) -> None:
        """Writes a run over the one with its id."""
        with writing(self.engine) as connection:
            lock(connection, "runs")
            put_rows(connection, runs, [row_of(run)])
            move(connection, "runs")

    def change(self, id: str, change: Callable[[Run], Run]) -> Run:
        """Writes what ``change`` makes of a run; whoever changes another of its steps meanwhile waits.

        Raises ``NotFound`` where there is no such run.
        """
        with writing(self.engine) as connection:
            lock(connection, "runs")
            found = connection.execute(select(runs).where(runs.c.id == id)).one_or_none()
            if found is None:
                raise NotFound(f"run {id!r} does not exist; `tastemaker runs` lists them")
            run = change(run_of(found))
            put_rows(connection, runs, [row_of(run)])
            move(connection, "runs")
        return run

    def get(self, id: str) -> Run | None:
        found = self.select(select(runs).where(runs.c.id == id))
        return found[0] if found else None

    def last(self, pipeline: str | None = None, limit: int = 20) -> list[Run]:
        """The newest runs, of one pipeline or of all, newest first."""
        chosen = newest_first().limit(limit)
        return self.select(chosen if pipeline is None else chosen.where(runs.c.pipeline == pipeline))

    def unfinished(self, pipeline: str) -> Run | None:
        """The newest run of a pipeline that may go on: it runs, waits, has failed or was left by a crash."""
        ended = runs.c.state.in_(("done", "abandoned"))
        found = self.select(newest_first().where(runs.c.pipeline == pipeline, ~ended).limit(1))
        return found[0] if found else None

    def last_done(self, pipeline: str) -> Run | None:
        """The newest run that came to its end."""
        found = self.select(newest_first().where(runs.c.pipeline == pipeline, runs.c.state == "done").limit(1))
        return found[0] if found else None

    def pipelines(self) -> list[str]:
        """Names of the pipelines that have a run."""
        with reading(self.engine) as connection:
            return sorted(connection.execute(select(runs.c.pipeline).distinct()).scalars())

    def all_unfinished(self) -> list[Run]:
        """Every run, of any pipeline, that may go on, newest first."""
        return self.select(newest_first().where(~runs.c.state.in_(("done", "abandoned"))))

    def older(self, before: int, keep: int) -> list[str]:
        """Ids of the runs that began before a time, without the newest ``keep`` of each pipeline; oldest first."""
        chosen = select(runs.c.id, runs.c.pipeline, runs.c.began).order_by(runs.c.began.desc(), runs.c.id.desc())
        seen: Counter[str] = Counter()
        found: list[str] = []
        with reading(self.engine) as connection:
            for id, pipeline, began in connection.execute(chosen):
                seen[pipeline] += 1
                if began < before and seen[pipeline] > keep:
                    found.append(id)
        return found[::-1]

    def delete(self, id: str) -> bool:
        """Removes a run from the history."""
        with writing(self.engine) as connection:
            lock(connection, "runs")
            gone = connection.execute(delete(runs).where(runs.c.id == id)).rowcount > 0
            move(connection, "runs")
        return gone

    def select(self, chosen: Select[*tuple[Any, ...]]) -> list[Run]:
        with reading(self.engine) as connection:
            return [run_of(row) for row in connection.execute(chosen)]


def row_of(run: Run) -> dict[str, Any]:
    return {**msgspec.structs.asdict(run), "steps": msgspec.json.encode(run.steps).decode()}


def run_of(row: Row[Any]) -> Run:
    return Run(**{**row._asdict(), "steps": decode_steps(row.steps)})


def newest_first() -> Select[*tuple[Any, ...]]:
    return select(runs).order_by(runs.c.began.desc(), runs.c.id.desc())
