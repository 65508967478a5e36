"""Group commit: one thread writes what many callers ask for, in as few transactions as the disk allows.

Making a write durable takes the disk some milliseconds, however much it is. So callers hand over their job and get a
future; while one transaction is on its way to the disk, the next jobs gather, and all of them share the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple

from tastemaker.errors import StorageError

EVENTS = 131_072  # of one transaction: bounds memory and how long others wait for it


class Job(NamedTuple):
    """Something to write, its size in events, and the future of its result."""

    work: Any
    size: int
    future: Future[Any]


class GroupCommit:
    """The thread and its queue. ``write`` gets the waiting jobs and must settle each future, whatever happens."""

    def __init__(self, write: Callable[[Sequence[Job]], None], finish: Callable[[], None], name: str) -> None:
        self._write, self._finish, self._name = write, finish, name
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"writer of {name}", daemon=True)
        self._thread.start()

    def submit(self, work: Any, size: int) -> Future[Any]:
        """Queues a job; the future of a closed writer fails at once."""
        future: Future[Any] = Future()
        with self._lock:  # nothing may slip in behind the end mark
            if self._closed:
                future.set_exception(StorageError(f"{self._name} is closed: open it again to write to it"))
            else:
                self._queue.put(Job(work, size, future))
        return future

    def close(self) -> None:
        """Writes what waits, then ends."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            jobs, size = [], 0
            job = self._queue.get()
            while job is not None:
                jobs.append(job)
                size += job.size
                if size >= EVENTS or self._queue.empty():
                    break
                job = self._queue.get()
            ended = job is None
            self._settle([each for each in jobs if each.future.set_running_or_notify_cancel()])
        self._finish()

    def _settle(self, jobs: Sequence[Job]) -> None:
        try:
            if jobs:
                self._write(jobs)
        except BaseException as error:  # the thread lives on, and whoever waits learns of it
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)
