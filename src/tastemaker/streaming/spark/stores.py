"""The stores of a Python process that Spark started: opened once, for all tasks that run in it one after the other.

Spark keeps its Python workers for the next task, and opening stores and loading a model takes longer than most batches. A
worker ends without being told, so nothing here waits to be closed.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from tastemaker.config import Config
from tastemaker.storage import Storage, connect
from tastemaker.streaming.applying import Applier

_open: dict[bytes, tuple[Storage, Applier]] = {}  # one at most: the configuration's bytes, and what it opened


def opened(config: Config) -> Storage:
    """The stores that a configuration names."""
    return _of(config)[0]


def applier(config: Config) -> Applier:
    """One who applies records to them, with what he had loaded for the task before."""
    return _of(config)[1]


def _of(config: Config) -> tuple[Storage, Applier]:
    key = msgspec.msgpack.encode(config)
    if key not in _open:
        for storage, _ in _open.values():
            storage.close()
        _open.clear()
        # Nothing is appended here, so there is nothing to spool.
        storage = connect(replace(config, patience=replace(config.patience, spool_mb=0)))
        _open[key] = storage, Applier(storage, storage.config)
    return _open[key]
