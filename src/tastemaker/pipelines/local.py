"""The local runner: steps in order, in this process, with retries, and going on where a killed run stopped.

Every change of a step's state is written to the runs table before and after the step, so the table is the history that
people look at and the place from which a run goes on. Only one run works at a time, of whatever pipeline, because all move
the same lake and the same live pointer: a file lock says so, and where the tables are on a server, a lock there.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import Run
from tastemaker.errors import StorageError, TastemakerError
from tastemaker.pipelines.pipeline import Pipeline, Step, Window, run_step
from tastemaker.storage import Storage
from tastemaker.storage.lockfile import locked

Watch = Callable[[str, int, int, str], None]
"""Called with (step, done, all, a word) while steps work; ``done == all`` with the word "done" ends a step."""

WAIT = 1.0  # seconds before the first retry; doubles with each
LOCK = "pipelines.lock"


def unwatched(_step: str, _done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


def clock() -> int:
    return int(time.time() * 1000)


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
            run = begin(storage, pipeline, clock() if now is None else now)
        return proceed(storage, config, pipeline, run, watch)


def readable(storage: Storage, run: Run) -> bool:
    """Whether the files of the table versions that the run has pinned are all there."""
    versions: dict[str, int] = run.steps.get("ingest", {}).get("summary", {}).get("versions", {})
    return all(storage.lake.readable(name, version) for name, version in versions.items())


def begin(storage: Storage, pipeline: Pipeline, now: int) -> Run:
    """A new run, from the end of the last one that did everything until now: what it skipped is left to this one."""
    before = storage.tables.runs.last(pipeline.name, 1000)
    start = next((run.end for run in before if is_whole(run, pipeline)), 0)
    stamp = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y%m%dT%H%M%S") + f"{now % 1000:03d}"
    run = Run(f"{pipeline.name}-{stamp}", pipeline.name, start, now, "running", now)
    storage.tables.runs.put(run)
    return run


def is_whole(run: Run, pipeline: Pipeline) -> bool:
    """Whether every step was done, and none skipped."""
    return run.state == "done" and all(run.steps.get(step.name, {}).get("state") == "done" for step in pipeline.steps)


def proceed(storage: Storage, config: Config, pipeline: Pipeline, run: Run, watch: Watch) -> Run:
    """The steps that are not done yet."""
    window = Window(run.id, run.start, run.end)
    halt = next((step["halt"] for step in run.steps.values() if step.get("halt")), "")
    for step in pipeline.steps:
        known = run.steps.get(step.name, {})
        if known.get("state") in ("done", "skipped"):
            continue
        if halt:
            run = noted(storage, run, step, {"state": "skipped", "reason": halt})
            watch(step.name, 1, 1, f"skipped: {halt}")
            continue
        run = attempt(storage, config, run, step, window, watch)
        halt = run.steps[step.name].get("halt", "")
    run = replace(run, state="done", ended=clock())
    storage.tables.runs.put(run)
    telemetry.log.info("run_done", run=run.id, seconds=round((clock() - run.began) / 1000, 1), halted=halt or None)
    return run


def attempt(storage: Storage, config: Config, run: Run, step: Step, window: Window, watch: Watch) -> Run:
    """One step, tried again when it fails."""
    began = clock()
    tries = 0
    while True:
        tries += 1
        run = noted(storage, run, step, {"state": "running", "began": began, "tries": tries})
        watch(step.name, 0, 1, "starts")
        try:
            outcome = run_step(storage, config, step, window, lambda done, total, note: watch(step.name, done, total, note))
        except Exception as error:
            # A wrong value stays wrong: only what may pass by itself is tried again.
            last = tries > config.schedule.retries or (isinstance(error, TastemakerError) and not isinstance(error, StorageError))
            telemetry.log.error("step_failed", run=run.id, step=step.name, tries=tries, error=str(error), exc_info=not last)
            if last:
                failed = {"state": "failed", "began": began, "ended": clock(), "tries": tries, "error": str(error)}
                noted(storage, replace(run, state="failed"), step, failed)
                raise
            time.sleep(WAIT * 2 ** (tries - 1))
            continue
        done: dict[str, Any] = {"state": "done", "began": began, "ended": clock(), "tries": tries, "summary": outcome.summary}
        run = noted(storage, run, step, done | ({"halt": outcome.halt} if outcome.halt else {}))
        watch(step.name, 1, 1, "done")
        return run


def noted(storage: Storage, run: Run, step: Step, state: dict[str, Any]) -> Run:
    """The run with a step's new state, written."""
    run = replace(run, state="failed" if state["state"] == "failed" else "running", steps=run.steps | {step.name: state})
    storage.tables.runs.put(run)
    return run


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
