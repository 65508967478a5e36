"""Wakes those who wait for records: at once for appends of this process, by LISTEN and NOTIFY for those of others.

One thread listens, on a connection of its own, and only while somebody waits. When it cannot, whoever waits looks again
every ``RECHECK`` seconds as for a file, so nothing depends on it but the number of questions that the server is asked.
"""

from __future__ import annotations

import select
import socket
import threading
import time

import psycopg
from psycopg.conninfo import make_conninfo

from tastemaker import telemetry
from tastemaker.storage.log.subscription import RECHECK

CHANNEL = "tastemaker_log"
TRUST = 1.0  # seconds between two looks while we listen: a message may be lost with its connection
IDLE = 5.0  # seconds without anybody waiting after which the listener ends
AGAIN = 1.0  # seconds until a listener that failed tries again
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


class Listener:
    """A count that grows with appends, and the thread that makes it grow."""

    def __init__(self, conninfo: str, shown: str, name: str) -> None:
        """``name`` marks messages of our own, which we know already."""
        self._conninfo, self._shown, self._name = make_conninfo(conninfo, **KEEPALIVES), shown, name
        self._count = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._listening = False
        self._closed = False
        self._waited = 0.0  # when somebody last waited
        self._wake, self._woken = socket.socketpair()

    def count(self) -> int:
        return self._count

    def tell(self) -> None:
        """Something was appended."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait(self, count: int, timeout: float) -> None:
        """Waits until the count is another one, or for as long as nothing can have been missed."""
        with self._changed:
            self._waited = time.monotonic()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name=f"listener of {self._shown}", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: self._count != count, min(timeout, TRUST if self._listening else RECHECK))

    def close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
            thread = self._thread
        self._wake.send(b"\0")
        if thread is not None:
            thread.join()
        self._wake.close()
        self._woken.close()

    def _run(self) -> None:
        """Listens until nobody has waited for some time."""
        healthy = True
        while self._wanted():
            try:
                with psycopg.connect(self._conninfo, autocommit=True) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._listening = healthy = True
                    self.tell()  # of what came before we listened, nobody told us
                    self._listen(connection)
            except psycopg.Error as error:
                if healthy:  # once, not every second; what we do without it stands in the file's first lines
                    telemetry.log.warning("log_listener_failed", log=self._shown, error=str(error).strip())
                healthy = self._listening = False
                select.select([self._woken.fileno()], [], [], AGAIN)
            finally:
                self._listening = False

    def _wanted(self) -> bool:
        """Whether to go on; else the next one who waits starts another thread."""
        with self._changed:
            wanted = not self._closed and time.monotonic() - self._waited < IDLE
            if not wanted:
                self._thread = None
            return wanted

    def _listen(self, connection: psycopg.Connection) -> None:
        while not self._closed and time.monotonic() - self._waited < IDLE:
            select.select([connection.fileno(), self._woken.fileno()], [], [], IDLE)
            if any(note.payload != self._name for note in connection.notifies(timeout=0)):
                self.tell()
