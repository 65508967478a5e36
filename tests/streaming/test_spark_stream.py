"""Spark's stream as a process of the nearline plane: it follows what is live, makes way for a rebuild, and ends when asked."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

import spark_session
from processes import command, wait_for
from tastemaker.config import Config, Connect, Spark, Streaming
from tastemaker.domain import Interaction
from tastemaker.errors import ConfigError, Conflict, StorageError, Unavailable
from tastemaker.features import states
from tastemaker.registry import live
from tastemaker.storage import Storage, keys
from tastemaker.storage.kv import consumer_of
from tastemaker.streaming.rebuild import rebuild_states
from tastemaker.streaming.spark.stream import Stream, fitting, told

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PATIENT = 240.0


def click(user: str, item: str, number: int = 0) -> Interaction:
    return Interaction(f"live-{user}-{item}-{number}", int(time.time() * 1000), user, item, "click")


def newest(storage: Storage, user: str) -> str:
    packed = storage.kv.get([keys.state(user)])[0]
    return states.unpack(packed).history.items[-1] if packed is not None else ""


def done(storage: Storage) -> bool:
    return storage.log.committed(consumer_of(storage.kv)) == storage.log.ends()


def test_a_stream_follows_the_live_version_and_a_rebuilt_store_until_it_is_told_to_end(
    published: tuple[Storage, Config], spark: SparkSession
) -> None:
    storage, config = published
    config = replace(config, spark=spark_session.SPARK, streaming=Streaming(trigger_ms=200))
    stream = Stream(storage, config)
    thread = threading.Thread(target=stream.run)
    thread.start()
    try:

        def applied(user: str, item: str) -> None:
            storage.log.append([click(user, item)]).result()
            wait_for(lambda: newest(storage, user) == item and done(storage), PATIENT, lambda: str(stream.condition()))

        applied("u1", "i1")
        assert keys.TRENDING in dict(storage.kv.scan(keys.TRENDING))
        first = live.read(storage.kv)
        assert first is not None
        other = live.promote(storage, first.fallback.partition("/")[0], int(time.time() * 1000))
        applied("u2", "i2")
        assert storage.kv.get([keys.slate(other.version, "u2")])[0] is not None

        group = consumer_of(storage.kv)
        rebuild_states(storage, lambda *_: None)
        assert consumer_of(storage.kv) != group
        applied("u3", "i3")
        assert newest(storage, "u1") == "i1"
        wait_for(lambda: stream.condition()["failure"] is None, PATIENT)  # told behind the batch's commit
        assert stream.lag() == 0
    finally:
        stream.end()
        thread.join(60)
    assert not thread.is_alive()
    assert spark.streams.active == []
    assert sorted(path.name.rpartition("-")[2] for path in (config.home / "checkpoints").iterdir()) == ["log", "log"]


@pytest.mark.parametrize(
    ("connect", "master", "words"),
    [
        (Connect(), "spark://host:7077", r"connect.log = .* is a file of this machine, and spark.master = .* works on others"),
        (Connect(log="kafka://h:1/t"), "yarn", r"connect.kv = "),
        (Connect(log="kafka://h:1/t", kv="redis://h"), "k8s://h", r"connect.tables = "),
        (Connect(), "sc://host", "name a master that it can start"),
    ],
)
def test_stores_that_the_executors_would_not_see_are_refused(connect: Connect, master: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fitting(Config(connect=connect, spark=Spark(master=master)))


def test_stores_that_they_see_are_taken() -> None:
    fitting(Config(connect=Connect(), spark=Spark(master="local[*]")))
    far = Connect(log="kafka://h:1/t", kv="redis://h", kv_durable="postgresql://h/d", tables="postgresql+psycopg://h/d")
    fitting(Config(connect=far, spark=Spark(master="spark://host:7077")))


def test_what_spark_says_of_an_error_of_ours_is_that_error() -> None:
    trace = "org.apache...PythonException: Traceback\n  File x\ntastemaker.errors.{}: the log is away: wait\n\tat org.apache..."
    for kind in (Conflict, Unavailable, StorageError):
        found = told(RuntimeError(trace.format(kind.__name__)))
        assert (type(found), str(found)) == (kind, "the log is away: wait")
    assert type(told(RuntimeError(trace.format("InputError")))) is StorageError
    other = RuntimeError("java.lang.OutOfMemoryError")
    assert told(other) is other


def test_up_leaves_the_field_to_the_engine_that_the_configuration_names(tmp_path: Path) -> None:
    found = command(tmp_path / "home", "up", TASTEMAKER_STREAMING__ENGINE='"spark"')
    assert found.code == 1
    assert "streaming.engine = 'spark': `up` has a worker of its own" in found.err
    found = command(tmp_path / "home", "stream", TASTEMAKER_STREAMING__ENGINE='"spark"')
    assert (found.code, "spark.master is empty" in found.err) == (1, True)


def test_a_worker_applies_what_is_there_and_ends(tmp_path: Path) -> None:
    assert "0 events applied" in command(tmp_path / "home", "stream", "--once").out
    assert "is not one of 'worker', 'spark'" in command(tmp_path / "home", "stream", "--engine", "flink").err
