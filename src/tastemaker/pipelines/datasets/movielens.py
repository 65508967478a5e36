"""The MovieLens sets in the forms they come in, as the same tables.

100K comes as ``u.data`` with its companions or as Parquet, 1M as ``.dat`` files or as Parquet, latest-small as CSV. Titles lose
the year behind them, which becomes ``released``; "(no genres listed)" and "unknown" are no categories.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from tastemaker.models.interactions import Bools, Longs

Tables = tuple[pa.Table, pa.Table, pa.Table]
NO_GENRE = ("(no genres listed)", "unknown", "")
YEAR = re.compile(r"^(.*?)\s*\((\d{4})\)\s*$", re.DOTALL)
GENRES_100K = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)


def ratings(users: Any, items: Any, values: Any, seconds: Longs, tie: npt.NDArray[np.integer] | None = None) -> pa.Table:
    """Ratings in order of time; within one second in order of ``tie``, else of user and item."""
    table = pa.table({"u": users, "i": items, "v": values})
    numbers = [table[name].to_numpy() for name in "ui"]
    order = pa.array(np.lexsort((numbers[1], numbers[0], seconds) if tie is None else (tie, numbers[0], seconds)))
    table = table.take(order)
    return pa.table(
        {
            "user": pc.cast(table["u"], pa.string()),
            "item": pc.cast(table["i"], pa.string()),
            "kind": pa.array(["rating"] * len(order)),
            "value": pc.cast(table["v"], pa.float64()),
            "time": pc.take(pa.array(seconds * 1000), order),
        }
    )


def movies(
    ids: Sequence[Any], titles: Sequence[str], genres: Sequence[Sequence[str]], years: Sequence[Any] | None = None
) -> pa.Table:
    """Items; the year stands behind the title unless ``years`` gives it. What is older than 1970 counts as 1970."""
    parts = [found.groups() if (found := YEAR.match(title)) else (title, None) for title in titles]
    given = [year for _, year in parts] if years is None else years
    return pa.table(
        {
            "item": pa.array([str(name) for name in ids], pa.string()),
            "title": pa.array([title for title, _ in parts], pa.string()),
            "categories": pa.array([[name for name in row if name not in NO_GENRE] for row in genres], pa.list_(pa.string())),
            "released": pa.array([start_of(year) for year in given], pa.int64()),
        }
    )


def start_of(year: Any) -> int | None:
    """The beginning of a year in epoch milliseconds.

    >>> start_of("1995"), start_of(1934), start_of(None)
    (788918400000, 0, None)
    """
    if year is None or not str(year).isdecimal():
        return None
    return max(0, int(np.datetime64(f"{int(year):04}", "ms").astype(np.int64)))


def read_text(path: Path, separator: str, names: Sequence[str]) -> pa.Table:
    """A headless table in Latin-1, as GroupLens wrote them."""
    text = path.read_bytes().decode("latin-1").replace("::", "\x1f") if separator == "::" else path.read_bytes().decode("latin-1")
    return arrow_csv.read_csv(
        pa.BufferReader(text.encode()),
        arrow_csv.ReadOptions(column_names=list(names)),
        arrow_csv.ParseOptions(delimiter="\x1f" if separator == "::" else separator, quote_char=False),
        arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )


def integers(table: pa.Table, name: str) -> pa.ChunkedArray[Any]:
    return pc.cast(table[name], pa.int64())


def people(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Users as text, in order of their number."""
    table = table.take(pc.sort_indices(pc.cast(table["user_id"], pa.int64())))
    texts = {name: pc.cast(table[name], pa.string()) for name in columns}
    return pa.table({"user": pc.cast(table["user_id"], pa.string()), **texts})


def read_100k(folder: Path) -> Tables:
    """MovieLens 100K: stars 1 to 5, with age, gender, occupation and zip code of the users."""
    known = ("age", "gender", "occupation", "zip_code")
    if (folder / "ratings.parquet").is_file():
        rated = pq.read_table(folder / "ratings.parquet")
        listed = pq.read_table(folder / "items.parquet")
        titles, years = listed["title"].to_pylist(), listed["release_year"].to_pylist()
        genres = [(text or "").split() for text in listed["genres"].to_pylist()]
        items = movies(listed["item_id"].to_pylist(), titles, genres, years)
        users = people(pq.read_table(folder / "users.parquet"), known)
    else:
        rated = read_text(folder / "u.data", "\t", ("user_id", "item_id", "rating", "timestamp"))
        columns = ("item_id", "title", "date", "video", "url", *GENRES_100K)
        listed = read_text(folder / "u.item", "|", columns)
        flags = zip(*(listed[name].to_pylist() for name in GENRES_100K), strict=True)
        genres = [[name for name, flag in zip(GENRES_100K, row, strict=True) if flag == "1"] for row in flags]
        items = movies(listed["item_id"].to_pylist(), listed["title"].to_pylist(), genres)
        users = people(read_text(folder / "u.user", "|", ("user_id", *known)), known)
    interactions = ratings(
        integers(rated, "user_id"), integers(rated, "item_id"), integers(rated, "rating"), integers(rated, "timestamp").to_numpy()
    )
    return interactions, items, users


def read_latest_small(folder: Path) -> Tables:
    """MovieLens latest-small: stars 0.5 to 5; nothing is known of the users."""
    rated = arrow_csv.read_csv(folder / "ratings.csv")
    listed = arrow_csv.read_csv(
        folder / "movies.csv", convert_options=arrow_csv.ConvertOptions(column_types={"genres": pa.string()})
    )
    genres = [text.split("|") for text in listed["genres"].to_pylist()]
    items = movies(listed["movieId"].to_pylist(), listed["title"].to_pylist(), genres)
    interactions = ratings(rated["userId"], rated["movieId"], rated["rating"], rated["timestamp"].to_numpy())
    users = pc.cast(pc.unique(rated["userId"]).sort(), pa.string())
    return interactions, items, pa.table({"user": users})


def read_1m(folder: Path) -> Tables:
    """MovieLens 1M: stars 1 to 5, with gender, age group, occupation code and zip code of the users.

    The Parquet form knows the order of a user's ratings (``position``) but not every time, and some times only about. An
    unknown time becomes the last known one of the same user before it, or else the first one behind it; one that contradicts
    an exact time of the same user becomes that. So the order is kept, and the times of a user never go back. Users without
    any time get that of the whole set's first rating. Ratings without a position stand where their time puts them, or else
    behind the others.
    """
    known = ("gender", "age", "occupation", "zip_code")
    if not (folder / "ratings.parquet").is_file():
        rated = read_text(folder / "ratings.dat", "::", ("user_id", "item_id", "rating", "timestamp"))
        listed = read_text(folder / "movies.dat", "::", ("item_id", "title", "genres"))
        users = read_text(folder / "users.dat", "::", ("user_id", *known))
        seconds = integers(rated, "timestamp").to_numpy()
        tie = None
    else:
        rated = pq.read_table(
            folder / "ratings.parquet", columns=["user_id", "item_id", "rating", "position", "timestamp", "ts_source"]
        )
        listed, users = pq.read_table(folder / "movies.parquet"), pq.read_table(folder / "users.parquet")
        last = np.iinfo(np.int16).max
        position = pc.fill_null(pc.cast(rated["position"], pa.int64()), last).to_numpy()
        order = np.lexsort((position, integers(rated, "user_id").to_numpy()))
        rated, tie = rated.take(pa.array(order)), position[order]
        given = pc.fill_null(rated["timestamp"], -1).to_numpy()
        exact = pc.equal(pc.cast(rated["ts_source"], pa.string()), "exact").to_numpy()
        filled = fill_times(integers(rated, "user_id").to_numpy(), np.where(tie < last, given, -1), exact)
        seconds = np.where((tie == last) & (given >= 0), given, filled)
    genres = [text.split("|") for text in listed["genres"].to_pylist()]
    items = movies(listed["item_id"].to_pylist(), listed["title"].to_pylist(), genres)
    interactions = ratings(integers(rated, "user_id"), integers(rated, "item_id"), integers(rated, "rating"), seconds, tie)
    return interactions, items, people(users, known)


def fill_times(users: Longs, seconds: Longs, exact: Bools) -> Longs:
    """Times of rows sorted by user and order, with -1 where unknown, without gaps and never going back within a user.

    >>> exact = np.array([False, False, True, False, False, True])
    >>> fill_times(np.array([1, 1, 1, 1, 2, 3]), np.array([-1, 8, 7, -1, -1, 5]), exact).tolist()
    [7, 7, 7, 7, 5, 5]
    """
    never = np.iinfo(np.int64).max
    filled = np.zeros_like(seconds)
    start = np.flatnonzero(np.r_[True, users[1:] != users[:-1]])
    first = int(seconds[seconds >= 0].min(initial=never)) if (seconds >= 0).any() else 0
    for begin, end in zip(start.tolist(), [*start[1:].tolist(), len(users)], strict=True):
        given, sure = seconds[begin:end], exact[begin:end] & (seconds[begin:end] >= 0)
        capped = np.minimum(given, np.minimum.accumulate(np.where(sure, given, never)[::-1])[::-1])
        times = np.maximum.accumulate(capped)
        times[times < 0] = given[given >= 0].min() if (given >= 0).any() else first
        if sure.any():  # a gap at the beginning may not be filled with what comes after an exact time
            times = np.minimum(times, np.minimum.accumulate(np.where(sure, given, never)[::-1])[::-1])
        filled[begin:end] = times
    return filled
