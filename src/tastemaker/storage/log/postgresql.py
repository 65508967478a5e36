"""The event log on PostgreSQL: for those who have one already and need no broker.

Record batches (``batches.py``) are rows, keyed by partition and the offset of their first event. One thread of each process
writes, in group commits (``group_commit.py``): one statement takes the locks of its partitions' ends in order, so that any
number of processes append dense offsets, and readers never see one before those under it. What was acknowledged is on the
server's disk (``synchronous_commit``; ``inspect`` tells when the server is set up to lose it). Tables: ``postgresql_tables.py``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from tastemaker.config import Patience
from tastemaker.domain import AnyEvent, Record
from tastemaker.storage.inspection import Inspection
from tastemaker.storage.kv.postgresql_connections import Connections
from tastemaker.storage.log import Leaving, Packed, Position, batches, check_partition, check_partitions, partition_of
from tastemaker.storage.log.appends import Appender, Ready, acknowledge, by_partition, encode
from tastemaker.storage.log.group_commit import GroupCommit, Job
from tastemaker.storage.log.leases import Terms
from tastemaker.storage.log.postgresql_erase import erase, vacuum
from tastemaker.storage.log.postgresql_group import COMMITTED, Leases
from tastemaker.storage.log.postgresql_listener import CHANNEL, Listener
from tastemaker.storage.log.postgresql_tables import create, durable
from tastemaker.storage.log.subscription import Alone, PollingSubscription, Seen

SLOWER = 10  # times as long as reading that writing may take
WINDOW = 20_000  # offsets that one question asks for
BYTES = 64 << 20  # of one transaction, unless an append is larger
APPEND = f"""WITH turn AS MATERIALIZED (
        SELECT partition, next FROM tastemaker_log_ends WHERE partition = ANY(%b::integer[]) ORDER BY partition FOR UPDATE),
    kept AS (INSERT INTO tastemaker_log_batches (partition, first, count, payload)
        SELECT partition, turn.next + shift, count, payload
        FROM unnest(%b::integer[], %b::bigint[], %b::integer[], %b::bytea[]) AS fresh (partition, shift, count, payload)
        JOIN turn USING (partition)),
    moved AS (UPDATE tastemaker_log_ends AS ends SET next = turn.next + total
        FROM turn JOIN unnest(%b::integer[], %b::bigint[]) AS totals (partition, total) USING (partition)
        WHERE ends.partition = turn.partition)
    SELECT partition, next, pg_notify('{CHANNEL}', %s) FROM turn"""
ROWS = """SELECT first, version, CASE WHEN first = %b AND version = %b THEN NULL ELSE payload END
    FROM tastemaker_log_batches WHERE partition = %b AND first < %b AND first + count > %b AND first >= coalesce(
        (SELECT max(first) FROM tastemaker_log_batches WHERE partition = %b AND first <= %b), 0) ORDER BY first"""
COMMIT_GROUP = """INSERT INTO tastemaker_log_commits
    SELECT %s, partition, next FROM unnest(%s::integer[], %s::bigint[]) AS done (partition, next) ORDER BY partition
    ON CONFLICT (grp, partition) DO UPDATE SET next = greatest(tastemaker_log_commits.next, excluded.next)"""
TOLD = """SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())::float8,
    array(SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off')"""


def open_log(url: str, partitions: int, patience: Patience | None = None) -> PostgresLog:
    """Opens ``postgresql://user:password@host:port/database``, and creates the tables where there are none.

    Raises ``ConfigError`` when they were made with another number of partitions, ``Unavailable`` when the server is away.
    """
    log = PostgresLog(url, partitions, patience or Patience())
    try:
        log.prepare()
    except BaseException:
        log.close()
        raise
    return log


class PostgresLog:
    """An ``EventLog``."""

    terms = Terms()

    def __init__(self, url: str, partitions: int, patience: Patience) -> None:
        self.partitions = partitions
        self._reads = Connections(url, patience, "connect.log")
        slower = msgspec.structs.replace(patience, timeout_ms=patience.timeout_ms * SLOWER)
        self._writes = Connections(durable(url), slower, "connect.log")
        self._name = uuid.uuid4().hex
        self._listener = Listener(self._reads.conninfo, self._reads.shown, self._name)
        self._writer = GroupCommit(self._write, self._writes.close, self._reads.shown)
        self._appender = Appender(self._writer, partitions)

    def prepare(self) -> None:
        """Creates the tables of a new log, and checks the number of partitions of an old one."""
        found = self._writes.call(lambda connection: create(connection, self.partitions))
        check_partitions(self.partitions, found, self._reads.shown)

    def append(self, events: Sequence[AnyEvent], *, checked: bool = False) -> Future[list[Position]]:
        """See ``EventLog``. Tried once: when the answer to a commit is lost, nobody knows whether the events are kept."""
        return self._appender.events(events, checked)

    def append_packed(self, events: Sequence[Packed]) -> Future[list[Position]]:
        return self._appender.packed(events)

    def _write(self, jobs: Sequence[Job]) -> None:
        """One transaction for all jobs; an append that cannot be encoded fails alone, a failing server fails them all."""
        ready, flushes = encode(jobs)
        for appends in portions(ready):
            starts: dict[int, int] = {}
            if parts := by_partition(appends):
                parameters = (*columns(parts), self._name)
                rows = self._writes.call(lambda connection: connection.execute(APPEND, parameters).fetchall(), repeat=False)  # noqa: B023 - called at once
                starts = {partition: start for partition, start, _ in rows}
                self._listener.tell()
            acknowledge(appends, starts)
        for flush in flushes:
            flush.future.set_result(None)

    def read(self, partition: int, start: int, limit: int) -> list[Record]:
        check_partition(partition, self.partitions)
        records: list[Record] = []
        seen: Seen = {}
        while len(records) < limit:
            found, end = self.take(partition, start, limit - len(records), seen)
            if end == start:
                break
            records += found
            start = end
        return records

    def take(self, partition: int, start: int, limit: int, seen: Seen) -> tuple[list[Record], int]:
        """See ``Source``. A batch that was seen is not sent again, unless it was rewritten meanwhile."""
        key, _ = seen.get(partition, ((-1, -1), []))
        first, version = key if isinstance(key, tuple) else (-1, -1)
        stop = start + min(limit, WINDOW)
        parameters = (first, version, partition, stop, start, partition, start)
        rows = self._reads.call(lambda connection: connection.execute(ROWS, parameters, binary=True).fetchall())
        return batches.cut(decoded(rows, partition, seen), partition, start, limit)

    def ends(self) -> list[int]:
        rows = self._ask("SELECT next FROM tastemaker_log_ends ORDER BY partition")
        return [end for (end,) in rows]

    def starts(self) -> list[int]:
        return [0] * self.partitions

    def subscribe(self, group: str, *, leaving: Leaving | None = None, alone: bool = False) -> PollingSubscription:
        """See ``EventLog``. A member renews its leases while it polls: it has some seconds between two (``leases.Terms``)."""
        if alone:
            return PollingSubscription(self, Alone(self, group))
        return PollingSubscription(self, Leases(self._reads, self._writes, group, leaving, self.terms))

    def committed(self, group: str) -> list[int]:
        known = dict(self._ask(COMMITTED, group))
        return [known.get(partition, 0) for partition in range(self.partitions)]

    def commit(self, group: str, positions: Mapping[int, int]) -> None:
        parameters = (group, list(positions), list(positions.values()))
        self._writes.call(lambda connection: connection.execute(COMMIT_GROUP, parameters))

    def commits(self) -> int:
        return self._listener.count()

    def wait(self, commits: int, timeout: float) -> None:
        self._listener.wait(commits, timeout)

    def erase(self, user: str) -> int:
        """See ``EventLog``. All that bears the user's key is in one partition.

        Rewritten rows leave their old bytes in the table's files until the server vacuums. It is asked to at once; when the
        bytes are overwritten, and how long its WAL, replicas and backups keep them, is its administrator's business.
        """
        partition = partition_of(user, self.partitions)
        erased = self._writes.call(lambda connection: erase(connection, partition, user))
        if erased:
            vacuum(self._writes)
        return erased

    def inspect(self) -> Inspection:
        """See ``Inspectable``."""
        [(version, now, off)] = self._ask(TOLD)
        problems = tuple(f"{setting} is off: a power failure may damage the log; switch it on" for setting in off)
        return Inspection(f"PostgreSQL {version}", now, problems)

    def flush(self) -> None:
        self._writer.submit(None, 0).result()

    def close(self) -> None:
        self._writer.close()
        self._listener.close()
        self._reads.close()

    def _ask(self, question: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._reads.call(lambda connection: connection.execute(question, parameters).fetchall())


def portions(appends: Sequence[Ready]) -> Iterator[list[Ready]]:
    """Appends in order, about ``BYTES`` at a time: a statement has an upper limit, and so has our patience."""
    portion: list[Ready] = []
    size = 0
    for append in appends:
        more = sum(len(piece.body) for piece in append.prepared.pieces)
        if portion and size + more > BYTES:
            yield portion
            portion, size = [], 0
        portion.append(append)
        size += more
    if portion:
        yield portion


def columns(parts: Mapping[int, Sequence[tuple[int, bytes]]]) -> tuple[list[Any], ...]:
    """What ``APPEND`` wants: partitions; of each batch partition, distance from the end, count and payload; and the totals."""
    rows: list[tuple[int, int, int, bytes]] = []
    totals: list[int] = []
    for partition, group in parts.items():
        shift = 0
        for count, payload in group:
            rows.append((partition, shift, count, payload))
            shift += count
        totals.append(shift)
    batched = [list(column) for column in zip(*rows, strict=True)]
    return list(parts), *batched, list(parts), totals


def decoded(
    rows: Sequence[tuple[int, int, bytes | None]], partition: int, seen: Seen
) -> Iterator[tuple[int, list[AnyEvent | None]]]:
    """The events of batches; one without a payload is the one that was seen."""
    for first, version, payload in rows:
        events = seen[partition][1] if payload is None else batches.unpack(payload)
        seen[partition] = (first, version), events
        yield first, events
