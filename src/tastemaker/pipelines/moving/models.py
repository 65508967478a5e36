"""Artifacts, moved: what cards and the live pointer name, and what was trained beside it to be judged."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from tastemaker.errors import Conflict
from tastemaker.registry import live
from tastemaker.storage import Storage
from tastemaker.storage.artifacts import files_of

Progress = Callable[[int, int, str], None]


def wanted(source: Storage) -> list[str]:
    """The source's artifacts that somebody may still ask for."""
    named = {card.artifact for card in source.tables.models.all()}
    if (now := live.read(source.kv)) is not None:
        named |= {now.artifact, now.fallback}
    runs = {name.partition("/")[0] for name in named if name}
    return [name for name in source.models.names() if name.partition("/")[0] in runs]


def copy(source: Storage, target: Storage, progress: Progress, *, own: bool) -> int:
    """Copies artifacts that are not there yet; returns how many."""
    names = wanted(source)
    copied = 0
    for done, name in enumerate(names):
        progress(done, len(names), name)
        folder = source.models.folder(name)
        if target.models.has(name):
            if sums(target.models.folder(name)) == sums(folder):
                continue
            if not own:
                raise Conflict(f"the target holds another artifact {name} already: name an empty place as connect.models")
            target.models.remove(name)

        def write(place: Path, folder: Path = folder) -> None:
            duplicate(folder, place)

        target.models.publish(name, write)
        copied += 1
    progress(max(len(names), 1), max(len(names), 1), "")
    return copied


def duplicate(folder: Path, place: Path) -> None:
    """A folder copied in one step: it is there as a whole or not at all."""
    part = place.with_name(f".{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, part)
    part.rename(place)


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file."""
    return {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files_of(folder)}
