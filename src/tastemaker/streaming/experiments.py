"""Experiments measured a minute behind the events: the lake, and behind it what the log holds that is not there yet.

Nothing is summed up as it goes by, so there is no state that could be lost, doubled or wrong after a crash: each round asks the
lake's query of the lake's rows and the log's tail together. What is in both counts once, since each event's id does. The tail is
kept in memory between rounds, without the columns that no metric reads, and ends where the archive has come to; a user who is
erased leaves it at the next round. How far the archive is must be asked before the lake is opened: what the tail leaves out
is then surely in the lake.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import Erase, Experiment, Record
from tastemaker.errors import Conflict, InputError, StorageError
from tastemaker.storage import Storage
from tastemaker.storage.archive import GROUP
from tastemaker.storage.columns import to_tables
from tastemaker.storage.lake import Lake
from tastemaker.storage.log import EventLog

if TYPE_CHECKING:
    from tastemaker.experiments.verdicts import Data

EVERY = 20.0  # seconds between rounds, and at least
REST = 3.0  # times as long as a round took: measuring must not take the machine from its work
FRESH = 60.0  # seconds that a result may be behind the events, where that is possible
JUST = 15.0  # seconds for which a result is new enough, whichever process has made it
READ = 10_000  # records of one read of the log
COLUMNS = {
    "exposures": ("time", "experiment", "unit", "arm", "version", "reason"),
    "interactions": ("id", "time", "user", "item", "kind", "value", "decision", "mature_at"),
    "decisions": ("id", "time", "user", "surface", "arms", "reward", "slots"),
    "views": ("id", "time", "user", "decision"),
}
Part = tuple[int, dict[str, pa.Table]]


class Tail:
    """What the log holds behind the archive. ``refresh`` reads on from where it was."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.parts: list[list[Part]] = [[] for _ in range(log.partitions)]  # (offset behind it, rows by table)
        self.places = [0] * log.partitions

    def refresh(self) -> None:
        """Drops what is archived, and reads what is new."""
        archived, ends = self.log.committed(GROUP), self.log.ends()
        for partition, (start, end) in enumerate(zip(archived, ends, strict=True)):
            self.parts[partition] = [part for part in self.parts[partition] if part[0] > start]
            self.places[partition] = max(self.places[partition], start)
            while self.places[partition] < end:
                records = self.log.read(partition, self.places[partition], READ)
                if not records:  # what stood there is erased
                    self.places[partition] = end
                    break
                self.add(partition, records)

    def add(self, partition: int, records: Sequence[Record]) -> None:
        behind = records[-1].offset + 1
        gone = [record.event.user for record in records if isinstance(record.event, Erase)]
        found = to_tables(records)
        rows = {name: found[name].select(columns) for name, columns in COLUMNS.items() if name in found}
        self.parts[partition].append((behind, rows))
        self.places[partition] = behind
        if gone:  # all that is known of a user is in one partition
            self.parts[partition] = [
                (end, {name: without(table, gone) for name, table in part.items()}) for end, part in self.parts[partition]
            ]

    def table(self, name: str) -> pa.Table | None:
        """All rows of a kind."""
        found = [part[name] for parts in self.parts for _, part in parts if name in part]
        return pa.concat_tables(found) if found else None

    def clear(self) -> None:
        """Forgets everything: nobody asks."""
        self.parts = [[] for _ in self.parts]
        self.places = [0] * len(self.places)


def without(table: pa.Table, users: Sequence[str]) -> pa.Table:
    key = "user" if "user" in table.column_names else "unit"
    return table.filter(pc.invert(pc.is_in(table[key], pa.array(users))))


def measure(lake: Lake, tail: Tail, config: Config, experiment: Experiment, now: int) -> Data:
    """What is known of an experiment at a moment (epoch ms), of the lake and a tail that was refreshed before."""
    from tastemaker.evaluation.exposing import question_of  # the query's engine takes a second to load
    from tastemaker.evaluation.measuring import measured
    from tastemaker.features.table import connect

    connection = connect()
    try:
        tables = {}
        for name, columns in COLUMNS.items():
            rows, archived = tail.table(name), lake.scan(connection, name)
            found = [] if archived is None else [archived.select(*columns)]
            if rows is not None:
                connection.con.register(f"tail_{name}", rows)
                found.append(connection.table(f"tail_{name}"))
            if found:
                tables[name] = found[0] if len(found) == 1 else found[0].union(found[1])
        return measured(tables, question_of(config, experiment, now))
    finally:
        connection.disconnect()


def pause(took: float) -> float:
    """Seconds until the next round, after one that took so long.

    An event waits at most for the end of a round that began without it, for the pause, and for a round. So the pause is cut where
    these would be more than ``FRESH`` together; from a round of 20 seconds on they are, and then half of the time is rest.

    >>> pause(1.0), pause(10.0), pause(16.0), pause(30.0)
    (20.0, 30.0, 28.0, 30.0)
    """
    return max(EVERY, min(REST * took, FRESH - 2 * took), took)


class Follower:
    """A thread that keeps the results of running experiments up to date. Of several processes one at a time is at work."""

    def __init__(self, storage: Storage, config: Config) -> None:
        self.storage, self.config = storage, config
        self.tail: Tail | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def step(self, now: int) -> int:
        """One round; returns how many experiments were measured."""
        running = self.storage.tables.experiments.all(state="running")
        if not running:
            if self.tail is not None:
                self.tail.clear()
            return 0
        with self.storage.tables.alone("experiments"):
            due = [experiment for experiment in running if not self.measured_just_now(experiment, now)]
            if not due:  # by another process
                return 0
            self.tail = self.tail or Tail(self.storage.log)
            self.tail.refresh()
            return sum(self.measured(experiment, self.tail, now) for experiment in due)

    def measured(self, experiment: Experiment, tail: Tail, now: int) -> bool:
        """Measures one. One that asks for what the configuration does not know is no reason to leave the others unmeasured."""
        from tastemaker.monitoring.results import record

        try:
            data = measure(self.storage.lake, tail, self.config, experiment, now)
        except InputError as error:
            telemetry.log.error("experiment_failed", experiment=experiment.name, error=str(error))
            return False
        record(self.storage, experiment, data, "stream", now, self.config.experiments.alpha)
        return True

    def measured_just_now(self, experiment: Experiment, now: int) -> bool:
        newest = self.storage.tables.results.newest(experiment.name, experiment.version, "stream")
        return newest is not None and 0 <= now - newest.time < 1000 * JUST

    def start(self) -> None:
        """Begins, unless ``[experiments] stream`` says no."""
        if self.config.experiments.stream:
            self._thread = threading.Thread(target=self._run, name="tastemaker-experiments", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        wait = EVERY
        while not self._stop.wait(wait):
            began = time.monotonic()
            try:
                self.step(int(time.time() * 1000))
            except Conflict:  # another machine does it
                pass
            except Exception as error:  # the next round begins anew: nothing is kept that could be wrong
                telemetry.log.error("experiments_failed", error=str(error), exc_info=not isinstance(error, StorageError))
            wait = pause(time.monotonic() - began)

    def stop(self) -> None:
        """Ends after the round at hand."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
