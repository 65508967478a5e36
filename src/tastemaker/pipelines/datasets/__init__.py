"""Public data sets by name, to try things on: MovieLens in three sizes, and Gowalla's check-ins.

``find`` looks where they may be already, ``fetching.fetch`` gets them from their publishers, ``load`` reads either form (the
publisher's files, or tables in Parquet) into the same three tables. None of the sets is part of this project: each has terms
of its own, in ``TERMS``, which whoever calls ``load`` should show once (``first_time``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastemaker.errors import InputError, NotFound, did_you_mean
from tastemaker.pipelines.datasets import movielens

SITE = "Research use; no redistribution without permission, no commercial use, no endorsement implied; acknowledge the source: "
HARPER = "F. M. Harper, J. A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015, doi:10.1145/2827872."
TERMS = {
    "ml-100k": SITE + HARPER,
    "ml-latest-small": "Research use; redistribution under the same conditions only, no commercial use without permission, no "
    "endorsement implied; a development set that may change. Acknowledge the source: " + HARPER,
    "ml-1m": SITE + HARPER,
    "gowalla": "Public research data; its publisher SNAP asks for a citation: E. Cho, S. A. Myers, J. Leskovec, Friendship and "
    "Mobility, KDD 2011. The split: X. Wang et al., NGCF, SIGIR 2019; X. He et al., LightGCN, SIGIR 2020.",
}
FILES = {
    "ml-100k": ("ratings.parquet", "u.data"),
    "ml-latest-small": ("ratings.csv",),
    "ml-1m": ("ratings.parquet", "ratings.dat"),
    "gowalla": ("train.parquet",),
}
COUNTS = {"ml-100k": 100_000, "ml-latest-small": 100_836, "ml-1m": 1_000_209, "gowalla": 1_027_370}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Dataset:
    """A data set, in the same columns whatever its source.

    interactions: user, item, kind, value, time (epoch ms), sorted by time; ``split`` (train, test) where the publisher has one
    items: item, title, categories (list), released (epoch ms, null where unknown)
    users: user and what is known of them
    """

    name: str
    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    terms: str


def check_name(name: str) -> None:
    if name not in TERMS:
        raise InputError("dataset", name, f"no such data set; {did_you_mean(name, TERMS)}")


def cache(environ: Mapping[str, str]) -> Path:
    """The folder for downloads."""
    home = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME") or Path.home(), ".cache")
    return Path(home) / "tastemaker"


def find(name: str, environ: Mapping[str, str] | None = None) -> Path | None:
    """The folder of a data set that is on this machine.

    Looked for in ``$TASTEMAKER_DATA``, in ``../shared/data`` beside the current folder and beside the source checkout, and in
    the cache of downloads.
    """
    check_name(name)
    environ = os.environ if environ is None else environ
    places = [Path(environ["TASTEMAKER_DATA"])] if environ.get("TASTEMAKER_DATA") else []
    checkout = Path(__file__).resolve().parents[4]
    places += [Path("../shared/data"), checkout.parent / "shared" / "data", cache(environ)]
    for place in places:
        if any((place / name / file).is_file() for file in FILES[name]):
            return place / name
    return None


def first_time(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The terms of a data set, when they have not been shown yet; the cache remembers that they were."""
    check_name(name)
    marker = cache(os.environ if environ is None else environ) / f"{name}.terms-shown"
    if marker.exists():
        return None
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(TERMS[name] + "\n", "utf-8")
    return TERMS[name]


def load(name: str, progress: Progress | None = None, environ: Mapping[str, str] | None = None) -> Dataset:
    """A data set that is on this machine. Raises ``NotFound`` when it is not: ``fetching.fetch`` it first."""
    folder = find(name, environ)
    if folder is None:
        raise NotFound(f"data set {name}: not on this machine; fetch it, or put it into $TASTEMAKER_DATA/{name}")
    return read(name, folder, progress)


def read(name: str, folder: Path, progress: Progress | None = None) -> Dataset:
    """A data set out of a folder. Raises ``InputError`` when its number of rows is not the published one."""
    readers = {
        "ml-100k": movielens.read_100k,
        "ml-latest-small": movielens.read_latest_small,
        "ml-1m": movielens.read_1m,
        "gowalla": read_gowalla,
    }
    check_name(name)
    interactions, items, users = readers[name](folder)
    if interactions.num_rows != COUNTS[name]:
        remedy = f"{COUNTS[name]} were published; the files are damaged or of another edition: remove {folder} and fetch it again"
        raise InputError(f"dataset {name}.rows", interactions.num_rows, remedy)
    if progress is not None:
        progress(name, interactions.num_rows, interactions.num_rows)
    return Dataset(name, interactions, items, users, TERMS[name])


def read_gowalla(folder: Path) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Check-ins without time. A made-up one, a second from one row of the file to the next, keeps the order of the rows."""
    parts = []
    for split in ("train", "test"):
        table = pq.read_table(folder / f"{split}.parquet")
        parts.append(table.append_column("split", pa.array([split] * table.num_rows)))
    both = pa.concat_tables(parts)
    rows = both.num_rows
    interactions = pa.table(
        {
            "user": pc.cast(both["user_id"], pa.string()),
            "item": pc.cast(both["item_id"], pa.string()),
            "kind": pa.array(["visit"] * rows),
            "value": pa.nulls(rows, pa.float64()),
            "time": pa.array(np.arange(rows, dtype=np.int64) * 1000),
            "split": both["split"],
        }
    )
    places = pc.cast(pc.unique(both["item_id"]).sort(), pa.string())
    none = pa.nulls(len(places), pa.string())
    items = pa.table(
        {
            "item": places,
            "title": pa.array([f"Place {place}" for place in places.to_pylist()]),
            "categories": pa.array([[]] * len(places), pa.list_(pa.string())),
            "released": pc.cast(none, pa.int64()),
        }
    )
    return interactions, items, pa.table({"user": pc.cast(pc.unique(both["user_id"]).sort(), pa.string())})
