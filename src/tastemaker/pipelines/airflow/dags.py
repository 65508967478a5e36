"""The pipelines as DAGs of Airflow 3: one task a step, made from the same catalogue that the local runner reads.

A task knows its pipeline, its step and its interval, and nothing of the tasks before it: what they did stands in the stores.
So a task may be tried, cleared and run again, in this environment, in another one, or in a pod. A step with parts becomes
three tasks: which parts, each part side by side, and the step made of them. Every task runs unless one before it has failed,
and a task of a run that was halted skips itself: the runs table hears of it, and the last task closes the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, BaseOperator, CronDataIntervalTimetable, TriggerRule

from tastemaker.config import Airflow, Config, load
from tastemaker.errors import ConfigError
from tastemaker.pipelines.airflow.alerts import step_failed
from tastemaker.pipelines.airflow.asking import asked, params_of
from tastemaker.pipelines.airflow.assets import MODEL_PUBLISHED, RETRAIN, ask_for_training
from tastemaker.pipelines.airflow.places import Place, place_of
from tastemaker.pipelines.catalog import CHECK, PIPELINES, PUBLISH
from tastemaker.pipelines.pipeline import Pipeline, Step
from tastemaker.pipelines.tasks import CLOSE

PREFIX = "tastemaker_"
RETRAINED = "daily"  # the pipeline that the retrain asset starts
LONGEST_WAIT = timedelta(hours=1)  # between tries


def dags(config: Config | None = None) -> dict[str, DAG]:
    """A DAG for each pipeline of the catalogue, by its id; the configuration is that of this process unless one is given."""
    config = load()[0] if config is None else config
    return {PREFIX + pipeline.name: dag_of(pipeline, config) for pipeline in PIPELINES.values()}


def dag_of(pipeline: Pipeline, config: Config) -> DAG:
    """A pipeline as a DAG."""
    settings = config.airflow
    with DAG(
        dag_id=PREFIX + pipeline.name,
        description=pipeline.text,
        doc_md=about(pipeline),
        schedule=schedule_of(pipeline, settings),
        start_date=start_of(settings),
        catchup=settings.catchup,
        max_active_runs=1,
        params=params_of(pipeline, config),
        user_defined_macros={"asked": partial(asked, pipeline.name)},
        default_args=arguments_of(settings),
        tags=["tastemaker"],
    ) as dag:
        place = place_of(settings)
        before: Any = None
        for step in pipeline.steps:
            before = followed(before, tasks_of(place, step))
            if step == CHECK:
                answer: Any = before.output if isinstance(before, BaseOperator) else before
                ask_for_training(answer)
        followed(
            before, [place.task(CLOSE, "Notes that the run is at its end.", request(CLOSE), trigger_rule=TriggerRule.NONE_FAILED)]
        )
    return dag


def followed(before: Any, tasks: Sequence[Any]) -> Any:
    """Puts tasks in a row behind one; returns the last."""
    for task in tasks:
        if before is not None:
            before >> task
        before = task
    return before


def tasks_of(place: Place, step: Step) -> list[Any]:
    """A step as one task, or as three: the names of its parts, a task for each of them, and the step made of them."""
    rule = TriggerRule.NONE_FAILED
    outlets = [MODEL_PUBLISHED] if step == PUBLISH else []
    if step.parts is None:
        return [place.task(step.name, step.text, request(step.name), trigger_rule=rule, outlets=outlets)]
    names = place.task(
        f"{step.name}_parts", f"Which parts `{step.name}` has.", request(step.name, "names=true"), trigger_rule=rule
    )
    parts = place.each(f"{step.name}_each", step.text, request(step.name), names)
    joined = place.task(
        step.name, f"Makes one of the parts. {step.text}", request(step.name, "join=true"), trigger_rule=rule, outlets=outlets
    )
    return [names, parts, joined]


def request(step: str, *more: str) -> str:
    """The template that becomes the JSON text of a task when it runs."""
    return "{{ asked(" + ", ".join(["dag_run", "params", "ti.try_number", repr(step), *more]) + ") }}"


def arguments_of(settings: Airflow) -> dict[str, Any]:
    """What all tasks have in common."""
    return {
        "owner": "tastemaker",
        "pool": settings.pool,
        "retries": settings.retries,
        "retry_delay": timedelta(seconds=settings.retry_seconds),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": LONGEST_WAIT,
        "execution_timeout": timedelta(minutes=settings.timeout_minutes),
        "on_failure_callback": step_failed,
    }


def schedule_of(pipeline: Pipeline, settings: Airflow) -> Any:
    """A cron timetable, so that every run has an interval; the retraining pipeline also starts when the asset says so."""
    cron: str = getattr(settings.cron, pipeline.name, "")
    timetable = CronDataIntervalTimetable(cron, timezone="UTC") if cron else None
    if timetable is not None:
        checked(timetable, f"airflow.cron.{pipeline.name}", cron)
    wanted: list[Asset] = [RETRAIN] if pipeline.name == RETRAINED else []
    if timetable is not None and wanted:
        return AssetOrTimeSchedule(timetable=timetable, assets=wanted)
    return timetable or wanted or None


def checked(timetable: CronDataIntervalTimetable, key: str, cron: str) -> None:
    """Raises ``ConfigError`` for what is no cron expression."""
    try:
        timetable.validate()
    except Exception as error:
        raise ConfigError(f"{key} = {cron!r}: {error}; give five fields as in '0 4 * * *', or nothing") from None


def start_of(settings: Airflow) -> datetime:
    try:
        start = datetime.fromisoformat(settings.start_date)
    except ValueError:
        raise ConfigError(f"airflow.start_date = {settings.start_date!r}: give a date as 2026-01-31") from None
    return start if start.tzinfo else start.replace(tzinfo=UTC)


def about(pipeline: Pipeline) -> str:
    """The page of a DAG."""
    steps = "\n".join(f"1. **{step.name}**{' (always)' if step.always else ''}: {step.text}" for step in pipeline.steps)
    return (
        f"{pipeline.text}\n\n{steps}\n\n"
        "A run stands for its data interval, and its id for the interval's end: the same interval is the same run, with the same "
        "model versions. A step that halts a run, as a closed gate, skips what follows; that is a success. Each task leaves its "
        "`summary` in words; `tastemaker runs` shows the same run."
    )
