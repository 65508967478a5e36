"""What a pipeline is: steps in order, each a function of storage, configuration and a window.

A step reads and writes storage only, keyed by the window's run, so that it may be tried again and needs nothing handed to
it by the step before: a local runner and a scheduler's tasks call the same function. What a step wants its successors to
know (table versions, model versions) is its summary, which the runner keeps in the runs table.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tastemaker.config import Config
from tastemaker.errors import Conflict
from tastemaker.storage import Storage

Progress = Callable[[int, int, str], None]
"""Called with (done, all, a word) while a step works."""


@dataclass(frozen=True)
class Window:
    """The run that a step works for, and the interval of time that the run stands for."""

    run: str
    start: int
    end: int

    @property
    def suffix(self) -> str:
        """The part of the run's id that names its time: model versions carry it."""
        return self.run.rpartition("-")[2]


@dataclass(frozen=True)
class Outcome:
    """What a step leaves behind. ``halt`` skips the steps that follow: a closed gate is not a failure."""

    summary: dict[str, Any] = field(default_factory=dict)
    halt: str = ""


StepFunction = Callable[[Storage, Config, Window, Progress], Outcome]


@dataclass(frozen=True)
class Step:
    """One piece of work. ``function`` is "module:name", imported when the step runs: a catalogue must load fast."""

    name: str
    function: str
    text: str

    def load(self) -> StepFunction:
        module, _, name = self.function.partition(":")
        found: StepFunction = getattr(importlib.import_module(module), name)
        return found


@dataclass(frozen=True)
class Pipeline:
    """Steps in the order in which they need each other."""

    name: str
    text: str
    steps: tuple[Step, ...]


def run_step(storage: Storage, config: Config, step: Step, window: Window, progress: Progress) -> Outcome:
    """Runs one step: the entry that every runner uses."""
    return step.load()(storage, config, window, progress)


def summary_of(storage: Storage, window: Window, step: str) -> dict[str, Any]:
    """What an earlier step of the same run left behind."""
    run = storage.tables.runs.get(window.run)
    found = run.steps.get(step) if run is not None else None
    if found is None or found.get("state") != "done":
        raise Conflict(f"run {window.run}: step {step!r} has not been done yet; run the pipeline from its beginning")
    summary: dict[str, Any] = found["summary"]
    return summary
