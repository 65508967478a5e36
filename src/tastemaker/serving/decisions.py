"""Decisions on their way to the log, a handful at a time.

A hand-over for each answer would cost more than the answer. So they gather for a tenth of a second, or up to a number, and
go as one append. An answer does not wait for its decision to be durable: what a crash takes is decisions of that
time, never an acknowledged event.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future
from typing import Any

import msgspec
from msgspec import Struct

from tastemaker import telemetry
from tastemaker.domain import Decision
from tastemaker.storage import Storage
from tastemaker.storage.log import Position

POLICY = "compose/1"
GATHER = 0.1  # seconds
MOST = 2048


class Served(Struct, frozen=True, gc=False):
    """An answer that was given: what its decision will be made of, once the traffic leaves time for it."""

    number: int
    moment: float  # seconds
    user: str
    version: str
    rung: str
    offset: int  # of the state or slate behind it
    seconds: float  # that it took
    slots: Any  # the slots, or bytes with their MessagePack
    start: int = 0  # where it begins in the bytes
    surface: str = "home"
    session: str | None = None
    eligible: int = -1


class Decisions:
    """The gathering place of one event loop. A decision's id is the process's ``prefix`` and a number."""

    def __init__(self, storage: Storage, reward: str) -> None:
        self.storage, self.reward = storage, reward
        self.name = os.urandom(6).hex()
        self.prefix = self.name.encode()
        self.lost = 0
        self._waiting: list[Served] = []

    def take(self, served: Served) -> None:
        """Takes an answer; its decision is in the log's hands a tenth of a second later."""
        waiting = self._waiting
        waiting.append(served)
        if len(waiting) == 1:
            asyncio.get_running_loop().call_later(GATHER, self.flush)
        elif len(waiting) >= MOST:
            self.flush()

    def flush(self) -> None:
        """Hands over what has gathered."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for served in waiting:
                telemetry.TRAFFIC.rung(served.rung)
                if served.start:  # answered on the quick way, which leaves the counting to us
                    telemetry.TRAFFIC.note("recommendations", "2xx", served.seconds)
            # made here from parts that were decoded before: nothing to check again
            done = self.storage.log.append([self.decision(served) for served in waiting], checked=True)
            done.add_done_callback(lambda done: self._done(done, len(waiting)))

    def decision(self, served: Served) -> Decision:
        """The event that an answer leaves behind."""
        slots: Any = served.slots
        if isinstance(slots, bytes):
            slots = msgspec.Raw(slots[served.start :])  # encoded already
        return Decision(
            f"{self.name}-{served.number:x}",
            int(served.moment * 1000),
            served.user,
            served.surface,
            served.session,
            feature_snapshot=f"{served.offset}",
            policy=POLICY,
            models=(served.version,) if served.version else (),
            reward=self.reward,
            rung=served.rung,
            latency_ms=served.seconds * 1000,
            eligible=served.eligible,
            slots=slots,
        )

    def _done(self, done: Future[list[Position]], count: int) -> None:
        if (error := done.exception()) is not None:
            before, self.lost = self.lost, self.lost + count
            telemetry.EVENTS.labels("decision", "lost").inc(count)
            if before.bit_length() != self.lost.bit_length():  # now and then: a full disk must not be filled by its log
                telemetry.log.error("decisions_not_logged", error=str(error), lost=self.lost)
