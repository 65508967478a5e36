"""What all runners share: how a run is opened, how a step is done and noted, and when a run is at its end.

Every change of a step's state is written to the runs table before and after the work, whoever does it: the local runner, a task
of Airflow, a container. So the table is the history that people look at, and the place from which a run goes on. Steps of one
run may be noted from several processes at once (the parts of ``train``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from msgspec.structs import replace

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import Run
from tastemaker.errors import Conflict, StorageError, TastemakerError
from tastemaker.monitoring.alerts import run_recovered
from tastemaker.pipelines.pipeline import Outcome, Pipeline, Progress, Step, Window
from tastemaker.storage import Storage
from tastemaker.storage.lockfile import locked

LOCK = "pipelines.lock"
State = dict[str, Any]


def clock() -> int:
    return int(time.time() * 1000)


def window_of(run: Run, force: bool = False) -> Window:
    return Window(run.id, run.start, run.end, force)


def id_of(pipeline: Pipeline, end: int) -> str:
    """The id of a pipeline's run over an interval that ends then: the same interval is the same run.

    >>> id_of(Pipeline("daily", "", ()), 1769860800123)
    'daily-20260131T120000123'
    """
    return f"{pipeline.name}-" + datetime.fromtimestamp(end / 1000, UTC).strftime("%Y%m%dT%H%M%S") + f"{end % 1000:03d}"


def opened_run(storage: Storage, pipeline: Pipeline, end: int, start: int | None = None) -> Run:
    """The run of an interval, as far as it has come; a new one where there is none.

    Without ``start`` the interval begins where the last whole run ended: what others skipped is left to this one.
    """
    id = id_of(pipeline, end)
    known = storage.tables.runs.get(id)
    if known is not None and known.state != "abandoned":
        run = known
    else:
        run = Run(id, pipeline.name, last_end(storage, pipeline) if start is None else start, end, "running", clock())
        storage.tables.runs.put(run)
    storage.tables.triggers.take(pipeline.name, run.id, run.began)
    return run


def last_end(storage: Storage, pipeline: Pipeline) -> int:
    """Where the newest run that did everything ended; 0: nowhere."""
    before = storage.tables.runs.last(pipeline.name, 1000)
    return next((run.end for run in before if is_whole(run, pipeline)), 0)


def is_whole(run: Run, pipeline: Pipeline) -> bool:
    """Whether every step was done, and none skipped."""
    return run.state == "done" and all(run.steps.get(step.name, {}).get("state") == "done" for step in pipeline.steps)


def halt_of(run: Run, before: str = "") -> str:
    """Why the rest of a run is skipped; empty: it is not. ``before``: only what steps that stand before that one have said.

    A gate that was closed does not close itself for the next try.
    """
    earlier = takewhile(lambda name: name != before, run.steps)
    return next((str(run.steps[name]["halt"]) for name in earlier if run.steps[name].get("halt")), "")


def skipped(storage: Storage, run: Run, step: Step) -> Run | None:
    """The run with the step noted as skipped, where an earlier step has halted the run; None: the step is to be done."""
    halt = "" if step.always else halt_of(run, step.name)
    return noted(storage, run, step, {"state": "skipped", "reason": halt}) if halt else None


def do_step(
    storage: Storage, config: Config, run: Run, step: Step, progress: Progress, tries: int = 1, force: bool = False
) -> Run:
    """Does a step of a run, or skips it where an earlier one has halted the run. Returns the run with the step's new state.

    A step that was done is done again: whoever calls wants it. Raises what the step raises, after noting it.
    """
    run = storage.tables.runs.get(run.id) or run
    if (left := skipped(storage, run, step)) is not None:
        return left
    began = clock()
    noted(storage, run, step, {"state": "running", "began": began, "tries": tries})
    progress(0, 1, "starts")
    try:
        with sole(storage, config, step):
            outcome = step.load()(storage, config, window_of(run, force), progress)
    except Exception as error:
        failed = {"state": "failed", "began": began, "ended": clock(), "tries": tries, "error": str(error)}
        noted(storage, run, step, failed)
        raise
    return noted(storage, run, step, done_state(outcome, began, tries))


def do_part(
    storage: Storage,
    config: Config,
    run: Run,
    step: Step,
    part: str,
    progress: Progress,
    tries: int = 1,
    force: bool = False,
) -> Outcome:
    """Does one part of a step, whose state is kept beside those of the others under ``parts``."""
    if step.parts is None:
        raise Conflict(f"{run.pipeline}: step {step.name!r} has no parts; do the whole step")
    began = clock()
    part_noted(storage, run, step, part, {"state": "running", "began": began, "tries": tries})
    progress(0, 1, "starts")
    try:
        outcome = step.parts.load_work()(storage, config, window_of(run, force), progress, part)
    except Exception as error:
        failed = {"state": "failed", "began": began, "ended": clock(), "tries": tries, "error": str(error)}
        part_noted(storage, run, step, part, failed)
        raise
    part_noted(storage, run, step, part, done_state(outcome, began, tries))
    return outcome


def join_parts(storage: Storage, run: Run, step: Step, names: tuple[str, ...]) -> Run:
    """Makes the step's outcome of its parts. Raises ``Conflict`` where one was not done."""
    assert step.parts is not None
    run = storage.tables.runs.get(run.id) or run
    parts: dict[str, State] = run.steps.get(step.name, {}).get("parts", {})
    missing = [name for name in names if parts.get(name, {}).get("state") != "done"]
    if missing:
        raise Conflict(f"run {run.id}: step {step.name!r} lacks its parts {', '.join(missing)}: do them first")
    outcome = step.parts.load_join()([parts[name]["summary"] for name in names])
    began = min((parts[name]["began"] for name in names), default=clock())
    return noted(storage, run, step, done_state(outcome, began, 1) | {"parts": parts})


def close_run(storage: Storage, pipeline: Pipeline, id: str) -> Run:
    """Notes that a run is at its end. Raises ``Conflict`` where a step is neither done nor skipped."""

    def closed(run: Run) -> Run:
        states = {step.name: run.steps.get(step.name, {}).get("state", "pending") for step in pipeline.steps}
        left = [name for name, state in states.items() if state not in ("done", "skipped")]
        if left:
            raise Conflict(f"run {id}: {', '.join(f'{name} is {states[name]}' for name in left)}: the run is not at its end")
        return replace(run, state="done", ended=clock())

    run = storage.tables.runs.change(id, closed)
    run_recovered(storage, pipeline.name)
    telemetry.log.info("run_done", run=run.id, seconds=round((clock() - run.began) / 1000, 1), halted=halt_of(run) or None)
    return run


def done_state(outcome: Outcome, began: int, tries: int) -> State:
    state: State = {"state": "done", "began": began, "ended": clock(), "tries": tries, "summary": outcome.summary}
    return state | ({"halt": outcome.halt} if outcome.halt else {})


def noted(storage: Storage, run: Run, step: Step, state: State) -> Run:
    """The run with a step's new state, written. What its parts have done stays until the step is done."""

    def change(found: Run) -> Run:
        parts: Mapping[str, Any] = {"parts": found.steps[step.name]["parts"]} if "parts" in found.steps.get(step.name, {}) else {}
        whole = "failed" if state["state"] == "failed" else "running"
        return replace(found, state=whole, ended=None, steps=found.steps | {step.name: {**parts, **state}})

    return storage.tables.runs.change(run.id, change)


def part_noted(storage: Storage, run: Run, step: Step, part: str, state: State) -> Run:
    """The run with the new state of a part of a step, written; the step is at work, or has failed, with it."""

    def change(found: Run) -> Run:
        before = found.steps.get(step.name, {})
        parts: dict[str, State] = before.get("parts", {}) | {part: state}
        states = {one["state"] for one in parts.values()}
        whole = "failed" if "failed" in states else "running"
        began = min(one["began"] for one in parts.values())
        return replace(
            found, state=whole, ended=None, steps=found.steps | {step.name: {"state": whole, "began": began, "parts": parts}}
        )

    return storage.tables.runs.change(run.id, change)


@contextmanager
def sole(storage: Storage, config: Config, step: Step) -> Iterator[None]:
    """Nobody else moves what the step moves meanwhile, on this machine or another; raises ``Conflict`` where somebody does."""
    if not step.alone:
        yield
        return
    with locked(config.home / f"{step.alone}.lock", f"step {step.name!r}"), storage.tables.alone(f"step.{step.alone}"):
        yield


def may_pass(error: Exception) -> bool:
    """Whether trying again may help: a wrong value stays wrong."""
    return not isinstance(error, TastemakerError) or isinstance(error, StorageError | Conflict)
