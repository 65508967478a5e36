"""The step ``compact``: few files instead of many, for readers of the lake. It may be interrupted and done again."""

from __future__ import annotations

from tastemaker.config import Config
from tastemaker.pipelines.pipeline import Outcome, Progress, Window
from tastemaker.storage import Storage

FEW = 16  # files up to which a table is left as it is


def compact(storage: Storage, _config: Config, _window: Window, progress: Progress) -> Outcome:
    """Few files instead of many, in every table of the lake that has come to many."""
    names = storage.lake.names()
    files: dict[str, list[int]] = {}
    for done, name in enumerate(names):
        progress(done, len(names), name)
        before = len(storage.lake.files(name))
        if before > FEW:
            storage.lake.compact(name)
            files[name] = [before, len(storage.lake.files(name))]
    return Outcome({"tables": len(names), "files": files})
