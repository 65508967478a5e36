"""Spark: the one session of a process, and the lake's tables as Spark reads them.

A version of a table is a list of Parquet files. That list is what Spark is given, with the table's own columns: the folder
also holds files that later versions gave up, and a file written before a column was added does not know of it. Where the
session was set up for Delta (``spark.sql.extensions``), its connector is asked for the version instead. A bucket is read by
Spark's own client (s3a) where its classes are there, and else by Arrow in Spark's Python workers.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tastemaker.config import Config, Patience, hide
from tastemaker.errors import ConfigError, Conflict, MissingExtra, StorageError, Unavailable
from tastemaker.storage.lake import Lake
from tastemaker.storage.places import Bucket

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa
    from ibis.backends import BaseBackend
    from pyspark.sql import DataFrame, SparkSession

GLOBS = set("{}[]*?\\")  # what Spark takes for a pattern in a path
QUIET = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
ALONE = {"spark.executorEnv.NUMBA_NUM_THREADS": "1"}  # a Python worker has one core: its neighbours have the others
SAME = {"spark.sql.session.timeZone": "UTC", "spark.sql.execution.arrow.pyspark.enabled": "true"}
LEAN = {"spark.sql.execution.arrow.localRelationThreshold": "1m"}  # larger tables as Arrow, not as rows in the driver's heap
LOCAL = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
MASTER = re.compile(r"local(-cluster)?(\[[^\]]+\])?$|yarn$|(spark|k8s|sc)://.")
CONNECT = 15002  # the port of Spark Connect, where a URL names none
S3A = "org.apache.hadoop.fs.s3a.S3AFileSystem"


@dataclass(frozen=True)
class Started:
    """The session of a process, and what it was asked for."""

    master: str
    settings: dict[str, str]
    spark: SparkSession


_lock = threading.Lock()
_started: list[Started] = []  # one at most


def session(config: Config) -> SparkSession:
    """The session that ``[spark]`` describes, started on first use; all of a process share it.

    Raises ``ConfigError`` when no master is named or Java is missing, ``MissingExtra`` without pyspark, ``Unavailable`` when
    Spark does not start, and ``Conflict`` when this process has a session with another master or other settings.
    """
    master, settings = config.spark.master, settings_of(config)
    if not master:
        raise ConfigError("spark.master is empty: name where Spark runs, as in local[*] or spark://HOST:7077")
    with _lock:
        if _started and not stopped(_started[0].spark):
            if (_started[0].master, _started[0].settings) != (master, settings):
                raise Conflict(
                    f"spark.master = {hide(master)!r}: this process has a Spark session at {hide(_started[0].master)!r} with its "
                    "own settings, and can have one only: use another process, or stop that session"
                )
            return _started[0].spark
        _started[:] = [Started(master, settings, started(master, settings, config.patience))]
        return _started[0].spark


def settings_of(config: Config) -> dict[str, str]:
    """All settings of a session: ours, then those of the configuration.

    >>> from tastemaker.config import Spark
    >>> settings_of(Config(spark=Spark(master="sc://host", settings={"spark.sql.ansi.enabled": False})))
    ... # doctest: +NORMALIZE_WHITESPACE
    {'spark.sql.session.timeZone': 'UTC', 'spark.sql.execution.arrow.pyspark.enabled': 'true', 'spark.sql.ansi.enabled': 'false'}
    """
    master = config.spark.master
    ours = dict(SAME)
    if not remote(master):
        ours |= QUIET | ALONE | LEAN | {"spark.app.name": "tastemaker", "spark.log.level": config.spark.log_level}
        ours |= LOCAL if master.startswith("local") else {}
    given = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in config.spark.settings.items()}
    return ours | given


def remote(master: str) -> bool:
    """Whether Spark runs behind Spark Connect: then this process has neither Java nor a driver."""
    return master.startswith("sc://")


def started(master: str, settings: dict[str, str], patience: Patience) -> SparkSession:
    """A new session."""
    try:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        raise MissingExtra("spark", f"spark.master = {hide(master)!r}") from error
    if not MASTER.match(master):
        raise ConfigError(f"spark.master = {hide(master)!r}: give local[*], spark://HOST:PORT, yarn, k8s://URL or sc://HOST:PORT")
    if remote(master):
        see_server(master, patience)
    else:
        see_java(master)
        if master.startswith("local"):
            os.environ.setdefault("SPARK_LOCAL_IP", LOCAL["spark.driver.host"])  # else Spark looks for a better one, and warns
        os.environ.setdefault("PYSPARK_PYTHON", settings.get("spark.pyspark.python", sys.executable))
    builder = SparkSession.builder.remote(master) if remote(master) else SparkSession.builder.master(master)
    try:
        spark: SparkSession = builder.config(map=dict(settings)).getOrCreate()
    except ImportError as error:  # what Spark Connect's client needs besides
        raise MissingExtra("spark-connect", f"spark.master = {hide(master)!r}") from error
    except (PySparkException, Py4JError) as error:
        raise Unavailable(
            f"spark.master = {hide(master)!r}: Spark does not start: {said(error)}: see that "
            "the master can be reached, and what [spark.settings] say"
        ) from error
    return spark


@contextmanager
def explained(what: str) -> Iterator[None]:
    """An error of Spark leaves the block as ``StorageError``, with what Spark or a Python worker said."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise StorageError(
            f"{what}: Spark could not do it: {said(error)}: see the logs of its executors, and try again"
        ) from error


def said(error: Exception) -> str:
    """The one line of Spark's many that says what is wrong: a Python worker's last, else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    traces = [place for place, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if traces:
        last = [line for line in lines[traces[-1] :] if not line.startswith(("File ", "at ", "JVM stacktrace"))]
        own = [line for line in last if line.partition(":")[0].rpartition(".")[2].endswith(("Error", "Exception", "NotFound"))]
        return (own or last)[0 if own else -1]
    return lines[0] if lines else type(error).__name__


def see_server(master: str, patience: Patience) -> None:
    """Raises ``Unavailable`` where nobody listens: Spark Connect's client would try for ten minutes."""
    place = urlsplit(master)
    try:
        socket.create_connection((place.hostname or "", place.port or CONNECT), patience.connect_ms / 1000).close()
    except OSError as error:
        raise Unavailable(
            f"spark.master = {hide(master)!r}: {error}: see that Spark Connect runs there and can be reached"
        ) from error


def see_java(master: str) -> None:
    """Raises ``ConfigError`` without Java, which Spark's driver is written in."""
    home = os.environ.get("JAVA_HOME")
    if home and not (Path(home) / "bin" / "java").exists():
        raise ConfigError(f"spark.master = {hide(master)!r}: JAVA_HOME = {home!r} has no bin/java: correct it, or unset it")
    if not home and shutil.which("java") is None:
        raise ConfigError(
            f"spark.master = {hide(master)!r} needs Java 17 or newer, and there is no `java`: install one (Debian: "
            "openjdk-17-jre-headless) or set JAVA_HOME; sc:// masters need none here"
        )


def stopped(spark: SparkSession) -> bool:
    """Whether somebody has ended a session."""
    if classic(spark):
        return spark.sparkContext._jsc is None
    return bool(getattr(spark, "is_stopped", False))


def classic(spark: SparkSession) -> bool:
    """Whether the driver is in this process, and not behind Spark Connect."""
    return hasattr(spark, "_jsparkSession")


def scan(spark: SparkSession, lake: Lake, name: str, version: int | None = None) -> DataFrame | None:
    """The rows of exactly one version of a table; None: there is no row."""
    version = lake.version(name) if version is None else version
    files = lake.files(name, version) if version >= 0 else []
    if not files:
        return None
    if "io.delta" in str(spark.conf.get("spark.sql.extensions", "") or ""):
        uri = f"{lake.place}/{name}".replace("s3://", "s3a://")
        return spark.read.format("delta").option("versionAsOf", version).load(uri)
    schema = lake.schema(name, version)
    if isinstance(lake.place, Bucket) and not has_class(spark, S3A):
        return read_by_arrow(spark, files, schema, reached(lake.place))
    if GLOBS & set(str(lake.place)):
        return read_by_arrow(spark, files, schema, None)
    from pyspark.sql.pandas.types import from_arrow_schema

    paths = [file.replace("s3://", "s3a://", 1) if file.startswith("s3://") else f"file://{file}" for file in files]
    return spark.read.schema(from_arrow_schema(schema)).parquet(*paths)


def has_class(spark: SparkSession, name: str) -> bool:
    """Whether Spark's driver can load a Java class. Behind Spark Connect nobody can say: no."""
    if not classic(spark):
        return False
    from py4j.protocol import Py4JJavaError

    java: Any = spark._jvm
    try:
        java.java.lang.Class.forName(name, False, java.java.lang.Thread.currentThread().getContextClassLoader())
    except Py4JJavaError:
        return False
    return True


def reached(bucket: Bucket) -> dict[str, Any]:
    """How workers reach a bucket: all but the credentials, which are in their own environment."""
    return {
        "endpoint_override": os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
        "region": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        "connect_timeout": bucket.patience.connect_ms / 1000,
    }


def read_by_arrow(spark: SparkSession, files: Sequence[str], schema: pa.Schema, bucket: dict[str, Any] | None) -> DataFrame:
    """Files that Spark's Python workers read: a task a file."""
    from pyspark.sql.pandas.types import from_arrow_schema

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow.dataset as ds
        from pyarrow import fs

        system = fs.LocalFileSystem() if bucket is None else fs.S3FileSystem(**bucket)
        for batch in batches:
            paths = [path.removeprefix("s3://") for path in batch.column(0).to_pylist()]
            yield from ds.dataset(paths, schema=schema, filesystem=system, format="parquet").to_batches()

    named = spark.createDataFrame([(file,) for file in files], "file string").repartition(len(files))
    return named.mapInArrow(rows, from_arrow_schema(schema))


def connect(spark: SparkSession) -> BaseBackend:
    """Ibis over a session: what ``features.table.connect`` is for DuckDB."""
    import ibis

    return ibis.pyspark.connect(spark)


def table(connection: BaseBackend, spark: SparkSession, lake: Lake, name: str, version: int | None = None) -> ir.Table | None:
    """A version as a table of a connection made by ``connect``: what ``Lake.scan`` is for DuckDB; None: no rows."""
    version = lake.version(name) if version is None else version
    found = scan(spark, lake, name, version)
    if found is None:
        return None
    view = f"lake_{name}_{version}_{zlib.crc32(str(lake.place).encode()):08x}"
    found.createOrReplaceTempView(view)
    return connection.table(view)
