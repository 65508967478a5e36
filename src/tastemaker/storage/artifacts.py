"""The model store: folders of files by name (``als-20260131T120000000/model``), in a folder of this machine or in a bucket.

Within an artifact there may be folders, too: a blend keeps each of its models in one.

Models know local folders only. In a bucket an artifact is its files and, written last, a list of them with sizes and checksums:
without the list there is no artifact, so one that is half uploaded is never seen. Who wants to load one gets a local folder,
fetched into a cache under another name, checked, and renamed: processes that fetch at once do not disturb each other.
The name of a cached folder ends in the digest of its list, so that an artifact that was trained again is fetched again.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from tastemaker.config import Patience
from tastemaker.errors import InputError, StorageError, Unavailable
from tastemaker.storage.artifact_cache import Cache
from tastemaker.storage.inspection import Inspection, disk
from tastemaker.storage.places import Bucket, folder_of

WHOLE = "_whole.json"  # the list that makes an artifact whole
Write = Callable[[Path], object]


class File(msgspec.Struct, frozen=True):
    """One file of an artifact."""

    size: int
    sha256: str


decode_list = msgspec.json.Decoder(dict[str, File]).decode


class Artifacts(Protocol):
    """Named folders of files. Thread safe, and safe among processes; an artifact, once there, does not change."""

    def folder(self, name: str) -> Path:
        """A local folder with the artifact's files. Raises ``StorageError`` when there is no such artifact, or when it is
        damaged; a store that is merely away does not matter while the artifact is in the cache."""

    def publish(self, name: str, write: Write) -> None:
        """Makes an artifact out of what ``write`` puts into the folder that it is given: a new one, which it makes."""

    def has(self, name: str) -> bool:
        """Whether the artifact is there, as a whole."""

    def remove(self, prefix: str) -> None:
        """Removes an artifact, or all that stand below a name, and what is left of unfinished ones."""

    def names(self) -> list[str]:
        """All artifacts that are whole."""

    def inspect(self) -> Inspection:
        """See ``Inspectable``."""

    def close(self) -> None: ...


def open_artifacts(url: str, cache: Path, patience: Patience | None = None) -> Artifacts:
    """Opens ``file:///relative/folder`` (four slashes: absolute) or ``s3://bucket/prefix``, which needs a cache."""
    if url.startswith("s3://"):
        return Remote(Bucket(url, patience or Patience(), "connect.models"), cache)
    return Local(folder_of(url, "connect.models"))


def checked(name: str) -> str:
    parts = name.split("/")
    if any(not part or part.startswith(".") or "\\" in part for part in parts):
        raise InputError("artifact", name, "an artifact's name is words joined by /, none of which begins with a dot")
    return name


class Local:
    """Artifacts in a folder: what is there is used where it lies, without a copy."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str) -> Path:
        return self.root / checked(name)

    def publish(self, name: str, write: Write) -> None:
        write(self.folder(name))

    def has(self, name: str) -> bool:
        return self.folder(name).is_dir()

    def remove(self, prefix: str) -> None:
        folder = self.folder(prefix)
        if folder.exists():
            shutil.rmtree(folder)

    def names(self) -> list[str]:
        files = (path.relative_to(self.root).parent for path in self.root.rglob("*") if path.is_file())
        found = {name for name in files if name.parts and not any(part.startswith(".") for part in name.parts)}
        return sorted(str(name) for name in found if found.isdisjoint(name.parents))

    def inspect(self) -> Inspection:
        return Inspection("folder", problems=disk(self.root.absolute()))

    def close(self) -> None:
        """Nothing is held open."""


class Remote:
    """Artifacts in a bucket, with a local cache."""

    def __init__(self, bucket: Bucket, cache: Path) -> None:
        self.bucket = bucket
        self.cache = Cache(cache / hashlib.sha256(str(bucket).encode()).hexdigest()[:12])  # one folder may serve several stores

    def folder(self, name: str) -> Path:
        try:
            listed = self.bucket.read(f"{checked(name)}/{WHOLE}")
        except Unavailable:
            cached = self.cache.newest(name)
            if cached is None:
                raise
            return cached
        if listed is None:
            raise StorageError(f"{self.bucket.uri(name)}: there is no such artifact, or not the whole of it; train again")
        found = self.cache.get(name, listed)
        return self._fetch(name, listed) if found is None else found

    def publish(self, name: str, write: Write) -> None:
        if self.has(name):
            raise StorageError(f"{self.bucket.uri(name)}: this artifact is there already; give the new one a name of its own")
        with self.cache.draft() as draft:
            write(draft)
            files = {file: describe(draft / file) for file in files_of(draft)}
            for file in files:
                self.bucket.upload(draft / file, f"{name}/{file}")
            listed = msgspec.json.encode(files)
            self.bucket.write(f"{name}/{WHOLE}", listed)
            self.cache.put(name, listed, draft)

    def has(self, name: str) -> bool:
        return self.bucket.exist([self.bucket.uri(f"{checked(name)}/{WHOLE}")])

    def remove(self, prefix: str) -> None:
        files = self.bucket.all_files(checked(prefix))
        for file in sorted(files, key=lambda file: not file.endswith(f"/{WHOLE}")):  # nobody may see an artifact while it goes
            self.bucket.delete(file)
        self.cache.drop(prefix)

    def names(self) -> list[str]:
        return sorted(file.removesuffix(f"/{WHOLE}") for file in self.bucket.all_files("") if file.endswith(f"/{WHOLE}"))

    def inspect(self) -> Inspection:
        return self.bucket.inspect()

    def close(self) -> None:
        """Nothing is held open."""

    def _fetch(self, name: str, listed: bytes) -> Path:
        with self.cache.draft() as draft:
            draft.mkdir()
            for file, wanted in decode_list(listed).items():
                path = draft / checked(file)
                path.parent.mkdir(parents=True, exist_ok=True)
                self.bucket.download(f"{name}/{file}", path)
                if describe(path) != wanted:
                    where = self.bucket.uri(f"{name}/{file}")
                    raise StorageError(f"{where}: damaged, its checksum is not that of {WHOLE}; restore it or train again")
            return self.cache.put(name, listed, draft)


def files_of(folder: Path) -> list[str]:
    """Names of all files below a folder, relative to it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def describe(path: Path) -> File:
    with path.open("rb") as file:
        return File(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
