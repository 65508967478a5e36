"""The lake in a bucket: an object store that goes away and comes back, processes at once, and what training reads."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator

import boto3
import pyarrow as pa
import pytest

import servers
from tastemaker.config import Patience
from tastemaker.errors import ConfigError, StorageError, Unavailable, UnknownScheme
from tastemaker.features import table
from tastemaker.storage import LAKES, MODELS, resolve
from tastemaker.storage.lake import Lake, open_lake

QUICK = Patience(connect_ms=300, timeout_ms=100, tries=2)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[servers.S3, str]]:
    """A server that a test may stop, and a bucket on it."""
    with servers.S3() as server:
        for name, value in servers.s3_environment(server.url).items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="shop")
        yield server, "s3://shop/lake"


def rows(*numbers: int) -> pa.Table:
    return pa.table({"n": pa.array(numbers, pa.int64())})


def test_an_object_store_that_stops_is_unavailable_in_bounded_time_and_comes_back(own: tuple[servers.S3, str]) -> None:
    server, url = own
    lake = open_lake(url, QUICK)
    lake.append("t", rows(1))
    server.pause()
    for work in (lambda: lake.append("t", rows(2)), lambda: lake.read("t")):
        began = time.monotonic()
        with pytest.raises(Unavailable, match="see that the object store runs") as caught:
            work()
        assert time.monotonic() - began < 8
        assert "shop/lake/t" in str(caught.value)
        assert "test-secret" not in str(caught.value)
        assert "\x1b" not in str(caught.value)
    server.resume()
    lake.append("t", rows(3))
    assert 3 in lake.read("t")["n"].to_pylist()


def test_a_killed_object_store_is_unavailable_for_lists_and_files_too(own: tuple[servers.S3, str]) -> None:
    server, url = own
    lake = open_lake(url, QUICK)
    lake.append("t", rows(1))
    files = lake.files("t")
    server.kill()
    for work in (lake.names, lambda: lake.place.exist(files), lambda: lake.version("t"), lambda: lake.compact("t")):
        with pytest.raises(Unavailable):
            work()


def test_a_bucket_that_does_not_exist_is_no_server_that_is_away(own: tuple[servers.S3, str]) -> None:
    lake = open_lake("s3://nowhere/lake", QUICK)
    with pytest.raises(StorageError, match="nowhere") as caught:
        lake.append("t", rows(1))
    assert not isinstance(caught.value, Unavailable)


def test_a_profile_without_its_keys_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_PROFILE", "shop")
    with pytest.raises(ConfigError, match=r"connect\.lake.*AWS_PROFILE = 'shop'.*export-credentials"):
        open_lake("s3://shop/lake")


@pytest.mark.parametrize("scheme", ["gs", "hdfs", "abfss"])
def test_places_that_nobody_has_proved_are_refused(scheme: str) -> None:
    for schemes, key in ((LAKES, "connect.lake"), (MODELS, "connect.models")):
        with pytest.raises(UnknownScheme, match=f"{key}.*no adapter for {scheme}://"):
            resolve(f"{scheme}://shop/lake", schemes, key)


def append_some(url: str, start: int) -> None:
    lake = open_lake(url)
    for number in range(start, start + 5):
        lake.append("t", rows(number))


def test_processes_that_append_to_a_new_table_at_once_lose_nothing() -> None:
    url = f"{servers.s3()}/lake"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.starmap(append_some, [(url, start) for start in (0, 5, 10)], chunksize=1)
    assert sorted(open_lake(url).read("t")["n"].to_pylist()) == list(range(15))


def test_a_scan_reads_only_the_columns_and_rows_that_a_query_needs() -> None:
    lake: Lake = open_lake(f"{servers.s3()}/lake")
    for start in range(0, 4000, 1000):
        lake.append("t", pa.table({"n": range(start, start + 1000), "payload": ["x" * 100] * 1000}))
    found = lake.scan(table.connect(), "t")
    assert found is not None
    assert found.filter(found.n >= 3990).n.sum().execute() == sum(range(3990, 4000))
    plan = found.filter(found.n >= 3990).select("n")
    assert plan.to_pyarrow().column_names == ["n"]
