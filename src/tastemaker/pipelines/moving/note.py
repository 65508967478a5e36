"""How far a move came: a small file in the target's home, replaced in one step.

Events are appended batch by batch. The note says, before each batch, what is surely in the target and which batch comes now:
after a crash only that batch has to be compared with the target's newest events. The note also tells a target that we filled
from one that somebody else did; without it everything that is found there is compared.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from tastemaker.errors import StorageError

FILE = "migration.json"


class Batch(msgspec.Struct, frozen=True):
    """Records of the source that are on their way."""

    partition: int
    start: int
    stop: int


class Note(msgspec.Struct, frozen=True):
    """The state of a move."""

    source: dict[str, str]  # the URLs of the source, without passwords
    target: dict[str, str]
    places: tuple[int, ...] = ()  # next offset of each partition of the source
    ends: tuple[int, ...] = ()  # of the target's partitions, when everything before ``places`` was in
    batch: Batch | None = None


def load(home: Path) -> Note | None:
    """The note of an earlier attempt."""
    path = home / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Note)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StorageError(f"{path}: damaged ({error}); remove the file: the move then compares everything anew") from error


def save(home: Path, note: Note) -> None:
    """Keeps the note, durably."""
    home.mkdir(parents=True, exist_ok=True)
    part = home / f"{FILE}.part"
    with part.open("wb") as file:
        file.write(msgspec.json.encode(note))
        file.flush()
        os.fsync(file.fileno())
    part.replace(home / FILE)
