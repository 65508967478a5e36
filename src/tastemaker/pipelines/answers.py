"""A task asked for and answered in JSON, for a scheduler whose process may not hold the stores, the models, or this version.

An error that no retry heals is an answer, too: {"state": "refused", "error": ...}. The scheduler's side turns it into a failure
for good; every other error is raised and may pass.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from tastemaker import telemetry
from tastemaker.config import Config, load
from tastemaker.pipelines.pipeline import Progress
from tastemaker.pipelines.running import may_pass
from tastemaker.pipelines.tasks import Task, do_task, moment
from tastemaker.storage import Storage, connect

REFUSED = "refused"
EVERY = 10.0  # seconds between lines of progress


def answered(text: str, part: str = "") -> Any:
    """Does what a JSON text asks for, in the stores that this process's configuration names; a list where names are asked for.

    ``end`` and ``start`` are ISO 8601 or epoch ms. ``part`` is the part to do, where a scheduler hands it over apart.
    """
    asked: dict[str, Any] = msgspec.json.decode(text)
    try:
        task = task_of(asked | ({"part": part} if part else {}))
        config, _ = load()
        with connect(config) as storage:
            return answer(storage, config, task, paced(task))
    except Exception as error:
        return refused(error)


def answer(storage: Storage, config: Config, task: Task, progress: Progress) -> Any:
    """What ``do_task`` says, as JSON can hold it: what is not a number is null. Raises what may pass by itself."""
    try:
        done = do_task(storage, config, task, progress)
    except Exception as error:
        return refused(error)
    return msgspec.json.decode(msgspec.json.encode(done["parts"] if "parts" in done and task.names else done))


def refused(error: Exception) -> dict[str, Any]:
    """The answer to a task that cannot be done, however often it is tried; raises an error that may pass."""
    if may_pass(error):
        raise error
    telemetry.log.error("step_refused", error=str(error), kind=type(error).__name__)
    return {"state": REFUSED, "error": str(error), "kind": type(error).__name__}


def task_of(asked: dict[str, Any]) -> Task:
    """The task that a JSON object names."""
    times = {name: moment(name, str(asked[name])) for name in ("end", "start") if asked.get(name) not in (None, "")}
    return msgspec.convert({**asked, "start": None, **times}, Task)


def paced(task: Task) -> Progress:
    """Progress as lines of the log, one in ten seconds at most."""
    last = -EVERY

    def progress(done: int, total: int, note: str) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= EVERY:
            last = now
            telemetry.log.info("step_progress", step=task.step, part=task.part or None, done=done, total=total, note=note)

    return progress
