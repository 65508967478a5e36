"""A task: one step of one interval, as a scheduler outside asks for it, by name.

A scheduler's tasks are processes that know nothing of each other. What each of them needs to say is which pipeline, which step
and which interval; everything else stands in the stores. The answer is plain JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from tastemaker.config import Config
from tastemaker.domain import Run
from tastemaker.errors import InputError, did_you_mean
from tastemaker.monitoring.alerts import run_failed
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.pipeline import Progress, Step
from tastemaker.pipelines.running import clock, close_run, do_part, do_step, join_parts, noted, opened_run, skipped
from tastemaker.storage import Storage

CLOSE = "close"


@dataclass(frozen=True)
class Task:
    """``end`` and ``start`` in epoch ms, ``start`` None: where the last whole run ended. ``step`` may be "close".

    Of a step that has parts: ``names`` asks which, ``part`` does one, ``join`` makes the step of them. ``models``: only these of
    ``train.models``. ``force``: what an earlier try has finished is made anew. ``failed``: nothing is done but to note that the
    scheduler has given the step up, and why.
    """

    pipeline: str
    step: str
    end: int
    start: int | None = None
    part: str = ""
    join: bool = False
    tries: int = 1
    models: tuple[str, ...] = ()
    force: bool = False
    names: bool = False
    failed: str = ""


def do_task(storage: Storage, config: Config, task: Task, progress: Progress) -> dict[str, Any]:
    """Does it; returns the run's id, the state and what else there is to say: the step's own note in the runs table.

    Raises what the step raises, and ``InputError`` for a task that cannot be.
    """
    chosen, config = pipeline(task.pipeline), restricted(config, task.models)
    step = None if task.step == CLOSE else chosen.step(task.step)
    if task.failed:
        return given_up(storage, opened_run(storage, chosen, task.end), step, task)
    if task.start is not None and task.start >= task.end:
        raise InputError("start", task.start, f"an interval starts before it ends, at {task.end}")
    if task.part and step is not None:
        see_part(config, step, task.part)
    run = opened_run(storage, chosen, task.end, task.start)
    if step is None:
        return {"run": run.id, "state": close_run(storage, chosen, run.id).state}
    if task.names or task.part or task.join:
        return do_parts(storage, config, run, step, task, progress)
    return told(do_step(storage, config, run, step, progress, task.tries, task.force), step)


def see_part(config: Config, step: Step, part: str) -> None:
    """Raises ``InputError`` for a part that the step does not have, before anything is noted."""
    names = step.parts.load_names()(config) if step.parts is not None else ()
    if part not in names:
        remedy = did_you_mean(part, names) if names else "it is done as a whole"
        raise InputError("part", part, f"step {step.name!r} has no such part; {remedy}")


def do_parts(storage: Storage, config: Config, run: Run, step: Step, task: Task, progress: Progress) -> dict[str, Any]:
    """The parts' names, one part, or the step made of them; or the step is skipped as a whole."""
    names = step.parts.load_names()(config) if step.parts is not None else ()
    if (left := skipped(storage, run, step)) is not None:
        return told(left, step)
    if task.names:
        return {"run": run.id, "state": "done", "parts": list(names)}
    if task.join and names:
        return told(join_parts(storage, run, step, names), step)
    before = run.steps.get(step.name, {}).get("parts", {}).get(task.part, {})
    if before.get("state") == "done" and not task.force:
        return {"run": run.id, **before}
    outcome = do_part(storage, config, run, step, task.part, progress, task.tries, task.force)
    return {"run": run.id, "state": "done", "summary": outcome.summary}


def given_up(storage: Storage, run: Run, step: Step | None, task: Task) -> dict[str, Any]:
    """Notes a failure that the step itself could not note, for it was killed, and raises the alert."""
    name = step.name if step is not None else CLOSE
    if step is not None and run.steps.get(name, {}).get("state") != "failed":
        noted(storage, run, step, {"state": "failed", "ended": clock(), "tries": task.tries, "error": task.failed})
    run_failed(storage, pipeline=run.pipeline, run=run.id, step=name, error=task.failed)
    return {"run": run.id, "state": "failed", "error": task.failed}


def restricted(config: Config, models: tuple[str, ...]) -> Config:
    """The configuration with only some of the models that it trains; none named: all."""
    known = config.train.models
    for kind in models:
        if kind not in known:
            raise InputError("models", kind, f"train.models has no such kind; {did_you_mean(kind, known)}")
    chosen = tuple(kind for kind in known if kind in models)
    return replace(config, train=replace(config.train, models=chosen)) if chosen else config


def told(run: Run, step: Step) -> dict[str, Any]:
    return {"run": run.id, **run.steps[step.name]}


def moment(field: str, text: str) -> int:
    """Epoch milliseconds of a time as people and schedulers write it; without a zone it is UTC.

    >>> moment("end", "2026-01-31T12:00:00Z"), moment("end", "1769860800000")
    (1769860800000, 1769860800000)
    """
    if text.isdigit():
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(field, text, "give a time as 2026-01-31T12:00:00Z or in epoch milliseconds") from None
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
