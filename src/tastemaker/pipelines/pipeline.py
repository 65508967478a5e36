"""What a pipeline is: steps in order, each a function of storage, configuration and a window.

A step reads and writes storage only, keyed by the window's run, so that it may be tried again and needs nothing handed to
it by the step before: a local runner and a scheduler's tasks call the same function. What a step wants its successors to
know (table versions, model versions) is its summary, which the runner keeps in the runs table.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tastemaker.config import Config
from tastemaker.errors import Conflict, NotFound, did_you_mean
from tastemaker.storage import Storage

Progress = Callable[[int, int, str], None]
"""Called with (done, all, a word) while a step works."""


@dataclass(frozen=True)
class Window:
    """The run that a step works for, and the interval of time that the run stands for.

    ``force``: what an earlier try of the step has finished is made anew, too.
    """

    run: str
    start: int
    end: int
    force: bool = False

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
PartFunction = Callable[[Storage, Config, Window, Progress, str], Outcome]


@dataclass(frozen=True)
class Parts:
    """How a step falls into parts that a scheduler may do side by side; the step's own function does all of them in turn.

    Each is "module:name". ``names``: the parts, from the configuration; ``work``: does one; ``join``: makes the step's outcome
    of the summaries of its parts, in the order of their names.
    """

    names: str
    work: str
    join: str

    def load_names(self) -> Callable[[Config], tuple[str, ...]]:
        found: Callable[[Config], tuple[str, ...]] = loaded(self.names)
        return found

    def load_work(self) -> PartFunction:
        found: PartFunction = loaded(self.work)
        return found

    def load_join(self) -> Callable[[Sequence[Mapping[str, Any]]], Outcome]:
        found: Callable[[Sequence[Mapping[str, Any]]], Outcome] = loaded(self.join)
        return found


@dataclass(frozen=True)
class Step:
    """One piece of work. ``function`` is "module:name", imported when the step runs: a catalogue must load fast.

    ``always``: it is done also where an earlier step has halted the run. ``alone`` names what it
    moves: steps of other runs that move the same wait until it is done.
    """

    name: str
    function: str
    text: str
    parts: Parts | None = None
    always: bool = False
    alone: str = ""

    def load(self) -> StepFunction:
        found: StepFunction = loaded(self.function)
        return found


def loaded(place: str) -> Any:
    """What "module:name" names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Pipeline:
    """Steps in the order in which they need each other."""

    name: str
    text: str
    steps: tuple[Step, ...]

    def step(self, name: str) -> Step:
        """A step by its name."""
        known = {step.name: step for step in self.steps}
        if name not in known:
            raise NotFound(f"{self.name} has no step {name!r}; {did_you_mean(name, known)}")
        return known[name]


def summary_of(storage: Storage, window: Window, step: str) -> dict[str, Any]:
    """What an earlier step of the same run left behind."""
    run = storage.tables.runs.get(window.run)
    found = run.steps.get(step) if run is not None else None
    if found is None or found.get("state") != "done":
        raise Conflict(f"run {window.run}: step {step!r} has not been done yet; run the pipeline from its beginning")
    summary: dict[str, Any] = found["summary"]
    return summary
