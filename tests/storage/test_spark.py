"""Spark reads exactly one version of a lake's table, wherever the lake is, and its session tells what is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from msgspec.structs import replace

import servers
import spark_session
from tastemaker.config import Config, Spark
from tastemaker.errors import ConfigError, Conflict, MissingExtra, NotFound, StorageError
from tastemaker.storage import spark as engine
from tastemaker.storage.lake import Lake, open_lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(params=["folder", "pattern", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "s3":
        return open_lake(f"{servers.s3()}/lake")
    return open_lake(f"file:///{tmp_path / ('a {b}* lake' if request.param == 'pattern' else 'a lake é')}")


def rows(numbers: list[int], **more: list[object]) -> pa.Table:
    return pa.table({"n": pa.array(numbers, pa.int64()), "name": [f"n{number}" for number in numbers], **more})


def read(spark: SparkSession, lake: Lake, version: int | None = None) -> list[tuple[object, ...]]:
    found = engine.scan(spark, lake, "things", version)
    assert found is not None
    return sorted(tuple(row) for row in found.collect())


def test_each_version_is_read_as_it_was(spark: SparkSession, lake: Lake) -> None:
    lake.append("things", rows([1, 2]))
    lake.append("things", rows([3], extra=[0.5]))
    lake.delete("things", "name", "n2")
    lake.compact("things")
    assert read(spark, lake, 0) == [(1, "n1"), (2, "n2")]
    assert read(spark, lake, 1) == [(1, "n1", None), (2, "n2", None), (3, "n3", 0.5)]
    assert read(spark, lake) == read(spark, lake, 2) == [(1, "n1", None), (3, "n3", 0.5)]
    lake.vacuum("things", 0)
    assert read(spark, lake) == [(1, "n1", None), (3, "n3", 0.5)]
    connection = engine.connect(spark)
    table = engine.table(connection, spark, lake, "things")
    assert table is not None
    assert table.n.sum().execute() == 4


def test_no_rows_are_none(spark: SparkSession, lake: Lake) -> None:
    assert engine.scan(spark, lake, "things") is None
    lake.append("things", rows([1]))
    lake.delete("things", "name", "n1")
    assert engine.scan(spark, lake, "things") is None
    with pytest.raises(NotFound, match="things has no version 7"):
        engine.scan(spark, lake, "things", 7)


def test_a_process_has_one_session(spark: SparkSession) -> None:
    assert engine.session(Config(spark=spark_session.SPARK)) is spark
    with pytest.raises(Conflict, match=r"'local\[1\]': this process has a Spark session at 'local\[2\]'"):
        engine.session(Config(spark=Spark(master="local[1]")))
    more = replace(spark_session.SPARK, settings={"spark.sql.shuffle.partitions": 5})
    with pytest.raises(Conflict, match="own settings"):
        engine.session(Config(spark=more))


FRESH = """
import sys
from tastemaker.config import Config, Spark
from tastemaker.errors import TastemakerError
from tastemaker.storage.spark import session
try:
    session(Config(spark=Spark(master=sys.argv[1])))
except TastemakerError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("master", "environment", "message"),
    [
        ("loco[2]", {}, r"ConfigError spark.master = 'loco\[2\]': give local\[\*\], spark://HOST:PORT"),
        ("local[1]", {"JAVA_HOME": "/absent"}, "ConfigError .*JAVA_HOME = '/absent' has no bin/java: correct it, or unset it"),
        (
            "local[1]",
            {"JAVA_HOME": "", "PATH": "/absent"},
            "ConfigError .* needs Java 17 or newer, and there is no `java`: install",
        ),
        ("sc://127.0.0.1:1", {}, "Unavailable .*see that Spark Connect runs there and can be reached"),
    ],
)
def test_what_is_missing_is_said_before_spark_is_waited_for(master: str, environment: dict[str, str], message: str) -> None:
    command = [sys.executable, "-c", FRESH, master]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True, timeout=60)
    assert re.match(message, done.stdout), done.stdout


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_started", [])
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(
        MissingExtra, match=r"'local\[3\]' needs a package that is not installed: pip install 'tastemaker\[spark\]'"
    ):
        engine.session(Config(spark=Spark(master="local[3]")))


def test_an_error_of_a_worker_is_told_in_one_line(spark: SparkSession) -> None:
    def fail(_batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        raise ValueError("seven is no colour")

    told = r"^things: Spark could not do it: ValueError: seven is no colour: see the logs"
    with pytest.raises(StorageError, match=told), engine.explained("things"):
        spark.range(1).mapInArrow(fail, "id long").collect()
    told = r"^things: Spark could not do it: \[TABLE_OR_VIEW_NOT_FOUND\]"
    with pytest.raises(StorageError, match=told), engine.explained("things"):
        spark.table("absent")


def test_a_session_without_a_master_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"spark.master is empty: name where Spark runs"):
        engine.session(Config())
