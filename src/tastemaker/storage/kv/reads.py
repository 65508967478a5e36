"""Reads of the store behind a cache: few at a time, many keys in each, and no key twice at once.

An empty cache sends everybody to the store behind it. So a few threads read it, each takes all that waits and asks for it
in one go, and who wants what is being read already waits for that answer.

Each request is answered from one read, hence from one moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tastemaker.errors import StorageError
from tastemaker.storage.kv.entries import Dated

THREADS = 4  # reads at a time
MOST = 2048  # keys of one read, if it serves several requests
Found = dict[str, Dated | None]


class Request:
    """Keys, those of them that the front lacks, and the answer to come."""

    __slots__ = ("future", "keys", "lacking", "sent")

    def __init__(self, keys: Iterable[str], lacking: Iterable[str]) -> None:
        self.keys, self.lacking = frozenset(keys), frozenset(lacking)
        self.future: Future[Found] = Future()
        self.future.set_running_or_notify_cancel()  # one of several who wait must not end it for the others
        self.sent = False


class Reads:
    """The threads and who waits for them. ``read`` gets keys, and those of them that the front lacks."""

    def __init__(self, read: Callable[[Sequence[str], frozenset[str]], Found]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._queue: list[Request] = []
        self._by_key: dict[str, Request] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="reads behind the cache")
        self._closed = False

    def ask(self, keys: Sequence[str], lacking: Sequence[str], *, join: bool) -> Future[Found]:
        """The values of keys. ``join``: an answer will do that was on its way before we asked."""
        with self._lock:
            if self._closed:
                raise closed()
            there = self._by_key.get(keys[0])
            if there is not None and (join or not there.sent) and there.keys.issuperset(keys):
                return there.future
            request = Request(keys, lacking)
            self._by_key.update(dict.fromkeys(request.keys, request))
            self._queue.append(request)
            self._pool.submit(self._work)
        return request.future

    def forget(self, keys: Iterable[str]) -> None:
        """After a write: what is on its way may be older than it."""
        with self._lock:
            for key in keys:
                self._by_key.pop(key, None)

    def forget_all(self) -> None:
        with self._lock:
            self._by_key.clear()

    def _take(self) -> list[Request]:
        """All that waits, or as much as one read may ask for."""
        with self._lock:
            count = size = 0
            for request in self._queue:
                size += len(request.keys)
                if count and size > MOST:
                    break
                count += 1
                request.sent = True
            taken, self._queue = self._queue[:count], self._queue[count:]
            return taken

    def _work(self) -> None:
        requests = self._take()
        if not requests:  # another thread took it along
            return
        keys = list(frozenset().union(*(request.keys for request in requests)))
        lacking = frozenset[str]().union(*(request.lacking for request in requests))
        try:
            found = self._read(keys, lacking)
        except BaseException as error:  # whoever waits learns of it
            self._finish(requests)
            for request in requests:
                request.future.set_exception(copy_of(error))
        else:
            self._finish(requests)
            for request in requests:
                request.future.set_result(found)

    def _finish(self, requests: Sequence[Request]) -> None:
        with self._lock:
            for request in requests:
                for key in request.keys:
                    if self._by_key.get(key) is request:
                        del self._by_key[key]

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._pool.shutdown()


def closed() -> StorageError:
    return StorageError("the online store is closed: open it again")


def copy_of(error: BaseException) -> BaseException:
    """An error for each who waits, since its traceback grows where it is raised."""
    return type(error)(*error.args) if isinstance(error, StorageError) else error
