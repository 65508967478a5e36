"""The step ``vacuum``: removes files of the lake that no version still uses. It may be interrupted and done again.

What an unfinished run has read, or written for its own later steps, stays: a run whose versions are gone cannot go on.
"""

from __future__ import annotations

from tastemaker.config import Config
from tastemaker.pipelines.pipeline import Outcome, Progress, Window
from tastemaker.storage import Storage

FEATURES = ("user_features", "item_features")


def vacuum(storage: Storage, config: Config, _window: Window, progress: Progress) -> Outcome:
    """Removes files of old versions of the lake's tables, but for those that unfinished runs read."""
    names, keep = storage.lake.names(), pins(storage)
    files: dict[str, int] = {}
    for done, name in enumerate(names):
        progress(done, len(names), name)
        days = config.retention.features
        hours = round(days * 24) if name in FEATURES else config.retention.vacuum_hours
        if hours and (gone := storage.lake.vacuum(name, hours, keep.get(name, ()))):
            files[name] = gone
    return Outcome({"files": files, "pinned": {name: sorted(versions) for name, versions in keep.items()}})


def pins(storage: Storage) -> dict[str, set[int]]:
    """The versions of tables that unfinished runs have read, or written for their own later steps."""
    found: dict[str, set[int]] = {}
    for run in storage.tables.runs.all_unfinished():
        for step in run.steps.values():
            versions: dict[str, int] = (step.get("summary") or {}).get("versions", {})
            for name, version in versions.items():
                found.setdefault(name, set()).add(version)
    return found
