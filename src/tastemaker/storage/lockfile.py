"""A lock between processes of one machine, for work that must not be done twice at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tastemaker.errors import Conflict


@contextmanager
def locked(path: Path, what: str = "run") -> Iterator[None]:
    """Holds a file lock; the system releases it when the process dies. Raises ``Conflict`` when another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Conflict(f"another {what} is under way (process {file.read().strip() or '?'}); wait for it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
