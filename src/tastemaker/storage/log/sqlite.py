"""The event log in one SQLite file.

Record batches (``batches.py``) are rows, keyed by partition and the offset of their first event. One thread writes, in
group commits (``group_commit.py``); offsets are taken inside the transaction, so several processes may append to a file.
Write-ahead logging with ``synchronous=FULL`` means: what was acknowledged survives ``kill -9`` and a power failure.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path

from tastemaker.config import Patience
from tastemaker.domain import AnyEvent, Record
from tastemaker.errors import ConfigError, StorageError
from tastemaker.storage.inspection import Inspection, disk
from tastemaker.storage.log import Leaving, Packed, Position, batches, check_partition, check_partitions, partition_of
from tastemaker.storage.log.appends import Appender, acknowledge, by_partition, encode
from tastemaker.storage.log.group_commit import GroupCommit, Job
from tastemaker.storage.log.sqlite_file import connect, failure, set_journal
from tastemaker.storage.log.subscription import RECHECK, Alone, PollingSubscription, Seen

TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (partition INTEGER, first INTEGER, count INTEGER NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (partition, first)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commits (grp TEXT, partition INTEGER, next INTEGER NOT NULL,
    PRIMARY KEY (grp, partition)) WITHOUT ROWID;
"""
END = "SELECT first + count FROM batches WHERE partition = ? ORDER BY first DESC LIMIT 1"
LAST = "SELECT first, count FROM batches WHERE partition = ? ORDER BY first DESC LIMIT 1"
START = "SELECT first FROM batches WHERE partition = ? ORDER BY first LIMIT 1"
ROWS = """SELECT first, count, payload FROM batches WHERE partition = ?1
    AND first >= coalesce((SELECT max(first) FROM batches WHERE partition = ?1 AND first <= ?2), 0) ORDER BY first"""
COMMIT_GROUP = """INSERT INTO commits VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET next = max(next, excluded.next)"""
Task = Callable[[sqlite3.Connection], object]


def open_log(url: str, partitions: int, patience: Patience | None = None) -> SqliteLog:  # noqa: ARG001 - a file needs no patience
    """Opens ``sqlite:///relative/path.db`` (four slashes: absolute), and creates it with its folder when there is none.

    Raises ``ConfigError`` when the file was made with another number of partitions.
    """
    name = url.removeprefix("sqlite:///")
    if name in ("", url):
        raise ConfigError(f"connect.log = {url!r}: name a file, as in sqlite:///folder/log.db")
    log = SqliteLog(Path(name).absolute(), partitions)
    try:
        log.prepare()
    except BaseException:
        log.close()
        raise
    return log


class SqliteLog:
    """An ``EventLog``."""

    def __init__(self, path: Path, partitions: int) -> None:
        self.path, self.partitions = path, partitions
        self._idle: deque[sqlite3.Connection] = deque()  # connections that nobody reads with just now
        self._closed = False
        self._commits = 0
        self._committed = threading.Condition()
        self._connection: sqlite3.Connection | None = None  # the writer's, used by its thread alone
        self._writer = GroupCommit(self._write, self._end, str(path))
        self._appender = Appender(self._writer, partitions)

    def prepare(self) -> None:
        """Creates the tables of a new file, and checks the number of partitions of an old one."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path}: its folder cannot be made: {error.strerror}") from error
        found: int = self._submit(self._create).result()
        check_partitions(self.partitions, found, self.path)

    def append(self, events: Sequence[AnyEvent], *, checked: bool = False) -> Future[list[Position]]:
        """See ``EventLog``. Callers that append without end should wait for earlier futures: the queue has no bound."""
        return self._appender.events(events, checked)

    def append_packed(self, events: Sequence[Packed]) -> Future[list[Position]]:
        return self._appender.packed(events)

    def read(self, partition: int, start: int, limit: int) -> list[Record]:
        check_partition(partition, self.partitions)
        return self.take(partition, start, limit, {})[0]

    def take(self, partition: int, start: int, limit: int, seen: Seen) -> tuple[list[Record], int]:
        """See ``Source``. A batch that was seen counts only while the stored bytes are the same, so that what another
        process erased is never handed out."""
        with self._reading() as connection, closing(connection.execute(ROWS, (partition, start))) as rows:
            return batches.cut(decoded(rows, partition, start, seen), partition, start, limit)

    def ends(self) -> list[int]:
        with self._reading() as connection:
            found = [connection.execute(END, (partition,)).fetchone() for partition in range(self.partitions)]
        return [row[0] if row else 0 for row in found]

    def starts(self) -> list[int]:
        with self._reading() as connection:
            found = [connection.execute(START, (partition,)).fetchone() for partition in range(self.partitions)]
        return [row[0] if row else 0 for row in found]

    def subscribe(self, group: str, *, leaving: Leaving | None = None, alone: bool = False) -> PollingSubscription:  # noqa: ARG002 - whoever reads a file reads all of it
        return PollingSubscription(self, Alone(self, group))

    def committed(self, group: str) -> list[int]:
        with self._reading() as connection:
            known = dict(connection.execute("SELECT partition, next FROM commits WHERE grp = ?", (group,)).fetchall())
        return [known.get(partition, 0) for partition in range(self.partitions)]

    def commit(self, group: str, positions: Mapping[int, int]) -> None:
        """Keeps a group's next offsets; never takes one back. Returns when it is durable."""
        rows = [(group, partition, offset) for partition, offset in positions.items()]
        self._submit(lambda connection: connection.executemany(COMMIT_GROUP, rows).rowcount).result()

    def commits(self) -> int:
        """Counts the transactions of this process; see ``wait``."""
        return self._commits

    def wait(self, commits: int, timeout: float) -> None:
        """Waits for a transaction of this process; those of others are found by looking again soon."""
        with self._committed:
            self._committed.wait_for(lambda: self._commits != commits, min(timeout, RECHECK))

    def erase(self, user: str) -> int:
        """See ``EventLog``. All that bears the user's key is in one partition; freed pages and the WAL are overwritten."""
        partition = partition_of(user, self.partitions)

        def rewrite(connection: sqlite3.Connection) -> int:
            total = 0
            firsts = connection.execute("SELECT first FROM batches WHERE partition = ?", (partition,)).fetchall()
            for (first,) in firsts:
                key = (partition, first)
                (payload,) = connection.execute("SELECT payload FROM batches WHERE partition = ? AND first = ?", key).fetchone()
                changed = batches.without(payload, user)
                if changed:
                    connection.execute("UPDATE batches SET payload = ? WHERE partition = ? AND first = ?", (changed[0], *key))
                    total += changed[1]
            return total

        erased: int = self._submit(rewrite).result()
        if erased:
            with self._reading() as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return erased

    def forget(self, positions: Mapping[int, int]) -> None:
        """Takes whole batches below these offsets off the disk: for a log that nobody will read again from its beginning."""
        self._submit(lambda connection: trim(connection, positions)).result()

    def flush(self) -> None:
        self._submit(lambda _: None).result()

    def inspect(self) -> Inspection:
        self.ends()
        return Inspection(f"SQLite {sqlite3.sqlite_version}", problems=disk(self.path))

    def close(self) -> None:
        self._writer.close()
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _submit(self, task: Task) -> Future[int]:
        return self._writer.submit(task, 0)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for one caller; opening one for each call would cost more than reading."""
        if self._closed:
            raise StorageError(f"{self.path} is closed: open it again to read it")
        try:
            connection = self._idle.pop() if self._idle else connect(self.path)
        except IndexError:  # another thread was faster
            connection = connect(self.path)
        except sqlite3.Error as error:
            raise failure(self.path, error) from error
        try:
            yield connection
        except sqlite3.Error as error:
            raise failure(self.path, error) from error
        finally:
            self._put_back(connection)

    def _put_back(self, connection: sqlite3.Connection) -> None:
        self._idle.append(connection)
        if self._closed:  # meanwhile, and the list was emptied already
            self._close_idle()

    def _writing(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = connect(self.path)
            connection.execute("PRAGMA secure_delete=ON")  # erased events leave no trace in free pages
            connection.execute("PRAGMA wal_autocheckpoint=4000")
            self._connection = connection
        return self._connection

    def _create(self, connection: sqlite3.Connection) -> int:
        """In the writer's transaction; the journal mode was set before it began."""
        for statement in TABLES.split(";"):
            connection.execute(statement)
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('partitions', ?)", (self.partitions,))
        found: int = connection.execute("SELECT value FROM meta WHERE name = 'partitions'").fetchone()[0]
        return found

    def _write(self, jobs: Sequence[Job]) -> None:
        """One transaction for all jobs; an append that cannot be encoded fails alone, a failing disk fails them all."""
        ready, tasks = encode(jobs)
        try:
            connection = self._writing()
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                set_journal(connection)
            connection.execute("BEGIN IMMEDIATE")
            starts = insert(connection, by_partition(ready))
            results = [task.work(connection) for task in tasks]
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._end()  # a connection that failed is not to be trusted; closing it rolls back
            raise failure(self.path, error) from error
        with self._committed:
            self._commits += 1
            self._committed.notify_all()
        acknowledge(ready, starts)
        for job, result in zip(tasks, results, strict=True):
            job.future.set_result(result)

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def decoded(
    rows: Iterable[tuple[int, int, bytes]], partition: int, start: int, seen: Seen
) -> Iterator[tuple[int, list[AnyEvent | None]]]:
    """The events of batches that reach beyond ``start``."""
    for first, count, payload in rows:
        if first + count > start:
            known = seen.get(partition)
            events = known[1] if known and known[0] == payload else batches.unpack(payload)
            seen[partition] = payload, events
            yield first, events


def trim(connection: sqlite3.Connection, positions: Mapping[int, int]) -> int:
    """Removes batches below offsets. Each partition's last one stays, emptied: the end of a log is behind its last batch."""
    for partition, offset in positions.items():
        last = connection.execute(LAST, (partition,)).fetchone()
        if last is None:
            continue
        first, count = last
        connection.execute(
            "DELETE FROM batches WHERE partition = ? AND first + count <= ? AND first < ?", (partition, offset, first)
        )
        if first + count <= offset:
            blank = batches.blank(count)
            connection.execute("UPDATE batches SET payload = ? WHERE partition = ? AND first = ?", (blank, partition, first))
    return len(positions)


def insert(connection: sqlite3.Connection, parts: Mapping[int, Sequence[tuple[int, bytes]]]) -> dict[int, int]:
    """Writes batches behind the ends of their partitions; returns the first new offset of each."""
    starts: dict[int, int] = {}
    for partition, rows in parts.items():
        row = connection.execute(END, (partition,)).fetchone()
        offset = starts[partition] = row[0] if row else 0
        for count, payload in rows:
            connection.execute("INSERT INTO batches VALUES (?, ?, ?, ?)", (partition, offset, count, payload))
            offset += count
    return starts
