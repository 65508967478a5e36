"""What a run of Airflow asks of a step: its interval, its parameters and its try, as the JSON that a task is handed.

The text is made by a template when the task runs, so that Airflow's page of rendered templates shows exactly what was asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from airflow.sdk import Param

from tastemaker.config import Config
from tastemaker.pipelines.pipeline import Pipeline

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$"


class AskingRun(Protocol):
    """What is read of Airflow's run."""

    data_interval_start: datetime | None
    data_interval_end: datetime | None
    logical_date: datetime | None
    run_after: datetime


def asked(
    pipeline: str,
    run: AskingRun,
    params: Mapping[str, Any],
    tries: int,
    step: str,
    *,
    names: bool = False,
    join: bool = False,
) -> str:
    """The JSON text of a task; ``part`` comes apart, where there is one."""
    start, end = interval_of(run, params)
    task: dict[str, Any] = {"pipeline": pipeline, "step": step, "start": start, "end": end, "tries": tries}
    task |= {name: True for name, given in (("names", names), ("join", join), ("force", params.get("force"))) if given}
    if params.get("models"):
        task["models"] = list(params["models"])
    return json.dumps(task)


def text_of(task: Any) -> str:
    """The JSON text that a task of ours was handed; its template while it has not run."""
    return str(getattr(task, "asked", None) or task.op_kwargs["asked"])


def interval_of(run: AskingRun, params: Mapping[str, Any]) -> tuple[Any, Any]:
    """Start and end: those of the parameter, else the run's data interval, else from the last whole run until this one.

    A run that was started by an asset, or by hand without a logical date, has no interval; one of a DAG without a schedule has
    an empty one.
    """
    start, end = run.data_interval_start, run.data_interval_end
    begin, until = (millis(start), millis(end)) if start is not None and end is not None and start < end else (None, None)
    if until is None:
        until = millis(run.logical_date or run.run_after)
    if given := params.get("interval"):
        return given.get("start") or None, given.get("end") or until
    return begin, until


def millis(time: datetime) -> int:
    return (time - EPOCH) // timedelta(milliseconds=1)


def params_of(pipeline: Pipeline, config: Config) -> dict[str, Param]:
    """The parameters of a run, each with a schema: Airflow refuses others before anything runs."""
    time = {"type": ["string", "null"], "pattern": TIME}
    found = {
        "interval": Param(
            None,
            type=["null", "object"],
            title="Interval",
            description='Another interval than the run\'s own, as {"start": "2026-01-30", "end": "2026-01-31T04:00:00Z"}.',
            properties={"start": time, "end": time},
            additionalProperties=False,
        ),
        "force": Param(
            False,
            type="boolean",
            title="Force",
            description="Make anew what an earlier try has finished. Versions that people are served by are refused.",
        ),
    }
    if any(step.parts is not None for step in pipeline.steps):
        kinds = list(config.train.models)
        found["models"] = Param(
            [],
            type="array",
            title="Models",
            description="Train only these; none chosen: all of train.models. The fallback is always trained.",
            items={"type": "string", "enum": kinds},
            uniqueItems=True,
            examples=kinds,
        )
    return found
