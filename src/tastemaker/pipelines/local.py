"""The local runner: steps in order, in this process, with retries, and going on where a killed run stopped.

Only one run works at a time, of whatever pipeline, because all move the same lake and the same live pointer: a file lock says
so, and where the tables are on a server, a lock there.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable

from msgspec.structs import replace

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import Run
from tastemaker.monitoring.alerts import run_failed
from tastemaker.pipelines.pipeline import Pipeline, Step
from tastemaker.pipelines.running import LOCK, clock, close_run, do_step, may_pass, opened_run
from tastemaker.storage import Storage
from tastemaker.storage.lockfile import locked

Watch = Callable[[str, int, int, str], None]
"""Called with (step, done, all, a word) while steps work; ``done == all`` with the word "done" ends a step."""

WAIT = 1.0  # seconds before the first retry; doubles with each


def unwatched(_step: str, _done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


def run_pipeline(
    storage: Storage, config: Config, pipeline: Pipeline, *, fresh: bool = False, watch: Watch = unwatched, now: int | None = None
) -> Run:
    """Runs a pipeline to its end, or goes on with its last unfinished run unless ``fresh``.

    A run whose pinned data is gone (a user was erased meanwhile) cannot go on, and is abandoned, too. Raises what a step raised
    when its retries are used up; the run can then be taken up again.
    """
    with locked(config.home / LOCK), storage.tables.alone("pipelines"):
        run = storage.tables.runs.unfinished(pipeline.name)
        if run is not None and (fresh or not readable(storage, run)):
            storage.tables.runs.put(replace(run, state="abandoned", ended=clock()))
            run = None
        if run is None:
            run = opened_run(storage, pipeline, clock() if now is None else now)
        storage.tables.triggers.take(pipeline.name, run.id, run.began)  # of a run that was killed between the two
        return proceed(storage, config, pipeline, run, watch)


def readable(storage: Storage, run: Run) -> bool:
    """Whether the files of the table versions that the run has pinned are all there."""
    versions: dict[str, int] = run.steps.get("ingest", {}).get("summary", {}).get("versions", {})
    return all(storage.lake.readable(name, version) for name, version in versions.items())


def proceed(storage: Storage, config: Config, pipeline: Pipeline, run: Run, watch: Watch) -> Run:
    """The steps that are not done yet."""
    for step in pipeline.steps:
        if run.steps.get(step.name, {}).get("state") in ("done", "skipped"):
            continue
        run = attempt(storage, config, run, step, watch)
        state = run.steps[step.name]
        watch(step.name, 1, 1, "done" if state["state"] == "done" else f"skipped: {state['reason']}")
    return close_run(storage, pipeline, run.id)


def attempt(storage: Storage, config: Config, run: Run, step: Step, watch: Watch) -> Run:
    """One step, tried again when it fails."""
    tries = 0
    while True:
        tries += 1
        try:
            return do_step(storage, config, run, step, lambda done, total, note: watch(step.name, done, total, note), tries)
        except Exception as error:
            last = tries > config.schedule.retries or not may_pass(error)
            telemetry.log.error("step_failed", run=run.id, step=step.name, tries=tries, error=str(error), exc_info=not last)
            if last:
                run_failed(storage, pipeline=run.pipeline, run=run.id, step=step.name, error=str(error))
                raise
            time.sleep(WAIT * 2 ** (tries - 1))


def is_running(config: Config) -> bool:
    """Whether some process is at work on a run right now."""
    try:
        with (config.home / LOCK).open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
