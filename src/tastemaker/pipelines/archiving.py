"""Archiving as it happens: the log's new events into the lake, again and again.

A lake or a log that is away is waited for: the log keeps what was not archived, so nothing is lost, only later.
"""

from __future__ import annotations

import threading
import time

from tastemaker import telemetry
from tastemaker.errors import Conflict, StorageError
from tastemaker.pipelines.steps.ingest import compact_many
from tastemaker.storage import Storage
from tastemaker.storage.archive import GROUP, archive
from tastemaker.storage.log import lag_of


class Archiver:
    """Moves events and remembers how it went."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.rows, self.at, self.failure = 0, 0.0, ""

    def once(self) -> int:
        """Everything that the log holds now; returns the rows written."""
        rows = sum(archive(self.storage.log, self.storage.lake).values())
        compact_many(self.storage)
        self.rows, self.at, self.failure = self.rows + rows, time.time(), ""
        telemetry.LAG.labels(GROUP).set(lag_of(self.storage.log.ends(), self.storage.log.committed(GROUP)))
        return rows

    def run(self, every: float, ended: threading.Event) -> None:
        """Looks every few seconds until ``ended``."""
        while not ended.is_set():
            try:
                self.once()
            except (StorageError, Conflict) as error:  # what is in the log stays there until the next look
                self.failure = str(error)
                telemetry.log.error("archive_failed", error=str(error))
            ended.wait(every)

    def condition(self) -> dict[str, object]:
        """How it fares, for a health check."""
        return {"rows": self.rows, "last": self.at or None, "failure": self.failure or None}
