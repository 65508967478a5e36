"""Vectors of items that somebody else made, such as sentence embeddings: read from a file when a model is trained.

No network is run here and none is fetched: the file is made outside, with whatever library makes such vectors, and the model's
artifact holds what it needs of them. An ``.npz`` file with ``ids`` (strings, one an item) and ``vectors`` (items, dimensions).
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tastemaker.errors import InputError
from tastemaker.models.interactions import Floats, Vocabulary
from tastemaker.models.topk import of_length_one

LEAST = 0.5  # share of the items that must have a vector: a file with fewer is of another catalogue
SAVE = "write it with numpy.savez(path, ids=numpy.array(ids, dtype=str), vectors=vectors)"


def read_vectors(path: str, items: Vocabulary, field: str) -> tuple[Floats, int]:
    """Vectors of length 1, (items, dimensions), and how many items have none: theirs are zeros.

    Raises ``InputError``, which names ``field``, for a file that cannot be used: it is missing, holds other arrays, an id
    twice, numbers that are not finite, or vectors for less than half of the items.
    """
    ids, vectors = arrays_of(path, field)
    if ids.ndim != 1 or ids.dtype.kind not in "US":
        raise InputError(field, path, f"ids are {ids.dtype} of shape {ids.shape}, not a list of strings; {SAVE}")
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] == 0:
        raise InputError(field, path, f"vectors are {vectors.dtype} of shape {vectors.shape}, not (items, dimensions); {SAVE}")
    if len(ids) != len(vectors):
        raise InputError(field, path, f"it has {len(ids)} ids but {len(vectors)} vectors; give one vector for each id")
    if not np.isfinite(vectors).all():
        raise InputError(field, path, "a vector holds NaN or infinity; make it again")
    names = (ids if ids.dtype.kind == "U" else np.char.decode(ids, "utf-8")).tolist()
    place = {name: row for row, name in enumerate(names)}
    if len(place) != len(names):
        raise InputError(field, path, f"{len(names) - len(place)} ids occur more than once; keep one vector for each item")
    rows = np.array([place.get(name, -1) for name in items.ids], np.int64)
    missing = int((rows < 0).sum())
    if len(rows) - missing < LEAST * len(rows):
        example = next(name for name in items.ids if name not in place)
        remedy = f"{missing} of {len(rows)} items have no vector in it, {example!r} for one; make the file from this catalogue"
        raise InputError(field, path, remedy)
    found = np.zeros((len(rows), vectors.shape[1]), np.float32)
    found[rows >= 0] = vectors[rows[rows >= 0]]
    return of_length_one(found), missing


def arrays_of(path: str, field: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The file's two arrays as they are."""
    try:
        opened = np.load(Path(path), allow_pickle=False)
        if isinstance(opened, np.lib.npyio.NpzFile):
            with opened as file:
                if {"ids", "vectors"} <= set(file.files):
                    return file["ids"], file["vectors"]
    except FileNotFoundError:
        raise InputError(field, path, "there is no such file; the path is that of the machine that trains") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(field, path, f"it cannot be read ({error}); {SAVE}") from error
    raise InputError(field, path, f"it has no arrays 'ids' and 'vectors'; {SAVE}")
