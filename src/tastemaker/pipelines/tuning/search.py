"""``tastemaker tune``: better hyper-parameters for one model, within a budget of trials or time.

The first trial is what is configured now, so that "it is fine as it is" is a finding, too, and every other trial is measured
against it user by user. A trial leaves the value of each user behind, never its model.

    task.py     what is searched, and on what
    study.py    the memory of a search; what to try next
    report.py   the search as one page of plots
"""

from __future__ import annotations

import importlib.util
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tastemaker.domain import Interval
from tastemaker.errors import ConfigError, InputError, MissingExtra
from tastemaker.evaluation.compare import interval, paired_difference
from tastemaker.evaluation.metrics import Doubles
from tastemaker.models import Progress, silent
from tastemaker.pipelines.tuning.task import Task, folder_of
from tastemaker.storage.lockfile import locked

if TYPE_CHECKING:
    from tastemaker.pipelines.tuning.study import Study, Tried

NEEDED = ("optuna", "matplotlib")


@dataclass(frozen=True)
class Found:
    """What a search has found so far."""

    tried: tuple[Tried, ...]
    best: Tried
    mean: Interval  # the best trial's metric
    before: Interval | None  # that of what was configured; None where it cannot be judged
    gain: Interval | None  # best minus configured, user by user
    importance: Mapping[str, float]
    interrupted: bool


def check_extra() -> None:
    """Raises ``MissingExtra`` where a package of the extra is not installed."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise MissingExtra("tune", "`tastemaker tune`")


def search(
    task: Task,
    *,
    trials: int | None = None,
    seconds: float | None = None,
    fresh: bool = False,
    watch: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """Tries hyper-parameters until the study has ``trials`` trials or ``seconds`` are over, whichever is first.

    Trials of earlier calls on the same data count; seconds are those of this call, and a trial under way is ended. Ctrl-C
    ends the search with what there is. A trial whose parameters the model refuses is noted, and the search goes on. Raises
    ``InputError`` where every trial failed, ``Conflict`` while another process searches the same, ``StorageError`` for a
    study that cannot be read.
    """
    check_budget(trials, seconds)
    check_extra()
    from tastemaker.pipelines.tuning.study import Study

    folder, began, interrupted = folder_of(task), clock(), False
    with locked(folder / "lock", "search for the same"):
        if fresh:
            forget(folder)
        study = Study(folder, task.space, task.config.train.seed, task.configured)
        pace = Pace(study, trials, seconds, began, clock)
        try:
            while not pace.spent():
                attempt(task, study, pace, watch)
        except KeyboardInterrupt:
            if all(trial.value is None for trial in study.tried):
                raise
            interrupted = True
        watch(len(study.tried), trials or len(study.tried), pace.so_far())
        return found_by(task, study, interrupted)


def check_budget(trials: int | None, seconds: float | None) -> None:
    if trials is None and seconds is None:
        raise InputError("trials", None, "give a number of trials, a time, or both")
    if trials is not None and trials < 1:
        raise InputError("trials", trials, "one trial is the least: it is what is configured now")
    if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
        raise InputError("seconds", seconds, "give a time above zero")


def forget(folder: Path) -> None:
    """Everything in the folder but its lock, which is held."""
    for path in folder.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def attempt(task: Task, study: Study, pace: Pace, watch: Progress) -> None:
    """One trial."""
    number, total, began = len(study.tried), pace.trials or 0, pace.clock()
    watch(number, total, pace.so_far())
    params = study.propose()

    def report(_done: int, _total: int, note: str) -> None:
        watch(number, total, f"trial {number + 1}: {note}; {pace.so_far()}")

    try:
        values = task.judge(params if number else {}, report)
    except (InputError, ConfigError) as error:  # this data or these values together: others may do
        study.failed(params, str(error), pace.clock() - began)
    except MemoryError as error:
        study.failed(params, f"not enough memory: {error}", pace.clock() - began)
    else:
        study.succeeded(params, values, pace.clock() - began)


@dataclass(frozen=True)
class Pace:
    """How much of the budget is spent, and in words."""

    study: Study
    trials: int | None
    seconds: float | None
    began: float
    clock: Callable[[], float]

    def spent(self) -> bool:
        if self.trials is not None and len(self.study.tried) >= self.trials:
            return True
        return self.seconds is not None and self.clock() - self.began >= self.seconds

    def so_far(self) -> str:
        return ", ".join(self.words())

    def words(self) -> Iterator[str]:
        judged = [trial for trial in self.study.tried if trial.value is not None]
        if judged:
            yield f"best {self.study.best.value:.4f} (trial {self.study.best.number + 1})"
        if failed := len(self.study.tried) - len(judged):
            yield f"{failed} failed"
        if left := self.left():
            yield f"about {in_words(left)} left"

    def left(self) -> float | None:
        """Seconds until the budget is spent, as far as one can tell."""
        tried, bounds = self.study.tried, []
        if self.trials is not None and tried:
            bounds.append((self.trials - len(tried)) * sum(trial.seconds for trial in tried) / len(tried))
        if self.seconds is not None:
            bounds.append(self.seconds - (self.clock() - self.began))
        return max(min(bounds), 0.0) if bounds else None


def in_words(seconds: float) -> str:
    """
    >>> in_words(7.2), in_words(150)
    ('7 s', '2 min')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def found_by(task: Task, study: Study, interrupted: bool) -> Found:
    """The best trial against what was configured. Intervals are over users, the difference is taken user by user."""
    tried = study.tried
    if all(trial.value is None for trial in tried):
        remedy = f"every trial failed; the last one: {tried[-1].reason}" if tried else "there was no time for a trial"
        raise InputError(f"models.{task.kind}", f"{len(tried)} trials", remedy)
    settings, best = task.config.evaluate, study.best
    chances: dict[str, Any] = {
        "confidence": settings.confidence,
        "resamples": settings.bootstrap,
        "seed": task.config.train.seed,
    }
    values = values_of(task, study, best)
    before = values_of(task, study, tried[0]) if tried[0].value is not None else None
    return Found(
        tuple(tried),
        best,
        interval(values, **chances),
        None if before is None else interval(before, **chances),
        None if before is None else paired_difference(values, before, **chances),
        study.importance(),
        interrupted,
    )


def values_of(task: Task, study: Study, trial: Tried) -> Doubles:
    """What each user got in a trial, (users,): kept from then, or judged again, which gives the same."""
    kept = study.values(trial.number, len(task.split))
    return task.judge(trial.params if trial.number else {}) if kept is None else kept
