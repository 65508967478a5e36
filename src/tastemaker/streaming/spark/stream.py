"""The nearline plane on Spark Structured Streaming: what ``worker.py`` is where the workers are Spark's.

A batch is a stretch of each partition of the log. Its tasks (``task.py``) write states, slates and counters. Then the
driver merges what trends, commits the group in the log, so that lag and health know how far all is done, and lets Spark write
its checkpoint. After a crash at any point the same batch comes again, and nothing is applied twice, for states and counters say
themselves what they include.

The checkpoint belongs to the group that fills the online store and to the log that it reads. A store that was emptied, rebuilt
or replaced is another group: the stream ends, and begins anew where that group stands, as a worker would. So it does
after every failure, until it is told to end.

The log is read by Spark's Kafka connector where that is installed (``kafka.py``), else by a source of ours
(``source.py``).
"""

from __future__ import annotations

import re
import threading
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tastemaker import errors, telemetry
from tastemaker.config import Config, hide
from tastemaker.errors import ConfigError, Conflict, NotFound, StorageError, TastemakerError, Unavailable
from tastemaker.registry import experiments
from tastemaker.registry.live import restore
from tastemaker.storage import Storage, keys, spark
from tastemaker.storage.kv import consumer_of
from tastemaker.storage.kv.hold import held
from tastemaker.storage.log import lag_of
from tastemaker.streaming.applying import Applier
from tastemaker.streaming.counters import STALE, Counters
from tastemaker.streaming.spark.kafka import by_connector, taken
from tastemaker.streaming.spark.task import RESULT, Job, plain, work

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

AGAIN = 1.0  # seconds until a stream that failed is begun anew
LOOK = 0.2  # seconds between two looks whether it is to end
LAST = 30.0  # seconds that the batch at hand has when it is
SLOW = "Python worker failed to connect back"  # within ten seconds, on a machine that has much to do; Spark does not try again
TRIES = 5
FILES = ("sqlite:", "lmdb:")  # stores that only one machine sees
OURS = re.compile(r"tastemaker\.errors\.(\w+): (.+)")


class Stream:
    """The stream of a configuration. ``run`` it until ``end``, or let it ``drain`` what there is."""

    def __init__(self, storage: Storage, config: Config, clock: Callable[[], float] = time.time) -> None:
        fitting(config)
        self.storage, self.config, self.clock = storage, config, clock
        self.session: SparkSession = spark.session(config)
        if str(self.session.conf.get("spark.speculation", "false")).lower() == "true":
            raise ConfigError(
                'spark.settings: "spark.speculation" = true: two tasks would write the same states; leave it off for the stream'
            )
        self.applier = Applier(storage, config)
        self.counters = Counters(storage.log.partitions, config.streaming.trending_hours)
        self.job = Job(config, "")
        self.waiting: int | None = None  # records behind the last batch; unknown before the first look
        self.applied = 0  # records of all batches
        self.batches = 0
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._batch = threading.Lock()  # held while a batch is at work
        self._halted = False
        self._looked = 0.0

    # ── one batch ───────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, frame: DataFrame, _number: int = 0) -> None:
        """Applies a batch; for ``foreachBatch``."""
        with self._batch:
            if self._halted:
                raise Conflict("this stream was told to end: the batch comes again with the next one")
            began = time.monotonic()
            rows = frame.mapInArrow(partial(work, self.job), RESULT).collect()
            self.settle(rows)
            self.commit({partition: place for row in rows for partition, place in row.places.items()})
            self.tell(rows, time.monotonic() - began)

    def settle(self, rows: list[Row]) -> None:
        """What is made of all partitions together."""
        self.applier.ours(lambda: None)
        if any(row.items for row in rows):  # of two tasks that changed items at once, the later one may have told the older stamp
            self.applier.stamp()
        self.merge(any(row.counted for row in rows))

    def merge(self, counted: bool) -> None:
        """Writes what trends, where something was counted or the list has faded."""
        now = int(self.clock() * 1000)
        if counted or not 0 <= now - self.counters.merged < STALE:
            fresh = Counters(self.counters.partitions, self.config.streaming.trending_hours)
            fresh.own(self.storage.kv, range(fresh.partitions))
            fresh.write(self.storage.kv, now)
            self.counters = fresh

    def commit(self, places: dict[int, int]) -> None:
        """Tells the log how far everything is done."""
        if places:
            self.storage.log.commit(self.job.group, places)

    def tell(self, rows: list[Row], seconds: float) -> None:
        """Numbers and a line in the log for a batch that is done."""
        records = sum(row.records for row in rows)
        telemetry.APPLIED.inc(records)
        telemetry.DEAD_LETTERS.inc(sum(row.buried for row in rows))
        for row in rows:
            for age in row.ages:
                telemetry.FRESHNESS.observe(age)
        self.waiting = self.lag()
        telemetry.LAG.labels("nearline").set(self.waiting)
        self.applied += records
        self.batches += 1
        self.failure = None
        slates = sum(row.slates for row in rows)
        telemetry.log.info("nearline_batch", records=records, slates=slates, lag=self.waiting, seconds=round(seconds, 2))

    # ── the stream ──────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, interval: float | None = None) -> StreamingQuery:
        """Starts the stream of the group that fills the online store now, behind its last batch.

        ``interval``: milliseconds between two batches; without, it ends when all that is there now is done.
        """
        held(self.storage.kv.get([keys.HOLD])[0])
        group = consumer_of(self.storage.kv)
        restore(self.storage, int(self.clock() * 1000))
        experiments.restore(self.storage)
        self.applier.group, self._halted = group, False
        writer = self.read(group).writeStream.foreachBatch(self.apply).queryName(f"tastemaker {group}")
        writer = writer.option("checkpointLocation", self.checkpoint(group))
        if interval is None:
            return writer.trigger(availableNow=True).start()
        return writer.trigger(processingTime=f"{round(interval)} milliseconds").start()

    def read(self, group: str) -> DataFrame:
        """The log as a stream of rows; also chooses how they are decoded."""
        from tastemaker.streaming.spark.source import NAME, source

        log = self.storage.log
        starts = [max(places) for places in zip(log.committed(group), log.starts(), strict=True)]
        frame = by_connector(self.session, self.config, starts)
        self.job = Job(self.config, group, plain if frame is None else taken)
        if frame is not None:
            return frame
        self.session.dataSource.register(source(self.config, group))
        return self.session.readStream.format(NAME).load()

    def checkpoint(self, group: str) -> str:
        """Where Spark keeps the offsets of a group in a log, as the one or the other source of rows writes them."""
        base = self.config.streaming.checkpoint.replace("{home}", str(self.config.home.absolute()))
        source = "log" if self.job.decode is plain else "connector"
        name = f"{group}-{zlib.crc32(str(hide(self.config.url('log'))).encode()):08x}-{source}"
        return f"{base.rstrip('/')}/{name}" if "://" in base else str(Path(base).absolute() / name)

    def drain(self) -> int:
        """Applies everything that is in the log now, and ends. Returns the number of records that were new."""
        before = self.applied
        for left in reversed(range(TRIES)):
            try:
                self.watch(self.begin())
                break
            except Exception as error:
                if SLOW not in str(error) or not left:
                    raise
                telemetry.log.warning("nearline_again", error=SLOW)
        return self.applied - before

    def run(self) -> None:
        """Streams until ``end`` is called, in this thread."""
        while not self._stop.is_set():
            try:
                self.watch(self.begin(self.config.streaming.trigger_ms))
            except Exception as error:  # the log keeps what was not committed: report, wait, try again
                self.failure = error
                telemetry.log.error("nearline_failed", error=str(error), exc_info=not isinstance(error, StorageError | Conflict))
                self._stop.wait(AGAIN)

    def watch(self, query: StreamingQuery) -> None:
        """Waits for the end of a stream, or for the order to end it. Raises what it failed with."""
        try:
            while query.isActive and not self._stop.wait(LOOK):
                if self._batch.acquire(blocking=False):
                    try:
                        self.idle()
                    finally:
                        self._batch.release()
        finally:
            self.halt(query)
        if (error := query.exception()) is not None and not self._stop.is_set():
            raise told(error)

    def idle(self) -> None:
        """Between two batches: what trends fades, and what waits is told."""
        now = time.monotonic()
        if now - self._looked >= AGAIN:
            self._looked = now
            self.applier.ours(lambda: None)
            self.merge(False)
            self.waiting = self.lag()
            telemetry.LAG.labels("nearline").set(self.waiting)

    def halt(self, query: StreamingQuery) -> None:
        """Ends a stream behind the batch at hand, if that does not take too long."""
        if query.isActive:
            whole = self._batch.acquire(timeout=LAST)
            self._halted = True  # a batch that is about to begin does not
            if whole:
                self._batch.release()
            query.stop()

    def end(self) -> None:
        """Makes ``run`` and ``drain`` return after the batch at hand."""
        self._stop.set()

    def leave(self) -> None:
        """Ends Spark's session, which is the whole process's."""
        self.session.stop()

    def condition(self) -> dict[str, object]:
        """How it fares, for a health check."""
        failure = self.failure
        return {
            "lag": self.waiting,
            "partitions": list(range(self.counters.partitions)),
            "batches": self.batches,
            "failure": str(failure) if failure is not None else None,
        }

    def lag(self) -> int:
        """Records that are durable but not applied."""
        log = self.storage.log
        return lag_of(log.ends(), log.committed(self.applier.group or consumer_of(self.storage.kv)))


def fitting(config: Config) -> None:
    """Raises ``ConfigError`` where Spark's machines would not see the stores, or its driver would not be here."""
    master = config.spark.master
    if master.startswith("sc:"):
        raise ConfigError(
            f"spark.master = {hide(master)!r}: the stream's driver runs in this process: name a master that it can start"
        )
    for name in ("log", "kv", "kv_durable", "tables"):
        url = config.url(name)
        if url.startswith(FILES) and master and not master.startswith("local"):
            raise ConfigError(
                f"connect.{name} = {url!r} is a file of this machine, and spark.master = {hide(master)!r} works on others: "
                "name a server, or local[*]"
            )


def told(error: Exception) -> Exception:
    """What a stream failed with: an error of ours where there is one in what Spark says, else Spark's own."""
    found = OURS.findall(str(error))
    kind = getattr(errors, found[-1][0], None) if found else None
    if not isinstance(kind, type) or not issubclass(kind, TastemakerError):
        return error
    text = found[-1][1].strip()
    return kind(text) if kind in (Conflict, StorageError, Unavailable, ConfigError, NotFound) else StorageError(text)
