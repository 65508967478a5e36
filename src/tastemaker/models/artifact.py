"""Models on disk: a folder with ``arrays.npz`` and ``model.json``, and never a pickle.

The JSON tells what the arrays are and holds their SHA-256, so that a damaged or half-copied model is refused rather than
served. A folder is written under another name, flushed to the disk and renamed: readers find a whole model or none.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from tastemaker.errors import ConfigError, StorageError
from tastemaker.models import Recommender, model_class
from tastemaker.models.interactions import Vocabulary

Array = npt.NDArray[Any]
P = TypeVar("P", bound=msgspec.Struct)

FORMAT: Final = 1
ARRAYS: Final = "arrays.npz"
MODEL: Final = "model.json"


class Shape(msgspec.Struct, frozen=True):
    """What an array of the artifact looks like."""

    dtype: str
    shape: tuple[int, ...]


class Description(msgspec.Struct, frozen=True):
    """The content of ``model.json``."""

    format: int
    kind: str
    params: dict[str, Any]
    losses: tuple[float, ...]
    arrays: dict[str, Shape]
    sha256: str  # of arrays.npz


@dataclass(frozen=True)
class Artifact:
    """A model as it lies in its folder; ``arrays`` raises ``StorageError`` for one that is not there."""

    params: dict[str, Any]
    items: Vocabulary
    losses: tuple[float, ...]
    arrays: dict[str, Array]


def save_artifact(
    folder: Path,
    kind: str,
    params: msgspec.Struct,
    items: Vocabulary,
    arrays: Mapping[str, Array],
    losses: tuple[float, ...] = (),
    parts: Mapping[str, Recommender] | None = None,
) -> None:
    """Writes a model into ``folder``, which must be new or empty. Raises ``StorageError``.

    ``parts``: models that it is made of; each gets a folder of its own within, and ``load_model`` reads it.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise StorageError(f"{folder}: not empty; save a model into a folder of its own")
    everything = {**arrays, **packed(items)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            with (draft / ARRAYS).open("wb") as file:
                np.savez(file, allow_pickle=False, **everything)
                sync(file)
            described = Description(
                FORMAT,
                kind,
                msgspec.to_builtins(params),
                losses,
                {name: Shape(str(array.dtype), array.shape) for name, array in everything.items()},
                digest(draft / ARRAYS),
            )
            with (draft / MODEL).open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(described)) + b"\n")
                sync(file)
            for name, part in (parts or {}).items():
                part.save(draft / name)
            draft.chmod(0o755)  # mkdtemp's folders are for their owner alone
            sync_folder(draft)
            draft.rename(folder)
            sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageError(f"{folder}: the model could not be written ({error}); look at space and permissions") from error


def load_artifact(folder: Path, kind: str) -> Artifact:
    """Reads a model of this kind; raises ``StorageError`` if it is missing, damaged or of another kind."""
    folder = Path(folder)
    described = describe(folder)
    if described.kind != kind:
        raise StorageError(f"{folder}: holds a model of kind {described.kind!r}, not {kind!r}; load it with load_model")
    path = folder / ARRAYS
    try:
        if digest(path) != described.sha256:
            raise StorageError(f"{path}: damaged, its checksum is not that of {MODEL}; restore the folder or train again")
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Array] = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StorageError(f"{path}: cannot be read ({error}); restore the folder or train again") from error
    shapes = {name: Shape(str(array.dtype), array.shape) for name, array in arrays.items()}
    if shapes != described.arrays:
        raise StorageError(f"{folder}: {MODEL} describes other arrays than {ARRAYS} holds; restore the folder or train again")
    return Artifact(described.params, unpacked(arrays), described.losses, arrays)


def load_model(folder: Path) -> Recommender:
    """The model in the folder, of whatever kind it is."""
    folder = Path(folder)
    kind = describe(folder).kind
    try:
        found = model_class(kind)
    except ConfigError as error:
        raise StorageError(f"{folder}: {error}; it was written by another version") from error
    return found.load(folder)


def describe(folder: Path) -> Description:
    """What ``model.json`` says."""
    path = folder / MODEL
    try:
        described = msgspec.json.decode(path.read_bytes(), type=Description)
    except FileNotFoundError:
        raise StorageError(f"{path}: there is no model in this folder; train one or give another folder") from None
    except (OSError, msgspec.DecodeError) as error:
        raise StorageError(f"{path}: cannot be read ({error}); restore the folder or train again") from error
    if described.format != FORMAT:
        raise StorageError(f"{path}: format {described.format}, this version reads {FORMAT}; train the model again")
    return described


def params_of(artifact: Artifact, cls: type[P], folder: Path) -> P:
    """The artifact's hyper-parameters as their struct."""
    try:
        return msgspec.convert(artifact.params, cls)
    except msgspec.ValidationError as error:
        raise StorageError(f"{folder / MODEL}: wrong hyper-parameters ({error}); train the model again") from error


def packed(items: Vocabulary) -> dict[str, Array]:
    """Names as one run of UTF-8 and the ends of each: strings in an npz would need a pickle or a fixed width."""
    names = [name.encode() for name in items.ids]
    return {
        "vocabulary": np.frombuffer(b"".join(names), np.uint8),
        "vocabulary_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
    }


def unpacked(arrays: dict[str, Array]) -> Vocabulary:
    """The opposite of ``packed``; takes its arrays out of the others."""
    names, ends = arrays.pop("vocabulary").tobytes(), arrays.pop("vocabulary_ends").tolist()
    return Vocabulary(tuple(names[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)))


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes names durable: a file's own sync does not cover its entry in the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
