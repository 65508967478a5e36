"""A task: one step of one interval, as a scheduler outside asks for it, by name.

A scheduler's tasks are processes that know nothing of each other. What each of them needs to say is which pipeline, which step
and which interval; everything else stands in the stores. The answer is plain JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tastemaker.config import Config
from tastemaker.domain import Run
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.pipeline import Progress, Step
from tastemaker.pipelines.running import close_run, do_part, do_step, join_parts, opened_run
from tastemaker.storage import Storage

CLOSE = "close"


@dataclass(frozen=True)
class Task:
    """``end`` and ``start`` in epoch ms, ``start`` None: where the last whole run ended. ``step`` may be "close"."""

    pipeline: str
    step: str
    end: int
    start: int | None = None
    part: str = ""
    join: bool = False
    tries: int = 1


def do_task(storage: Storage, config: Config, task: Task, progress: Progress) -> dict[str, Any]:
    """Does it; returns the run's id, the state and what else there is to say: the step's own note in the runs table.

    Raises what the step raises.
    """
    chosen = pipeline(task.pipeline)
    run = opened_run(storage, chosen, task.end, task.start)
    if task.step == CLOSE:
        return {"run": run.id, "state": close_run(storage, chosen, run.id).state}
    step = chosen.step(task.step)
    if task.part:
        outcome = do_part(storage, config, run, step, task.part, progress, task.tries)
        return {"run": run.id, "state": "done", "summary": outcome.summary}
    if task.join and step.parts is not None:
        return told(join_parts(storage, run, step, step.parts.load_names()(config)), step)
    return told(do_step(storage, config, run, step, progress, task.tries), step)


def told(run: Run, step: Step) -> dict[str, Any]:
    return {"run": run.id, **run.steps[step.name]}
