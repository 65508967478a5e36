"""The step ``experiments``: what every experiment that runs says by now, into the history of results."""

from __future__ import annotations

from typing import Any

from tastemaker.config import Config
from tastemaker.domain import Experiment
from tastemaker.errors import InputError
from tastemaker.experiments.reporting import Report
from tastemaker.monitoring.results import record
from tastemaker.pipelines.experiments.measure import measured
from tastemaker.pipelines.pipeline import Outcome, Progress, Window
from tastemaker.storage import Storage


def experiments(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Measures each from the lake, of events up to the window's end; those that ended within the window, too.

    Raises ``InputError`` for one that asks for what the configuration does not know, after all others are measured.
    """
    wanted = [experiment for experiment in storage.tables.experiments.all() if concerns(experiment, window)]
    found: dict[str, Any] = {}
    alpha = config.experiments.alpha
    wrong: InputError | None = None
    for done, experiment in enumerate(wanted):
        progress(done, len(wanted), experiment.name)
        try:
            data = measured(storage, config, experiment, window.end)
        except InputError as error:
            wrong = wrong or error
            continue
        found[experiment.name] = summary(record(storage, experiment, data, "lake", window.end, alpha))
    if wrong is not None:
        raise wrong
    return Outcome({"experiments": found})


def concerns(experiment: Experiment, window: Window) -> bool:
    """Whether an experiment runs, or has run in the window."""
    ended = experiment.ended is not None and experiment.ended >= window.start
    return experiment.state == "running" or (experiment.state == "stopped" and ended)


def summary(made: Report) -> dict[str, Any]:
    """Of a run: what is decided, and why."""
    return {"units": sum(made.units.values()), "verdicts": {one.arm: [one.decision, one.text] for one in made.conclusions}}
