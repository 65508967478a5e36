"""The cache of a model store that is elsewhere: artifacts as local folders, dropped when nobody has used them lately.

A folder's name is that of its artifact and the digest of its list of files, so an artifact that was made again under its old
name is another folder. Folders appear by one rename, whole; several processes may share a cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from tastemaker.errors import StorageError

KEPT = 16  # artifacts
UNUSED = 3600.0  # seconds after which nobody can be about to load a folder
DRAFT = ".draft-"


class Cache:
    """A folder of this machine. Thread safe, and safe among processes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, name: str, listed: bytes) -> Path | None:
        """The artifact with this list of files, if it is here; counts as a use of it."""
        folder = self.root / spelled(name, listed)
        try:
            os.utime(folder)
        except FileNotFoundError:
            return None
        return folder

    def newest(self, name: str) -> Path | None:
        """The artifact in the form that was used last, whatever its files are."""
        found = {folder: age(folder) for folder in self._folders() if name_of(folder) == name}
        return min(found, key=lambda folder: found[folder]) if found else None

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A new name on the cache's disk, for a folder that ``put`` takes over; what is left there is removed."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            parent = Path(tempfile.mkdtemp(prefix=DRAFT, dir=self.root))
        except OSError as error:
            raise StorageError(f"{self.root}: the cache of models cannot be written ({error}); look at its disk") from error
        try:
            yield parent / "files"
        finally:
            shutil.rmtree(parent, ignore_errors=True)

    def put(self, name: str, listed: bytes, draft: Path) -> Path:
        """Takes a draft in. Of processes that bring the same artifact, the first wins."""
        folder = self.root / spelled(name, listed)
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
        os.utime(folder)
        self._shrink()
        return folder

    def drop(self, prefix: str) -> None:
        """Forgets an artifact, or all below a name."""
        for folder in self._folders():
            if name_of(folder) == prefix or name_of(folder).startswith(f"{prefix}/"):
                discard(folder)

    def _shrink(self) -> None:
        """Drops what was not used lately, and what killed processes left."""
        by_use = sorted(self._folders(), key=age)
        left = [folder for folder in self.root.glob(f"{DRAFT}*") if age(folder) > 24 * UNUSED]
        for folder in (*by_use[KEPT:], *left):
            if age(folder) > UNUSED:
                discard(folder)

    def _folders(self) -> list[Path]:
        return [path for path in self.root.glob("*") if not path.name.startswith(".")]


def spelled(name: str, listed: bytes) -> str:
    """A folder's name for an artifact.

    >>> spelled("als-1/model", b"{}")
    'als-1%2Fmodel@44136fa355b3678a'
    """
    return f"{quote(name, safe='')}@{hashlib.sha256(listed).hexdigest()[:16]}"


def name_of(folder: Path) -> str:
    return unquote(folder.name.rpartition("@")[0])


def age(folder: Path) -> float:
    """Seconds since the last use; none for a folder that somebody dropped meanwhile."""
    with suppress(FileNotFoundError):
        return time.time() - folder.stat().st_mtime
    return 0.0


def discard(folder: Path) -> None:
    """Out of sight at once, then file by file."""
    gone = folder.with_name(f"{DRAFT}{folder.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
