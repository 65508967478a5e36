"""The SQLite file under a log: how it is opened, and what to do when it fails."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from tastemaker.errors import StorageError

BUSY_SECONDS = 10.0
REMEDIES = {
    "SQLITE_FULL": "the disk is full: make room, the log goes on by itself",
    "SQLITE_IOERR": "the disk refuses to write: see that it has room and is healthy, the log goes on by itself",
    "SQLITE_BUSY": "another process has held the file for too long: end it, or try again",
    "SQLITE_READONLY": "the file may not be written: see its owner and permissions",
    "SQLITE_CANTOPEN": "the file cannot be opened: see its folder's permissions",
    "SQLITE_CORRUPT": "the file is damaged: put a backup in its place, or move it away and start anew",
    "SQLITE_NOTADB": "the file is not an event log: name another one in connect.log",
}


def connect(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return; statements are transactions of their own until BEGIN."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def set_journal(connection: sqlite3.Connection) -> None:
    """Switches a new file to write-ahead logging; SQLite does not wait for other processes here, so we do."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.005)


def failure(path: Path, error: sqlite3.Error) -> StorageError:
    """What went wrong with the file, and what helps."""
    name: str = getattr(error, "sqlite_errorname", "") or type(error).__name__
    remedy = next((remedy for prefix, remedy in REMEDIES.items() if name.startswith(prefix)), "see the cause above")
    return StorageError(f"{path}: {error} ({name}): {remedy}")
