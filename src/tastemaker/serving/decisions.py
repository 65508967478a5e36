"""Decisions on their way to the log, a handful at a time.

A hand-over for each answer would cost more than the answer. So they gather for fifty milliseconds, or up to a number, and
go as one append. An answer does not wait for its decision to be durable: what a crash takes is decisions of the last
milliseconds, never an acknowledged event.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from tastemaker import telemetry
from tastemaker.domain import AnyEvent, Decision
from tastemaker.storage import Storage
from tastemaker.storage.log import Position

GATHER = 0.05  # seconds
MOST = 256


class Decisions:
    """The gathering place of one event loop."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.lost = 0
        self._waiting: list[AnyEvent] = []

    def take(self, decision: Decision) -> None:
        """Takes a decision; it is in the log's hands fifty milliseconds later."""
        waiting = self._waiting
        waiting.append(decision)
        if len(waiting) == 1:
            asyncio.get_running_loop().call_later(GATHER, self.flush)
        elif len(waiting) >= MOST:
            self.flush()

    def flush(self) -> None:
        """Hands over what has gathered."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            # built here from parts that were decoded before: nothing to check again
            self.storage.log.append(waiting, checked=True).add_done_callback(lambda done: self._done(done, len(waiting)))

    def _done(self, done: Future[list[Position]], count: int) -> None:
        if (error := done.exception()) is not None:
            before, self.lost = self.lost, self.lost + count
            telemetry.EVENTS.labels("decision", "lost").inc(count)
            if before.bit_length() != self.lost.bit_length():  # now and then: a full disk must not be filled by its log
                telemetry.log.error("decisions_not_logged", error=str(error), lost=self.lost)
