"""What a store says of itself when somebody asks whether all is well: ``tastemaker check``.

Each adapter has a method ``inspect`` that asks its server for version and clock, and looks at the settings that matter to
this platform. What is wrong stands in ``problems``, what is merely worth knowing in ``notes``; both name the remedy.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

ROOM = 1 << 30  # bytes of a disk under which it is soon full


@dataclass(frozen=True)
class Inspection:
    """Version, the server's clock in epoch seconds (None: it tells none), and findings."""

    version: str
    clock: float | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@runtime_checkable
class Inspectable(Protocol):
    """A store that can be asked."""

    def inspect(self) -> Inspection:
        """Asks the server once. Raises ``StorageError`` when it is away."""


def disk(path: Path) -> tuple[str, ...]:
    """The problem of a disk that is nearly full, if it is."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    return (f"only {free >> 20} MiB are free at {there}: make room",) if free < ROOM else ()
