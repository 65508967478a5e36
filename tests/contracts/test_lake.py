"""What every lake must do, wherever its files are. A new place is one line in ``ADAPTERS``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pytest

import servers
from tastemaker.errors import ConfigError, Conflict, InputError, NotFound
from tastemaker.storage import LAKES, resolve
from tastemaker.storage.columns import SCHEMAS
from tastemaker.storage.lake import Lake, open_lake
from tastemaker.storage.places import Folder

ADAPTERS: dict[str, Callable[[Path], str]] = {
    "file": lambda folder: f"file:///{folder}/a b ü/lake",
    "s3": lambda _: f"{servers.s3()}/a b/lake",
}


@pytest.fixture(params=ADAPTERS)
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    url = ADAPTERS[request.param](tmp_path)
    opened: Lake = resolve(url, LAKES, "connect.lake")(url)
    return opened


def numbers(*values: int) -> pa.Table:
    return pa.table({"n": pa.array(values, pa.int64()), "user": pa.array([f"u{value}" for value in values])})


def column(lake: Lake, name: str = "t", version: int | None = None) -> list[int]:
    return sorted(lake.read(name, version, ["n"])["n"].to_pylist())


def test_versions_count_up_and_stay_readable(lake: Lake) -> None:
    assert lake.version("t") == -1
    assert lake.files("t") == []
    assert [lake.append("t", numbers(1)), lake.append("t", numbers(2, 3)), lake.overwrite("t", numbers(9))] == [0, 1, 2]
    assert [column(lake, version=version) for version in (0, 1, 2, None)] == [[1], [1, 2, 3], [9], [9]]
    assert lake.names() == ["t"]
    with pytest.raises(NotFound, match="no version 3"):
        lake.read("t", 3)


def test_a_table_that_nobody_wrote_is_empty_when_it_is_one_of_events(lake: Lake) -> None:
    assert lake.read("interactions").schema == SCHEMAS["interactions"]
    assert lake.read("views", columns=["user"]).column_names == ["user"]
    assert lake.delete("views", "user", "u") == 0
    assert lake.compact("views") == {}
    assert lake.vacuum("views", 0) == 0
    with pytest.raises(NotFound, match="no table"):
        lake.read("t")
    with pytest.raises(InputError, match="name"):
        lake.read("../outside")


def test_transactions_travel_with_the_rows(lake: Lake) -> None:
    assert lake.transaction("t", "a") == -1
    lake.append("t", numbers(1), {"a": 5, "b": 0})
    lake.append("t", numbers(2))
    lake.append("t", numbers(3), {"a": 7})
    assert (lake.transaction("t", "a"), lake.transaction("t", "b"), lake.transaction("t", "c")) == (7, 0, -1)


def test_of_two_writers_of_a_transaction_one_wins(lake: Lake) -> None:
    lake.append("t", numbers(0), {"a": 0})
    ready, outcomes = threading.Barrier(4), list[str]()

    def write(number: int) -> None:
        ready.wait()
        try:
            lake.append("t", numbers(number), {"a": number})
            outcomes.append("written")
        except Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4
    assert lake.read("t").num_rows == 1 + outcomes.count("written")
    assert lake.version("t") == outcomes.count("written") >= 1


def test_new_columns_are_added_and_older_rows_lack_them(lake: Lake) -> None:
    lake.append("t", numbers(1))
    lake.append("t", numbers(2).append_column("more", pa.array(["x"])))
    assert sorted(lake.read("t").to_pylist(), key=lambda row: int(row["n"])) == [
        {"n": 1, "user": "u1", "more": None},
        {"n": 2, "user": "u2", "more": "x"},
    ]


def test_threads_that_append_to_a_new_table_lose_nothing(lake: Lake) -> None:
    def write(start: int) -> None:
        for number in range(start, start + 5):
            lake.append("t", numbers(number))

    threads = [threading.Thread(target=write, args=(start,)) for start in range(0, 20, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert column(lake) == list(range(20))


@pytest.mark.parametrize("user", ["u", "it's", '"; DROP', "back\\slash", "ü\n\N{GRINNING FACE}", "%_*", "1", "--x"])
def test_delete_removes_the_rows_of_exactly_one_value(lake: Lake, user: str) -> None:
    others = ["U", user + " ", user[1:] + "-", "it''s"]
    lake.append("t", pa.table({"user": [user, *others]}))
    lake.append("t", pa.table({"user": [*others, user, user]}))
    assert lake.delete("t", "user", user) == 3
    assert lake.delete("t", "user", user) == 0
    assert sorted(lake.read("t")["user"].to_pylist()) == sorted(others * 2)
    with pytest.raises(InputError, match="column"):
        lake.delete("t", "missing", "x")


def test_rows_below_a_bound_are_removed_and_older_versions_keep_them(lake: Lake) -> None:
    lake.append("t", numbers(1, 2, 3))
    version = lake.append("t", numbers(4, 5, -6), {"mark": 7})
    assert lake.delete_below("t", "n", 3) == 3
    assert column(lake) == [3, 4, 5]
    assert lake.delete_below("t", "n", 3) == 0
    assert column(lake, version=version) == [-6, 1, 2, 3, 4, 5]
    assert lake.transaction("t", "mark") == 7, "what was archived is not archived again"
    assert lake.delete_below("t", "n", 2**62) == 3
    assert column(lake) == []
    assert lake.delete_below("views", "time", 5) == 0
    with pytest.raises(InputError, match="column"):
        lake.delete_below("t", "missing", 1)


def test_a_vacuum_leaves_the_versions_that_are_to_be_kept(lake: Lake) -> None:
    for number in range(3):
        lake.overwrite("t", numbers(number))
    assert lake.vacuum("t", 0, [1, 99]) == 1
    assert [lake.readable("t", version) for version in range(3)] == [False, True, True]
    assert column(lake, version=1) == [1]
    assert lake.vacuum("t", 0, [0]) > 0, "one that is gone cannot be kept, and is no hindrance"
    assert [lake.readable("t", version) for version in range(3)] == [False, False, True]


def test_compaction_keeps_rows_and_readers_until_the_vacuum(lake: Lake) -> None:
    for number in range(8):
        version = lake.append("t", numbers(number))
    before = lake.files("t")
    assert lake.compact("t")["numFilesRemoved"] == 8
    assert len(lake.files("t")) == 1
    assert column(lake) == column(lake, version=version) == list(range(8))
    assert lake.files("t", version) == before
    assert lake.vacuum("t", 24) == 0
    assert lake.vacuum("t", 0) == 8
    assert not any(lake.place.exist([file]) for file in before)
    assert column(lake) == list(range(8))


def test_duckdb_reads_the_files_and_never_those_of_old_versions(lake: Lake) -> None:
    lake.append("t", numbers(1, 2))
    lake.delete("t", "user", "u1")
    found = lake.scan(ibis.duckdb.connect(), "t")
    assert found is not None
    assert found.to_pyarrow().to_pylist() == [{"n": 2, "user": "u2"}]
    if isinstance(lake.place, Folder):  # other tools on this machine read them, too
        assert duckdb.connect().execute("SELECT n FROM read_parquet(?)", [lake.files("t")]).fetchall() == [(2,)]


def test_duckdb_scans_the_version_that_it_is_given(lake: Lake) -> None:
    connection = ibis.duckdb.connect()
    assert lake.scan(connection, "t") is None
    for number in range(3):
        lake.append("t", numbers(number, 10 + number))
    for version in range(3):
        found = lake.scan(connection, "t", version)
        assert found is not None
        assert found.filter(found.n < 10).n.max().execute() == version
        assert found.count().execute() == 2 * (version + 1)


def test_a_version_is_readable_until_the_vacuum(lake: Lake) -> None:
    lake.append("t", numbers(1))
    lake.overwrite("t", numbers(2))
    assert lake.readable("t", 0)
    lake.vacuum("t", 0)
    assert not lake.readable("t", 0)
    assert lake.readable("t", 1)


def test_a_file_of_many_megabytes_comes_back_whole(lake: Lake) -> None:
    """Larger than a part of an upload to S3: random numbers do not compress."""
    values = np.random.default_rng(0).random(5_000_000)
    lake.append("big", pa.table({"n": values}))
    assert np.array_equal(lake.read("big")["n"].to_numpy(), values)


@pytest.mark.parametrize(
    "url", ["file://", "file:///", "folder", "file:///a%20b/lake", "s3://", "s3:///x", "s3://user:secret@bucket/x"]
)
def test_a_place_that_cannot_hold_tables_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"connect\.lake"):
        open_lake(url)
