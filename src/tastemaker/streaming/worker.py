"""The embedded worker: poll, update, commit.

One thread owns all partitions of an embedded log. States and slates are written with every batch. The item counters are
kept in memory and written on a timer; the group commits only what they cover, so after a crash some records come again:
states ignore them by their own offset, counters by the offset written with them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import Erase, Interaction, ItemChange, Record, UserChange
from tastemaker.registry.live import Bundle, load
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.sources import Shelf
from tastemaker.storage import Storage, keys
from tastemaker.storage.kv import consumer_of
from tastemaker.storage.log import lag_of
from tastemaker.streaming.counters import Counters
from tastemaker.streaming.update import update

FLUSH = 1.0  # seconds between writes of the counters
AGAIN = 1.0  # seconds until a failed batch is tried again


class Worker:
    """The nearline plane of one process. Use ``start`` and ``stop``, or call ``step`` yourself."""

    def __init__(self, storage: Storage, config: Config, clock: Callable[[], float] = time.time) -> None:
        self.storage, self.config, self.clock = storage, config, clock
        self.group = consumer_of(storage.kv)
        self.subscription = storage.log.subscribe(self.group)
        self.counters = Counters.read(storage.kv, storage.log.partitions, config.streaming.trending_hours)
        self.bundle = Bundle()
        self.catalogue = Catalogue()
        self.flushed = 0.0
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def step(self, timeout: float = 0.0) -> int:
        """One round: applies what is there, at most ``streaming.batch`` records. Returns how many there were.

        When a round fails, the next one begins behind the last commit: nothing that was polled is taken for done.
        """
        try:
            if self.failure is not None:
                self._rejoin()
            records = self.subscription.poll(self.config.streaming.batch, timeout)
            if records:
                self.apply(records)
            if self.clock() - self.flushed >= FLUSH:
                self.flush()
        except Exception as error:
            self.failure = error
            raise
        self.failure = None
        return len(records)

    def apply(self, records: Sequence[Record]) -> None:
        self.change_tables(records)
        self.look_around()
        lag = self.subscription.lag()
        shelf = Shelf(
            self.catalogue,
            self.bundle.model,
            self.bundle.fallback,
            self.counters.best,
            self.config.serving.because,
        )
        calm = lag <= self.config.streaming.refresh_lag
        done = update(records, self.storage.kv, self.config, shelf, self.bundle.version, refresh=calm)
        self.counters.add(records, self.config.rewards)
        telemetry.APPLIED.inc(done.records)
        telemetry.LAG.labels("nearline").set(lag)
        now = self.clock()
        for record in records:
            if isinstance(record.event, Interaction) and 0 <= (age := now - record.event.time / 1000) < 3600:
                telemetry.FRESHNESS.observe(age)

    def change_tables(self, records: Sequence[Record]) -> None:
        """Catalogue and profiles follow the log; a change applied twice, or before an older one, does no harm."""
        if items := [record.event for record in records if isinstance(record.event, ItemChange)]:
            self.storage.tables.items.put(items)
            self.storage.kv.put({keys.CATALOG: str(self.storage.tables.items.stamp()).encode()})
        users: list[UserChange] = []
        for record in records:
            if isinstance(record.event, UserChange):
                users.append(record.event)
            elif isinstance(record.event, Erase):  # a change read before the erasure must not bring the profile back
                users = [change for change in users if change.user != record.event.user]
                self.storage.tables.users.delete(record.event.user)
        if users:
            self.storage.tables.users.put(users)

    def look_around(self) -> None:
        """Takes over a new live version or a changed catalogue."""
        pointer, stamp = self.storage.kv.get([keys.LIVE, keys.CATALOG])
        if pointer != self.bundle.pointer:
            self.bundle = load(self.config.model_folder, pointer)
        if int(stamp or 0) != self.catalogue.stamp or not self.catalogue.items:
            fresh = self.storage.tables.items.stamp()
            if fresh != self.catalogue.stamp:
                self.catalogue = Catalogue.of(self.storage.tables.items.all(), fresh, self.storage.tables.items.deleted())

    def flush(self) -> None:
        """Writes the counters, then tells the log how far everything is done."""
        self.counters.write(self.storage.kv, int(self.clock() * 1000))
        self.subscription.commit()
        self.flushed = self.clock()

    def drain(self) -> int:
        """Applies everything that is in the log now. Returns the number of records."""
        done = 0
        while count := self.step():
            done += count
        self.flush()
        return done

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="tastemaker-nearline", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        wait = self.config.streaming.wait_ms / 1000
        while not self._stop.is_set():
            try:
                self.step(wait)
            except Exception as error:  # the log keeps what was not committed: report, wait, try again
                telemetry.log.error("nearline_failed", error=str(error), exc_info=True)
                self._stop.wait(AGAIN)
        if self.failure is None:  # else what was polled is not done: the next start reads it again
            try:
                self.flush()
            except Exception as error:
                self.failure = error
                telemetry.log.error("nearline_failed", error=str(error), exc_info=True)

    def _rejoin(self) -> None:
        self.subscription.close()
        self.subscription = self.storage.log.subscribe(self.group)
        self.counters = Counters.read(self.storage.kv, self.storage.log.partitions, self.config.streaming.trending_hours)

    def stop(self) -> None:
        """Finishes the batch at hand, writes the counters and leaves."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.subscription.close()

    def lag(self) -> int:
        """Records that are durable but not applied."""
        return lag_of(self.storage.log.ends(), self.storage.log.committed(self.group))
