"""Histories in files, for training sets that memory does not hold.

A folder of four ``.npy`` files (``indptr``, ``items``, ``weights``, ``times``) is written row after row and then opened as
``Histories`` whose arrays are the files themselves: the operating system reads what is looked at and drops it when memory is
wanted. Models see no difference. What they derive from such histories (``transposed``, ``newest``, a split) lies in files that
have no name and are gone with the last array that shows them, whatever happens to the process.

A folder is written under another name and renamed when all is on the disk: readers find a whole one or none.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import msgspec
import numpy as np
import numpy.typing as npt

from tastemaker.errors import InputError, StorageError
from tastemaker.models.artifact import sync, sync_folder
from tastemaker.models.interactions import WINDOW, Floats, Histories, Ints, Longs

FORMAT: Final = 1
NOTE: Final = "histories.json"
TYPES: Final[dict[str, npt.DTypeLike]] = {"indptr": np.int64, "items": np.int32, "weights": np.float32, "times": np.int64}
HEADER: Final = 128  # bytes before the numbers, always: a file's length is known only after its numbers are written
BYTES: Final = 16  # an entry's item, weight and time


class Note(msgspec.Struct, frozen=True):
    """The content of ``histories.json``, written last."""

    format: int
    rows: int
    entries: int


@dataclass(frozen=True)
class MappedHistories(Histories):
    """Histories whose entries lie in files; what is derived from them does, too."""

    scratch: Path  # the folder for the nameless files

    def room(self, entries: int) -> tuple[Ints, Floats, Longs]:
        return (
            nameless(self.scratch, entries, np.dtype(np.int32)),
            nameless(self.scratch, entries, np.dtype(np.float32)),
            nameless(self.scratch, entries, np.dtype(np.int64)),
        )

    def like(self, indptr: Longs, items: Ints, weights: Floats, times: Longs) -> Histories:
        return MappedHistories(indptr, items, weights, times, self.scratch)

    @property
    def window(self) -> int:
        return WINDOW


class MappedWriter:
    """Writes a folder of histories. A ``with`` block that ends well finishes it; one that raises leaves nothing."""

    def __init__(self, folder: Path) -> None:
        """Raises ``StorageError`` for a folder that is there already, or cannot be written."""
        self.folder, self.rows, self.entries = Path(folder), 0, 0
        if self.folder.exists():
            raise StorageError(f"{folder}: is there already; write histories into a new folder")
        self.files: dict[str, BinaryIO] = {}
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.draft = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
            for name, dtype in TYPES.items():
                self.files[name] = (self.draft / f"{name}.npy").open("wb")
                self.files[name].write(header(np.dtype(dtype), 0))
            self.files["indptr"].write(np.zeros(1, np.int64).tobytes())
        except OSError as error:
            raise unwritten(self.folder, error) from error

    def append(self, lengths: Longs, items: Ints, weights: Floats, times: Longs) -> None:
        """Adds rows behind those before: (rows,) lengths, and the entries of all of them, (sum of lengths,) each.

        Raises ``InputError`` where these do not fit together, ``StorageError`` when the disk is full.
        """
        entries = int(lengths.sum())
        if len(lengths) and int(lengths.min()) < 0:
            raise InputError("lengths", int(lengths.min()), "a row has no event or some")
        given: dict[str, npt.NDArray[Any]] = {"items": items, "weights": weights, "times": times}
        for name, values in given.items():
            if len(values) != entries:
                raise InputError(name, len(values), f"the lengths of the rows sum to {entries}; give one value for each event")
        try:
            ends = np.cumsum(lengths, dtype=np.int64) + self.entries
            for name, values in {"indptr": ends, **given}.items():
                self.files[name].write(np.ascontiguousarray(values, TYPES[name]).data)
        except OSError as error:
            raise unwritten(self.folder, error) from error
        self.rows, self.entries = self.rows + len(lengths), self.entries + entries

    def finish(self) -> None:
        """Makes the folder appear under its name, durable and whole."""
        try:
            for name, file in self.files.items():
                file.seek(0)
                file.write(header(np.dtype(TYPES[name]), self.rows + 1 if name == "indptr" else self.entries))
                sync(file)
                file.close()
            with (self.draft / NOTE).open("wb") as note:
                note.write(msgspec.json.encode(Note(FORMAT, self.rows, self.entries)) + b"\n")
                sync(note)
            sync_folder(self.draft)
            self.draft.rename(self.folder)
            sync_folder(self.folder.parent)
        except OSError as error:
            raise unwritten(self.folder, error) from error

    def discard(self) -> None:
        """Leaves nothing behind."""
        for file in self.files.values():
            file.close()
        shutil.rmtree(self.draft, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            if not self.folder.exists():
                self.discard()


def open_histories(folder: Path, scratch: Path | None = None) -> MappedHistories:
    """The histories of a folder. ``scratch``: where the files of what is derived from them lie, None: in the folder itself.

    Nothing is read yet but ``indptr``. The arrays are writeable, since that is the type for which kernels are compiled, and what
    is written into them is in the file: models write into none. Raises ``StorageError`` for a folder that is not whole.
    """
    folder = Path(folder)
    note = read_note(folder)
    lengths = {name: note.rows + 1 if name == "indptr" else note.entries for name in TYPES}
    arrays = {name: open_array(folder / f"{name}.npy", np.dtype(TYPES[name]), length) for name, length in lengths.items()}
    indptr = arrays["indptr"].copy()
    if indptr[0] != 0 or indptr[-1] != note.entries or (np.diff(indptr) < 0).any():
        raise StorageError(f"{folder}: damaged, the rows of indptr.npy are not those of {note.entries} events; write it again")
    return MappedHistories(indptr, arrays["items"], arrays["weights"], arrays["times"], folder if scratch is None else scratch)


def read_note(folder: Path) -> Note:
    path = folder / NOTE
    try:
        note = msgspec.json.decode(path.read_bytes(), type=Note)
    except FileNotFoundError:
        raise StorageError(f"{path}: there are no histories in this folder, or not all of them; write it again") from None
    except (OSError, msgspec.DecodeError) as error:
        raise StorageError(f"{path}: cannot be read ({error}); write the folder again") from error
    if note.format != FORMAT:
        raise StorageError(f"{path}: format {note.format}, this version reads {FORMAT}; write the folder again")
    return note


def open_array(path: Path, dtype: np.dtype[Any], length: int) -> npt.NDArray[Any]:
    """A file's numbers, as an array that kernels take."""
    try:
        with path.open("r+b") as file:
            if file.read(HEADER) != header(dtype, length):
                raise StorageError(f"{path}: is not {length} numbers of type {dtype}; write the folder again")
            found, wanted = os.fstat(file.fileno()).st_size, HEADER + length * dtype.itemsize
            if found != wanted:
                raise StorageError(f"{path}: damaged, it has {found} bytes instead of {wanted}; write the folder again")
            if not length:  # there is nothing to map
                return np.zeros(0, dtype)
            return np.asarray(np.memmap(file, dtype, "r+", HEADER, (length,)))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error}); write the folder again") from error


def nameless(folder: Path, length: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """An array in a file that has no name: its space is free again when the last view of it is gone.

    The space is taken at once, so that a full disk is an error here and not a signal in the middle of a kernel.
    """
    if not length:
        return np.zeros(0, dtype)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, length * dtype.itemsize)
            return np.asarray(np.memmap(file, dtype, "r+", 0, (length,)))
    except OSError as error:
        raise unwritten(folder, error) from error


def header(dtype: np.dtype[Any], length: int) -> bytes:
    """What an ``.npy`` file of version 1.0 begins with, always of the same size.

    >>> len(header(np.dtype(np.int32), 0)), len(header(np.dtype(np.int32), 10**12))
    (128, 128)
    """
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': ({length},), }}".encode("latin1")
    room = HEADER - len(b"\x93NUMPY\x01\x00") - 2
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", room) + text.ljust(room - 1) + b"\n"


def unwritten(place: Path, error: OSError) -> StorageError:
    return StorageError(f"{place}: histories could not be written ({error}); look at space and permissions")
