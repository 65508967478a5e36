"""Imports that are killed: what they leave behind must not be seen in the end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tastemaker.config import Config, Connect
from tastemaker.domain import AnyEvent
from tastemaker.pipelines.imports import import_file, readers, tables
from tastemaker.storage import Storage, connect


def events(storage: Storage) -> list[AnyEvent]:
    """All events of the log, in order of their line."""
    found = [record.event for partition in range(storage.log.partitions) for record in storage.log.read(partition, 0, 10**9)]
    return sorted(found, key=lambda event: int(event.id.partition(":")[2]))


def quarantined(path: Path | None) -> list[dict[str, Any]]:
    assert path is not None
    return [json.loads(line) for line in path.read_text().splitlines()]


CHILD = """
import os, signal, sys
from tastemaker.config import Config, Connect
from tastemaker.pipelines.imports import readers, tables
from tastemaker.pipelines.imports import import_file
from tastemaker.storage import connect

readers.BYTES, tables.ROWS = 3000, 150
path, home, blocks = sys.argv[1], sys.argv[2], int(sys.argv[3])
calls = 0

def progress(what, done, total):
    global calls
    calls += 1
    if calls == blocks:
        os.kill(os.getpid(), signal.SIGKILL)

with connect(Config(connect=Connect(home=home))) as storage:
    import_file(storage, path, "interactions", progress=progress)
"""


@pytest.mark.parametrize("name", ["r.csv", "r.parquet"])
def test_an_import_that_is_killed_again_and_again_ends_like_one_that_was_not(tmp_path: Path, name: str) -> None:
    rows = [(f"u{n % 37}", "" if n % 11 == 0 else f"i{n % 91}", n % 5, 1_600_000_000 + n) for n in range(2000)]
    columns = dict(zip(("user", "item", "value", "time"), map(list, zip(*rows, strict=True)), strict=True))
    if name == "r.csv":
        text = "user,item,value,time\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
        (tmp_path / name).write_text(text)
    else:
        pq.write_table(pa.table(columns), tmp_path / name)
    path, killed, whole = tmp_path / name, tmp_path / "killed", tmp_path / "whole"
    for blocks in (1, 3, 2):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(path), str(killed), str(blocks)], capture_output=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "BYTES", 3000)
        patch.setattr(tables, "ROWS", 150)
        with (
            connect(Config(connect=Connect(home=str(killed)))) as first,
            connect(Config(connect=Connect(home=str(whole)))) as second,
        ):
            again, once = import_file(first, path, "interactions"), import_file(second, path, "interactions")
            assert 0 < again.skipped < once.imported
            assert again.skipped + again.imported == once.imported
            assert (again.rows, again.quarantined) == (once.rows, once.quarantined) == (2000, 182)
            assert events(first) == events(second)
            assert quarantined(again.quarantine) == quarantined(once.quarantine)
            ids = [storage.lake.read("interactions")["id"].to_pylist() for storage in (first, second)]
            assert sorted(ids[0]) == sorted(ids[1])
            assert len(set(ids[0])) == once.imported
