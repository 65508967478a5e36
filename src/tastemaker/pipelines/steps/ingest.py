"""The step ``ingest``: the log's new events into the lake. Its summary pins the versions that the run reads."""

from __future__ import annotations

from tastemaker.config import Config
from tastemaker.pipelines.pipeline import Outcome, Progress, Window
from tastemaker.storage import Storage
from tastemaker.storage.archive import GROUP, archive

TABLES = ("interactions", "views", "decisions", "exposures")
MANY = 64  # files from which a table is read faster in fewer


def ingest(storage: Storage, _config: Config, _window: Window, progress: Progress) -> Outcome:
    """Archives, then notes each table's version and how far each partition of the log is in the lake."""
    rows = archive(storage.log, storage.lake, progress=lambda done, total: progress(done, total, "events"))
    compact_many(storage, progress)
    versions = {name: version for name in TABLES if (version := storage.lake.version(name)) >= 0}
    return Outcome({"rows": rows, "versions": versions, "ends": storage.log.committed(GROUP)})


def compact_many(storage: Storage, progress: Progress | None = None) -> None:
    """Compacts the tables of events that have come to many files."""
    for name in TABLES:
        if len(storage.lake.files(name)) > MANY:
            if progress:
                progress(0, 1, f"compacting {name}")
            storage.lake.compact(name)
