"""Where refused input goes: a file of JSON lines with time, reason and the text itself, so that it can be mended and sent again.

The file is bounded: at ``limit`` bytes it becomes ``NAME.1`` (replacing the last one) and a new one begins.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec


class Quarantine:
    """Appends refused rows to a file. Thread safe; the file is made with the first row."""

    def __init__(self, path: Path, limit: int = 64 << 20) -> None:
        self.path, self.limit = path, limit
        self._lock = threading.Lock()

    def put(self, rows: Sequence[dict[str, Any]]) -> None:
        """Writes the rows as one append."""
        if not rows:
            return
        data = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size + len(data) > self.limit:
                self.path.replace(self.path.with_name(self.path.name + ".1"))
            with self.path.open("ab") as file:
                file.write(data)
