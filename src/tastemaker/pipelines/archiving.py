"""The lake follows the log while an import runs, in a thread of its own."""

from __future__ import annotations

import threading
from types import TracebackType

from tastemaker.storage import Storage
from tastemaker.storage.archive import archive

PAUSE = 0.5  # seconds between looks into the log: each commit of the lake should hold many events


class Archiving:
    """Archives again and again inside a ``with`` block, and once more at its end. A failure is raised at the end."""

    def __init__(self, storage: Storage) -> None:
        self.log, self.lake = storage.log, storage.lake
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="archiving", daemon=True)

    def _run(self) -> None:
        try:
            while not self._stop.wait(PAUSE):
                archive(self.log, self.lake)
        except BaseException as error:  # it belongs to the thread that imports
            self._failure = error

    def __enter__(self) -> Archiving:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if error is not None:
            return
        if self._failure is not None:
            raise self._failure
        archive(self.log, self.lake)
