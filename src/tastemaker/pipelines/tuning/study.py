"""The memory of a search: every trial, in a folder of its own, so that a search that was stopped goes on.

Optuna's TPE (Bergstra et al. 2011, "Algorithms for hyper-parameter optimization") proposes what to try; its journal is the
file. Each proposal has a seed that follows from the search's seed and the number of the trial, so a search that was killed
in the middle tries the same parameters as one that ran through.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tastemaker.errors import StorageError
from tastemaker.evaluation.metrics import Doubles
from tastemaker.models.space import Among, Range

JOURNAL = "study.log"
DIGITS = 4  # significant digits of what is tried: what is printed is then exactly what was judged


class Tried(NamedTuple):
    """One trial that came to its end."""

    number: int  # 0 is what was configured before the search
    params: dict[str, Any]  # the searched hyper-parameters
    value: float | None  # the mean of the metric over users; None: it failed
    seconds: float
    reason: str  # why it failed


class Study:
    """The trials of one search. Trial 0 tries no proposal but what is configured."""

    def __init__(self, folder: Path, space: Mapping[str, Range], seed: int, configured: Mapping[str, Any]) -> None:
        self.folder, self.space, self.seed, self.configured = folder, space, seed, dict(configured)
        self.distributions = {name: distribution(each) for name, each in space.items()}
        self.proposed: optuna.Trial | None = None
        with explained(folder / JOURNAL):
            self.study = opened(folder)
            for left in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self.study.tell(left.number, state=TrialState.FAIL)  # its process was killed
            ended = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
            # what failed without a reason was interrupted: it is tried again and does not count
            counted = [trial for trial in ended if trial.state == TrialState.COMPLETE or "reason" in trial.user_attrs]
            self.tried = [tried(number, trial) for number, trial in enumerate(counted)]

    def propose(self) -> dict[str, Any]:
        """The hyper-parameters of the next trial."""
        number = len(self.tried)
        if number == 0:
            return dict(self.configured)
        self.study.sampler = optuna.samplers.TPESampler(seed=seed_of(self.seed, number))
        self.proposed = self.study.ask(self.distributions)
        return {name: value_of(self.space[name], raw) for name, raw in self.proposed.params.items()}

    def succeeded(self, params: dict[str, Any], values: Doubles, seconds: float) -> Tried:
        """Notes what each user got from the proposal, (users,)."""
        number, value = len(self.tried), float(np.mean(values))
        np.save(self.file(number), values)  # before the trial counts, so that a trial that counts has it
        self._end(Tried(number, params, value, seconds, ""))
        for path in self.folder.glob("trial-*.npy"):
            if path not in (self.file(0), self.file(self.best.number)):
                path.unlink()
        return self.tried[-1]

    def failed(self, params: dict[str, Any], reason: str, seconds: float) -> Tried:
        """Notes why a proposal cannot be judged."""
        self._end(Tried(len(self.tried), params, None, seconds, reason))
        return self.tried[-1]

    @property
    def best(self) -> Tried:
        """The best trial, the earliest of equals; there must be one that succeeded."""
        return max((trial for trial in self.tried if trial.value is not None), key=lambda trial: trial.value or 0.0)

    def values(self, number: int, users: int) -> Doubles | None:
        """What each user got in the first or the best trial, (users,); None where the file is gone or damaged."""
        try:
            found: Doubles = np.load(self.file(number), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None  # the caller judges the trial again
        return found if found.shape == (users,) else None

    def importance(self) -> dict[str, float]:
        """Each parameter's share in how good a trial is, by PED-ANOVA (Watanabe et al. 2023), largest first.

        Empty where it would say nothing: one parameter, fewer than ten trials, or all of them alike.
        """
        judged = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        whole = [trial for trial in judged if set(trial.params) == set(self.space)]  # the configured one may be out of a range
        if len(self.space) < 2 or len(whole) < 10 or len({trial.value for trial in whole}) == 1:
            return {}
        alone = optuna.create_study(direction="maximize")
        alone.add_trials(whole)
        return dict(optuna.importance.get_param_importances(alone))

    def file(self, number: int) -> Path:
        return self.folder / f"trial-{number}.npy"

    def _end(self, trial: Tried) -> None:
        state = TrialState.FAIL if trial.value is None else TrialState.COMPLETE
        notes: dict[str, Any] = {"params": trial.params, "seconds": trial.seconds}
        if trial.value is None:
            notes["reason"] = trial.reason
        if self.proposed is None:
            raw = {name: place for name, value in trial.params.items() if (place := raw_of(self.space[name], value)) is not None}
            known = {name: self.distributions[name] for name in raw}
            self.study.add_trial(
                optuna.create_trial(state=state, value=trial.value, params=raw, distributions=known, user_attrs=notes)
            )
        else:
            for name, note in notes.items():
                self.proposed.set_user_attr(name, note)
            self.study.tell(self.proposed, trial.value, state)
            self.proposed = None
        self.tried.append(trial)


def opened(folder: Path) -> optuna.Study:
    """The study of a folder, begun when there is none. The caller holds the folder's lock."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / JOURNAL
    (folder / f"{JOURNAL}.lock").unlink(missing_ok=True)  # left by a process that was killed while it wrote
    mend(path)
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.create_study(storage=storage, study_name=folder.name, direction="maximize", load_if_exists=True)


def mend(path: Path) -> None:
    """Takes away a last line without an end: it was being written when the power went."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        text = file.read()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            file.truncate(whole)
            os.fsync(file.fileno())


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """A journal that cannot be read is named, with the way out."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError) as error:
        remedy = "restore it, or begin the search anew with --fresh"
        raise StorageError(f"{path}: the file of the search is damaged ({type(error).__name__}: {error}); {remedy}") from error


def tried(number: int, trial: FrozenTrial) -> Tried:
    notes = trial.user_attrs
    return Tried(number, dict(notes["params"]), trial.value, float(notes["seconds"]), notes.get("reason", ""))


def distribution(each: Range) -> BaseDistribution:
    """A range as Optuna knows it; a choice is known by its place, since it may be anything."""
    if isinstance(each, Among):
        return CategoricalDistribution(range(len(each.choices)))
    if each.whole:
        return IntDistribution(int(each.low), int(each.high), log=each.log)
    return FloatDistribution(each.low, each.high, log=each.log)


def value_of(each: Range, raw: Any) -> Any:
    """The value of a hyper-parameter from Optuna's."""
    if isinstance(each, Among):
        return each.choices[raw]
    if each.whole:
        return int(raw)
    return min(max(float(f"{raw:.{DIGITS}g}"), each.low), each.high)


def raw_of(each: Range, value: Any) -> Any:
    """Optuna's value from that of a hyper-parameter; None where the range does not hold it.

    >>> raw_of(Among(("a", "b")), "b"), raw_of(Among(("a", "b")), "c")
    (1, None)
    """
    if isinstance(each, Among):
        return each.choices.index(value) if value in each.choices else None
    if isinstance(value, int | float) and math.isfinite(value) and each.low <= value <= each.high:
        return value
    return None


def seed_of(seed: int, number: int) -> int:
    """A seed for one proposal."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
