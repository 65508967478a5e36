"""How far an import came, and the rows that it refused: two files beside each other that agree after any crash.

The quarantine file is written first, then the checkpoint with its length; what a killed import wrote behind that is cut off.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tastemaker.errors import StorageError
from tastemaker.pipelines.imports.blocks import Refused


class Checkpoint(msgspec.Struct, frozen=True):
    """The state of an import behind a block that is durable."""

    position: int = 0  # in the file, as its reader counts
    line: int = 0
    rows: int = 0
    imported: int = 0
    quarantined: int = 0
    quarantine_bytes: int = 0
    offsets: tuple[int, ...] = ()  # ends of the log before the next block was appended
    done: bool = False


class State:
    """The files of one import."""

    def __init__(self, folder: Path, source: str) -> None:
        self.path = folder / f"{source}.json"
        self.quarantine = folder / f"{source}.quarantine.jsonl"

    def load(self) -> Checkpoint | None:
        """The last checkpoint, with the quarantine file cut to what it knew of."""
        try:
            checkpoint = msgspec.json.decode(self.path.read_bytes(), type=Checkpoint)
        except FileNotFoundError:
            self.quarantine.unlink(missing_ok=True)
            return None
        except msgspec.DecodeError as error:
            raise StorageError(f"{self.path}: damaged checkpoint ({error}); remove the file to import from the start") from error
        if self.quarantine.exists():
            os.truncate(self.quarantine, checkpoint.quarantine_bytes)
        return checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        """Replaces the checkpoint in one step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        with part.open("wb") as file:
            file.write(msgspec.json.encode(checkpoint))
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)

    def refuse(self, rows: Sequence[Refused]) -> int:
        """Adds rows to the quarantine, durably. Returns the bytes they take."""
        if not rows:
            return 0
        lines = [
            msgspec.json.encode({"line": row.line, "reason": row.reason, "field": row.field, "text": row.text}) for row in rows
        ]
        data = b"\n".join(lines) + b"\n"
        self.quarantine.parent.mkdir(parents=True, exist_ok=True)
        with self.quarantine.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return len(data)
