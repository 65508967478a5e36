"""The step ``retain``: nothing stays for longer than ``[retention]`` says. It may be interrupted and done again.

Rows of events go from the newest version of the lake's tables: versions that a run under way reads keep them until they are
vacuumed. Artifacts go when no run, no live pointer and nobody who rolls back needs them; the cards stay.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tastemaker.config import Config
from tastemaker.monitoring.retention import cutoff, outdated
from tastemaker.pipelines.pipeline import Outcome, Progress, Window
from tastemaker.registry import experiments, live
from tastemaker.storage import Storage

EVENTS = ("interactions", "views", "decisions", "exposures")
RUNS = 100  # of each pipeline that stay whatever their age: the next run reads where the last one ended


def retain(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Removes what is too old at the end of the run's interval; the summary counts it."""
    work: dict[str, Callable[[int], int]] = {
        **{name: partial(storage.lake.delete_below, name, "time") for name in EVENTS},
        "metrics": partial(forget_metrics, storage),
        "alerts": partial(forget_alerts, storage),
        "dead_letters": storage.tables.dead_letters.forget,
        "runs": partial(forget_runs, storage, progress),
        "models": partial(remove_artifacts, storage, config, progress),
    }
    removed: dict[str, int] = {}
    for done, (name, remove) in enumerate(work.items()):
        progress(done, len(work), name)
        before = cutoff(window.end, getattr(config.retention, name))
        if before is not None:
            removed[name] = remove(before)
    return Outcome({"removed": removed})


def forget_metrics(storage: Storage, before: int) -> int:
    """Removes points of metrics, and results of experiments."""
    return storage.tables.metrics.forget(before) + storage.tables.results.forget(before)


def forget_alerts(storage: Storage, before: int) -> int:
    """Removes alerts that are closed, and triggers that were taken."""
    return storage.tables.alerts.forget(before) + storage.tables.triggers.forget(before)


def forget_runs(storage: Storage, progress: Progress, before: int) -> int:
    """Removes old runs, and first the evaluations that name them: a run that is still there is found again."""
    old = storage.tables.runs.older(before, RUNS)
    for done, id in enumerate(old):
        progress(done, len(old), id)
        run = storage.tables.runs.get(id)
        if run is not None and "evaluate" in run.steps:
            storage.lake.delete("evaluations", "run", id)
        storage.tables.runs.delete(id)
    return len(old)


def remove_artifacts(storage: Storage, config: Config, progress: Progress, before: int) -> int:
    """Removes the artifacts of versions that nobody will go back to; their cards stay."""
    now = live.read(storage.kv)
    if now is None:
        return 0  # the first to go live may be any of them
    made = {card.version: card.made for card in storage.tables.models.all()}
    busy = {run.id.rpartition("-")[2] for run in storage.tables.runs.all_unfinished()}
    old = outdated(storage.models.names(), made, needed(storage, config, now), busy, before)
    removed = 0
    for done, version in enumerate(old):
        progress(done, len(old), version)
        now = live.read(storage.kv) or now
        if version not in needed(storage, config, now):  # somebody may have promoted it meanwhile
            storage.models.remove(version)
            removed += 1
    return removed


def needed(storage: Storage, config: Config, now: live.Live) -> set[str]:
    """Versions that are answered from, or that one may want to go back to."""
    served = {now.artifact.partition("/")[0], now.fallback.partition("/")[0]}
    return live.kept(storage, now, config.publish.keep) | served | experiments.versions(storage)
