"""Spark's stream beside the worker over the same log, killed on its way: for a test, and for the benchmark over a large log.

The driver is killed as ``kill -9`` does while a batch is at work, after some were done. Its Java and its tasks live for a moment
longer, the next driver begins at once, and in the end the stores must be the worker's, byte for byte.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from processes import environment, wait_for
from servers import die_with_parent
from tastemaker.config import Config, Connect, Log, Streaming
from tastemaker.domain import Interaction
from tastemaker.storage import Storage, connect, keys
from tastemaker.storage.kv import consumer_of
from tastemaker.streaming.worker import Worker

BASE = 1_767_225_600_000
BLOCK = 10_000  # events of one append
PREFIXES = ("state:", "mark:", "items:")


@dataclass
class Told:
    """Seconds and counts of a run."""

    events: int
    worker: float = 0.0  # seconds that the worker needed
    spark: float = 0.0  # seconds of all drivers together, their start included
    done: list[int] = field(default_factory=list)  # records that were committed when a driver was killed
    same: bool = False


def clicks(count: int, users: int, items: int) -> Iterator[list[Interaction]]:
    """Events of many users, some ids twice, in blocks."""
    for start in range(0, count, BLOCK):
        yield [
            Interaction(
                f"e{n - (n % 50 == 49)}", BASE + 1000 * (n - n % 13), f"u{n * 7919 % users}", f"i{n * n % items}", "click"
            )
            for n in range(start, min(start + BLOCK, count))
        ]


def kept(storage: Storage) -> dict[str, bytes]:
    return {key: value for prefix in PREFIXES for key, value in storage.kv.scan(prefix)}


@contextmanager
def driver(config: Config) -> Iterator[subprocess.Popen[bytes]]:
    """``tastemaker stream --engine spark --once`` as a process."""
    streaming = {name: getattr(config.streaming, name) for name in ("batch", "trigger_records", "refresh_lag")}
    there = environment(config.home, **{f"TASTEMAKER_STREAMING__{name.upper()}": str(value) for name, value in streaming.items()})
    there |= {
        "TASTEMAKER_LOG__PARTITIONS": str(config.log.partitions),
        "TASTEMAKER_SPARK__MASTER": json.dumps("local[2]"),
        "TASTEMAKER_SPARK__SETTINGS": '{"spark.driver.memory" = "1g", "spark.python.authenticate.socketTimeout" = "180s"}',
    }
    command = [sys.executable, "-m", "tastemaker", "stream", "--engine", "spark", "--once"]
    with (config.home / "driver").open("ab") as output:
        child = subprocess.Popen(
            command, env=there, cwd=config.home, stdout=output, stderr=output, preexec_fn=die_with_parent, start_new_session=True
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def said(config: Config) -> str:
    return (config.home / "driver").read_text()[-3000:]


def marks(storage: Storage) -> dict[str, bytes]:
    return dict(storage.kv.scan(keys.writer(0).removesuffix("0")))


def killed_after(config: Config, storage: Storage, batches: int, patience: float) -> int:
    """Kills a driver while a batch is at work, after it has committed so many; returns the records that were done."""
    group = consumer_of(storage.kv)
    with driver(config) as child:
        for _ in range(batches):
            before = storage.log.committed(group)
            wait_for(lambda before=before: storage.log.committed(group) != before or died(child), patience, lambda: said(config))  # type: ignore[misc]  # bound now
        written = marks(storage)
        wait_for(lambda: marks(storage) != written or died(child), patience, lambda: said(config))  # a task has begun
        assert not died(child), f"it was done before it could be killed: {said(config)}"
        child.send_signal(signal.SIGKILL)
        child.wait()
        return sum(storage.log.committed(group))


def died(child: subprocess.Popen[bytes]) -> bool:
    return child.poll() is not None


def compare(folder: Path, count: int, batch: int, kills: Sequence[int], patience: float = 300.0) -> Told:
    """Runs both over ``count`` events, in batches of so many records, killing Spark after these numbers of batches."""
    plain = Config(connect=Connect(home=str(folder / "home")), log=Log(partitions=4), streaming=Streaming(refresh_lag=0))
    config = replace(plain, streaming=replace(plain.streaming, trigger_records=batch))
    beside = replace(plain, connect=replace(plain.connect, kv=f"lmdb:///{folder / 'beside'}"))
    told = Told(count)
    with connect(config) as storage, connect(beside) as other:
        for events in clicks(count, max(10, count // 25), 2000):
            storage.log.append(events).result()
        began = time.monotonic()
        worker = Worker(other, beside)
        worker.drain()
        worker.stop()
        told.worker, began = time.monotonic() - began, time.monotonic()
        told.done = [killed_after(config, storage, number, patience) for number in kills]
        with driver(config) as last:
            code = last.wait(patience)
        told.spark = time.monotonic() - began
        if code:
            raise RuntimeError(said(config))
        expected = kept(other)
        told.same = (
            bool(expected) and kept(storage) == expected and storage.log.committed(consumer_of(storage.kv)) == storage.log.ends()
        )
    return told
