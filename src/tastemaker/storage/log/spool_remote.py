"""The log behind a spool: opened in the background when its server is there, and given what waits, in order.

One thread of each process does both. Of the processes that share a spool one hands over at a time. It begins with few events
after a failure, and with more each time that goes well; what it was handing over when the server went away is handed over
again, so some events come twice, with the same ids.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from tastemaker import telemetry
from tastemaker.domain import AnyEvent
from tastemaker.errors import InputError, TastemakerError, Unavailable
from tastemaker.storage.log import EventLog
from tastemaker.storage.log.spool_file import Spool
from tastemaker.storage.quarantine import Quarantine
from tastemaker.storage.resilience import pause_before

FEW, MANY = 100, 5000  # events that are handed over at once
LONG = 10  # failures after which pauses grow no more
LOOKS = 0.5  # seconds between looks for events that another process left
STOPS = 10.0  # seconds that the thread may take to end


class Remote:
    """The log on a server, which may not be there yet."""

    def __init__(self, opener: Callable[[], EventLog], name: str) -> None:
        self._opener, self._closed = opener, False
        self.tried = threading.Event()
        self.log: EventLog | None = None
        self.failure: TastemakerError = Unavailable(f"{name}: it is being opened: try again")

    def get(self) -> EventLog:
        """The log. Raises what kept it from being opened."""
        if self.log is None:
            raise self.failure
        return self.log

    def open(self) -> None:
        """Opens it, or raises."""
        if self.log is None:
            try:
                self.log = self._opener()
            except TastemakerError as error:
                self.failure = error
                raise
            finally:
                self.tried.set()
            if self._closed:  # meanwhile
                self.log.close()

    def close(self) -> None:
        self._closed = True
        if self.log is not None:
            self.log.close()


class Drainer:
    """The thread that opens the log and hands over what waits."""

    def __init__(self, remote: Remote, spool: Spool) -> None:
        self._remote, self._spool = remote, spool
        self._refused = Quarantine(spool.folder / "refused.jsonl")
        self._wake, self._ended = threading.Event(), threading.Event()
        self._size, self._failures = FEW, 0
        self._thread = threading.Thread(target=self._run, name=f"drainer of {spool.folder}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Events wait."""
        self._wake.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            try:
                self._remote.open()
                more = self.step()
            except Exception as error:  # the thread lives on: nobody else would hand the events over
                self._failed(error)
                self._ended.wait(pause_before(min(self._failures, LONG)))
            else:
                self._went_well()
                if not more:
                    self._wake.wait(LOOKS)

    def step(self) -> bool:
        """Hands over the next events; whether there may be more."""
        waits = self._spool.waits()
        if waits:
            with self._spool.alone() as got:
                if got:
                    self._hand_over()
                    self._size = min(2 * self._size, MANY)
                waits = got
        return waits

    def _hand_over(self) -> None:
        events, behind = self._spool.next(self._size)
        if events:
            self._append(events)
        self._spool.done(behind)

    def _append(self, events: Sequence[AnyEvent]) -> None:
        """All at once; where the log cannot take one of them, one by one, and that one is put aside."""
        log = self._remote.get()
        try:
            log.append(events, checked=True).result()
        except InputError as error:
            if len(events) > 1:
                for event in events:
                    self._append([event])
                return
            telemetry.log.error("event_refused", id=events[0].id, error=str(error), kept_in=str(self._refused.path))
            self._refused.put(
                [{"time": int(time.time() * 1000), "remedy": error.remedy, "event": msgspec.to_builtins(events[0])}]
            )

    def _failed(self, error: Exception) -> None:
        self._size = FEW
        self._failures += 1
        if self._failures == 1 and not self._ended.is_set():
            known = isinstance(error, TastemakerError)
            telemetry.log.warning("log_away", error=str(error), spool=str(self._spool.folder), exc_info=not known)

    def _went_well(self) -> None:
        if self._failures:
            telemetry.log.info("log_back", failures=self._failures)
        self._failures = 0

    def stop(self) -> None:
        """Ends after the events at hand. Where the log takes too long to answer, its being closed ends the thread."""
        self._ended.set()
        self._wake.set()
        self._thread.join(STOPS)
