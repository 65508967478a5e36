"""The lake follows the log while a long import runs, in a process of its own: the two would share one interpreter's lock.

A short import needs none of this; its events go into the lake at the end.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from types import TracebackType

from tastemaker.config import Config
from tastemaker.errors import StorageError
from tastemaker.storage import Storage, connect
from tastemaker.storage.archive import archive

LONG = 300_000  # events from which a second process pays
PAUSE = 0.2  # seconds between looks into the log: each commit of the lake should hold many events


class Archiving:
    """Archives inside a ``with`` block once it is known to be long, and at its end in any case."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._child: SpawnProcess | None = None
        self._stop: Event | None = None

    def __enter__(self) -> Archiving:
        return self

    def appended(self, events: int) -> None:
        """Tells how many events there are by now."""
        if self._child is None and events >= LONG:
            context = multiprocessing.get_context("spawn")
            self._stop = context.Event()
            self._child = context.Process(target=follow, args=(self.storage.config, self._stop), daemon=True)
            self._child.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._child is not None and self._stop is not None:
            self._stop.set()
            self._child.join()
            code = self._child.exitcode
            self._child.close()
            if code and error is None:
                raise StorageError(f"the archiving process ended with {code}: events are safe in the log; import again to go on")
        if error is None:
            archive(self.storage.log, self.storage.lake)


def follow(config: Config, stop: Event) -> None:
    """The child: archives until it is told to stop, or its parent is gone. Ctrl-C is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # events hold no cycles, and this process makes nothing else
    parent = os.getppid()
    with connect(config) as storage:
        last = False
        while not last:
            last = stop.wait(PAUSE)
            if os.getppid() != parent:
                return
            archive(storage.log, storage.lake)
