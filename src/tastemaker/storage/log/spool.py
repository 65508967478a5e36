"""A spool before a log on a server: events are acknowledged while the server is away.

Appends go to the server. When it is away they go to a file on the local disk (``spool_file.py``), are acknowledged when they
are durable there, and follow later, in order (``spool_remote.py``). As long as events wait in the file, new ones queue up
behind them. So whoever sends an event after the one before it was acknowledged finds both in that order in the log, also when
he talks to several processes of this machine. An event whose fate is unknown, because the server did not answer in time, is
spooled as well: the log may have it twice then, with the same id.

Everything else is the server's business. The log is opened in the background, so a process can start, and take events, while
the server is away.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from pathlib import Path

from tastemaker import telemetry
from tastemaker.config import Patience
from tastemaker.domain import AnyEvent, Record
from tastemaker.errors import ConfigError, StorageError, Unavailable
from tastemaker.storage.inspection import Inspectable, Inspection
from tastemaker.storage.log import EventLog, Leaving, Packed, Position, Subscription
from tastemaker.storage.log.spool_file import Spool
from tastemaker.storage.log.spool_remote import Drainer, Remote

NOWHERE: Position = (-1, -1)
WAITS = 30.0  # seconds for which erasing waits until nothing is being handed over


class Flight:
    """An append under way."""

    def __init__(self, send: Callable[[EventLog], Future[list[Position]]], count: int) -> None:
        self.send, self.count = send, count
        self.future: Future[list[Position]] = Future()
        self.future.set_running_or_notify_cancel()
        self.refusal: Exception | None = None  # why the server does not have it


class Spooled:
    """An ``EventLog`` on a server, with a spool. Positions of spooled events are (-1, -1)."""

    def __init__(self, opener: Callable[[], EventLog], name: str, partitions: int, folder: Path, patience: Patience) -> None:
        self.partitions, self._name = partitions, name
        self._spool = Spool(folder, patience.spool_mb)
        self._remote = Remote(opener, name)
        self._lock = threading.Lock()
        self._flights: OrderedDict[int, Flight] = OrderedDict()  # neither in the log nor in the spool's hands, in order
        self._taken = self._refused = self._spooling = 0
        self._open: set[Future[list[Position]]] = set()
        self._closed = False
        self._drainer = Drainer(self._remote, self._spool)
        telemetry.SPOOL.set_function(self._spool.count)
        self._remote.tried.wait((patience.connect_ms + patience.timeout_ms) / 1000)
        if isinstance(self._remote.failure, ConfigError):  # it will not get better by waiting
            self.close()
            raise self._remote.failure

    # ── appending ───────────────────────────────────────────────────────────────────────────────────────────────────

    def append(self, events: Sequence[AnyEvent], *, checked: bool = False) -> Future[list[Position]]:
        return self._take(Flight(lambda log: log.append(events, checked=checked), len(events)))

    def append_packed(self, events: Sequence[Packed]) -> Future[list[Position]]:
        return self._take(Flight(lambda log: log.append_packed(events), len(events)))

    def _take(self, flight: Flight) -> Future[list[Position]]:
        with self._lock:
            if self._closed:
                flight.future.set_exception(StorageError(f"{self._name} is closed: open it again to write to it"))
                return flight.future
            self._taken += 1
            ticket = self._taken
            try:
                attempt = self._try(flight)
            except StorageError as error:  # the file of the spool cannot be read: nobody knows what would be overtaken
                flight.future.set_exception(error)
                return flight.future
            self._flights[ticket] = flight
            self._open.add(flight.future)
        flight.future.add_done_callback(self._open.discard)
        if attempt is None:
            self._advance()
        else:
            attempt.add_done_callback(partial(self._landed, ticket, flight))
        return flight.future

    def _try(self, flight: Flight) -> Future[list[Position]] | None:
        """Hands an append to the server, if nothing waits that it would overtake."""
        if self._refused or self._spooling or self._spool.waits():
            self._refuse(flight, Unavailable(f"{self._name}: earlier events still wait for it"))
        elif self._remote.log is None:
            self._refuse(flight, self._remote.failure)
        else:
            return flight.send(self._remote.log)
        return None

    def _refuse(self, flight: Flight, reason: Exception) -> None:
        flight.refusal = reason
        self._refused += 1

    def _landed(self, ticket: int, flight: Flight, attempt: Future[list[Position]]) -> None:
        """The server has taken an append, or not. What it could never take fails; the rest is for the spool."""
        error = attempt.exception()
        with self._lock:
            if isinstance(error, Unavailable):
                self._refuse(flight, error)
            else:
                del self._flights[ticket]
        if not isinstance(error, Unavailable):
            settle(flight.future, error, attempt)
        self._advance()

    def _advance(self) -> None:
        """Hands to the spool what the server refused, unless something before it is still under way: it keeps the order."""
        while True:
            with self._lock:
                ticket, flight = next(iter(self._flights.items()), (0, None))
                if flight is None or flight.refusal is None:
                    return
                del self._flights[ticket]
                self._refused -= 1
                attempt, error = None, self._room(flight.refusal)
                if error is None:
                    self._spooling += 1
                    attempt = flight.send(self._spool.log)
            if attempt is None:
                flight.future.set_exception(error)
            else:
                attempt.add_done_callback(partial(self._spooled, flight))

    def _room(self, reason: Exception) -> StorageError | None:
        """Why the spool cannot take more, if it cannot."""
        try:
            full = self._spool.full()
        except StorageError as error:
            return error
        size = f"patience.spool_mb = {self._spool.megabytes:g}"
        return Unavailable(f"{reason}; and the spool {self._spool.folder} is full ({size})") if full else None

    def _spooled(self, flight: Flight, attempt: Future[list[Position]]) -> None:
        error = attempt.exception()
        with self._lock:
            self._spooling -= 1
        if error is None:
            telemetry.SPOOLED.inc(flight.count)
            flight.future.set_result([NOWHERE] * flight.count)
        else:
            flight.future.set_exception(error)
        self._drainer.wake()

    # ── the server's business ───────────────────────────────────────────────────────────────────────────────────────

    def read(self, partition: int, start: int, limit: int) -> list[Record]:
        return self._remote.get().read(partition, start, limit)

    def ends(self) -> list[int]:
        return self._remote.get().ends()

    def starts(self) -> list[int]:
        return self._remote.get().starts()

    def subscribe(self, group: str, *, leaving: Leaving | None = None, alone: bool = False) -> Subscription:
        return self._remote.get().subscribe(group, leaving=leaving, alone=alone)

    def committed(self, group: str) -> list[int]:
        return self._remote.get().committed(group)

    def commit(self, group: str, positions: Mapping[int, int]) -> None:
        self._remote.get().commit(group, positions)

    def erase(self, user: str) -> int:
        """See ``EventLog``. The spools of other machines may hold events of the user, which come later."""
        log = self._remote.get()
        return self._spool.erase(user, WAITS) + log.erase(user)

    def inspect(self) -> Inspection:
        """See ``Inspectable``."""
        log, waiting = self._remote.get(), self._spool.count()
        if not isinstance(log, Inspectable):
            raise TypeError(f"{self._name}: {type(log).__name__} cannot be inspected")
        found = log.inspect()
        if not waiting:
            return found
        return replace(found, notes=(*found.notes, f"{waiting} events wait in the spool {self._spool.folder}"))

    def flush(self) -> None:
        """See ``EventLog``: durable in the log or in the spool."""
        if self._remote.log is not None:
            self._remote.log.flush()
        wait(list(self._open))

    def close(self) -> None:
        """Waits for what is under way; what waits in the spool is handed over by the next process."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        telemetry.SPOOL.set_function(float)  # none that we know of
        self._drainer.stop()
        self._remote.close()
        wait(list(self._open))
        self._spool.close()


def settle(future: Future[list[Position]], error: BaseException | None, attempt: Future[list[Position]]) -> None:
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(attempt.result())
