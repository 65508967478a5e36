"""Decisions on their way to the log, a handful at a time.

A hand-over for each answer would cost more than the answer. So they gather for a tenth of a second, or up to a number, and
go as one append. An answer does not wait for its decision to be durable: what a crash takes is decisions of that
time, never an acknowledged event.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future

from tastemaker import telemetry
from tastemaker.storage import Storage
from tastemaker.storage.log import Packed, Position

GATHER = 0.1  # seconds
MOST = 2048


class Decisions:
    """The gathering place of one event loop. A decision's id is the process's ``prefix`` and a number."""

    def __init__(self, storage: Storage, lost: Callable[[], None] = lambda: None) -> None:
        """``lost`` is called, in any thread, when the log has failed to take some."""
        self.storage, self._told = storage, lost
        self.prefix = os.urandom(6).hex().encode()
        self.lost = 0
        self._waiting: list[Packed] = []
        self._rungs: list[str] = []
        self._seconds: list[float] = []

    def take(self, packed: Packed, rung: str, seconds: float | None = None) -> None:
        """Takes an answer's decision; it is in the log's hands a tenth of a second later.

        ``seconds`` is what the answer took, where nobody else counts the request.
        """
        waiting = self._waiting
        waiting.append(packed)
        self._rungs.append(rung)
        if seconds is not None:
            self._seconds.append(seconds)
        if len(self._rungs) == 1:
            asyncio.get_running_loop().call_later(GATHER, self.flush)
        elif len(waiting) >= MOST:
            self.flush()

    def beside(self, event: Packed) -> None:
        """An event that goes to the log with the decision that is taken next."""
        self._waiting.append(event)

    def flush(self) -> None:
        """Hands over what has gathered."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            rungs, self._rungs = self._rungs, []
            seconds, self._seconds = self._seconds, []
            telemetry.TRAFFIC.rungs.update(rungs)
            telemetry.TRAFFIC.note_all("recommendations", "2xx", seconds)
            done = self.storage.log.append_packed(waiting)
            done.add_done_callback(lambda done: self._done(done, len(waiting)))

    def _done(self, done: Future[list[Position]], count: int) -> None:
        if (error := done.exception()) is not None:
            self._told()
            before, self.lost = self.lost, self.lost + count
            telemetry.EVENTS.labels("decision", "lost").inc(count)
            if before.bit_length() != self.lost.bit_length():  # now and then: a full disk must not be filled by its log
                telemetry.log.error("decisions_not_logged", error=str(error), lost=self.lost)
