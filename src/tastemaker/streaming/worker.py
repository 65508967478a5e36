"""The nearline worker: poll, update, commit.

One thread is a member of the group that fills the online store, and owns some of the log's partitions, in ``tastemaker up``
all of them. States and slates are written with every batch. The item counters are kept in memory and written on a timer;
the group commits only what they cover, so after a crash some records come again: states ignore them by their own offset,
counters by the offset written with them.

A partition that moves to another worker is flushed and committed first. A worker that was silent for so long that others
may have taken its partitions (``Subscription.holds``) writes nothing more of them, and joins anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import Record
from tastemaker.errors import Conflict, StorageError
from tastemaker.registry import experiments
from tastemaker.registry.live import restore
from tastemaker.storage import Storage, keys
from tastemaker.storage.kv import consumer_of
from tastemaker.storage.kv.hold import held
from tastemaker.storage.log import Subscription, lag_of
from tastemaker.streaming.applying import Applier, ages

FLUSH = 1.0  # seconds between writes of the counters
BATCH = 1.0  # seconds that a batch should take at most: whoever is silent for long is taken for dead
FEW, LEAST = 500, 20  # records of the first batch, and of the smallest
AGAIN = 1.0  # seconds until a failed batch is tried again


class Worker:
    """A worker of the nearline plane. Use ``start`` and ``stop``, or call ``step`` yourself."""

    def __init__(self, storage: Storage, config: Config, clock: Callable[[], float] = time.time) -> None:
        self.storage, self.config, self.clock = storage, config, clock
        self.applier = Applier(storage, config)
        self.subscription: Subscription | None = None
        self.limit = FEW  # records of the next batch
        self.waiting: int | None = None  # records behind the last batch; unknown before the first look
        self.flushed = 0.0
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # ── one round ───────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self, timeout: float = 0.0) -> int:
        """One round: applies what is there, at most ``streaming.batch`` records. Returns how many there were.

        When a round fails, the next one begins behind the last commit: nothing that was polled is taken for done. The worker
        stays in its group meanwhile, for a store that is away is away for the other members, too.
        """
        try:
            if self.failure is not None:
                self.recover()
            subscription = self.subscription or self.join()
            records = subscription.poll(min(self.config.streaming.batch, self.limit), timeout)
            self.applier.counters.own(self.storage.kv, subscription.partitions)
            self.waiting = subscription.lag() if records else 0
            if records:
                began = time.monotonic()
                self.apply(records, subscription)
                self.limit = fitting(self.limit, len(records), time.monotonic() - began)
            if time.monotonic() - self.flushed >= FLUSH:  # whatever happens to the clock on the wall
                self.flush(subscription)
        except Exception as error:
            self.failure = error
            raise
        self.failure = None
        return len(records)

    def join(self) -> Subscription:
        """Becomes a member of the group that fills the online store."""
        held(self.storage.kv.get([keys.HOLD])[0])
        group = consumer_of(self.storage.kv)
        restore(self.storage, int(self.clock() * 1000))
        experiments.restore(self.storage)
        self.applier.join(group)  # before partitions are ours: loading models would look like silence
        self.subscription = self.storage.log.subscribe(group, leaving=self.hand_over)
        return self.subscription

    def recover(self) -> None:
        """After a failure, back to the last commit. Whoever may have lost its partitions, or its store, joins anew."""
        if self.subscription is not None and not isinstance(self.failure, Conflict):
            try:
                self.subscription.rewind()
                return
            except StorageError as error:
                telemetry.log.warning("nearline_rewind", error=str(error))
        self.leave()

    def leave(self) -> None:
        """Leaves the group; what was not committed comes again, here or elsewhere."""
        subscription, self.subscription = self.subscription, None
        if subscription is not None:
            try:
                subscription.close()
            except StorageError as error:  # it is away, and will notice by itself that we left
                telemetry.log.warning("nearline_left", error=str(error))

    def apply(self, records: Sequence[Record], subscription: Subscription) -> None:
        lag = self.waiting or 0
        done = self.applier.apply(records, lag, lambda: sure(subscription))
        telemetry.APPLIED.inc(done.records)
        telemetry.LAG.labels("nearline").set(lag)
        for age in ages(records, self.clock()):
            telemetry.FRESHNESS.observe(age)

    def flush(self, subscription: Subscription) -> None:
        """Writes the counters, then tells the log how far everything is done."""
        self.applier.ours(lambda: sure(subscription))
        self.applier.counters.write(self.storage.kv, int(self.clock() * 1000))
        subscription.commit()
        self.flushed = time.monotonic()

    def hand_over(self, _partitions: Sequence[int]) -> None:
        """Partitions are about to move to another worker: everything polled is applied, so it is written and committed."""
        if self.subscription is not None and self.failure is None:
            self.flush(self.subscription)

    # ── rounds without end ──────────────────────────────────────────────────────────────────────────────────────────

    def drain(self) -> int:
        """Applies everything that is in the log now. Returns the number of records."""
        done = 0
        while count := self.step():
            done += count
        if self.subscription is not None:
            self.flush(self.subscription)
        return done

    def start(self) -> None:
        self._thread = threading.Thread(target=self.run, name="tastemaker-nearline", daemon=True)
        self._thread.start()

    def run(self) -> None:
        """Rounds until ``end`` is called, in this thread."""
        wait = self.config.streaming.wait_ms / 1000
        while not self._stop.is_set():
            try:
                self.step(wait)
            except Exception as error:  # the log keeps what was not committed: report, wait, try again
                telemetry.log.error("nearline_failed", error=str(error), exc_info=not isinstance(error, StorageError | Conflict))
                self._stop.wait(AGAIN)
        if self.failure is None and self.subscription is not None:  # else what was polled is not done: it is read again
            try:
                self.flush(self.subscription)
            except Exception as error:
                self.failure = error
                telemetry.log.error("nearline_failed", error=str(error), exc_info=True)

    def end(self) -> None:
        """Makes ``run`` return after the batch at hand."""
        self._stop.set()

    def stop(self) -> None:
        """Finishes the batch at hand, writes the counters and leaves."""
        self.end()
        if self._thread is not None:
            self._thread.join()
        self.leave()

    def condition(self) -> dict[str, object]:
        """How it fares, for a health check: records that wait, its partitions, and what went wrong last."""
        failure = self.failure
        return {
            "lag": self.waiting,
            "partitions": list(self.applier.counters.parts),
            "failure": str(failure) if failure is not None else None,
        }

    def lag(self) -> int:
        """Records that are durable but not applied."""
        log = self.storage.log
        return lag_of(log.ends(), log.committed(self.applier.group or consumer_of(self.storage.kv)))


def sure(subscription: Subscription) -> None:
    """Raises ``Conflict`` where another worker may own the partitions by now."""
    if not subscription.holds():
        raise Conflict("this worker was silent for so long that its partitions may be another's: what it made is thrown away")


def fitting(limit: int, count: int, seconds: float) -> int:
    """How many records the next batch may have, after one of ``count`` that took so long.

    >>> fitting(500, 500, 0.1), fitting(500, 3, 0.1), fitting(500, 500, 2.5)
    (1000, 500, 200)
    """
    if seconds > BATCH:
        return max(LEAST, int(count * BATCH / seconds))
    return 2 * limit if count >= limit and seconds < BATCH / 2 else limit
