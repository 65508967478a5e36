"""The archive moves every record into the lake once, wherever it was interrupted; erasing reaches every store."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tastemaker.config import Config, Connect, Log
from tastemaker.domain import AnyEvent, Erase, Exposure, Interaction, ItemChange, Record, UserChange, View
from tastemaker.errors import StorageError
from tastemaker.storage import Storage, connect, keys
from tastemaker.storage.archive import archive
from tastemaker.storage.columns import from_table, table_name
from tastemaker.storage.erase import COLUMNS, erase

ARCHIVE = """
import sys
from tastemaker.storage.archive import archive
from tastemaker.storage.lake import open_lake
from tastemaker.storage.log.sqlite import open_log
archive(open_log(sys.argv[1], 3), open_lake(sys.argv[2]), limit=40, progress=lambda done, total: print(done, flush=True))
"""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with connect(Config(connect=Connect(home=str(tmp_path)), log=Log(partitions=3))) as opened:
        yield opened


def event(n: int) -> AnyEvent:
    user = f"u{n % 9}"
    kinds: list[AnyEvent] = [
        Interaction(id=f"e{n}", time=n, user=user, item="i", kind="k"),
        View(id=f"e{n}", time=n, user=user, item="i", decision="d"),
        ItemChange(id=f"e{n}", time=n, item=f"i{n % 5}"),
        Exposure(id=f"e{n}", time=n, experiment="e", unit=user, arm="a"),
    ]
    return kinds[n % 4]


def in_lake(storage: Storage) -> list[Record]:
    return [record for name in storage.lake.names() for record in from_table(name, storage.lake.read(name))]


def in_log(storage: Storage) -> list[Record]:
    return [record for partition in range(3) for record in storage.log.read(partition, 0, 10**6)]


def same(found: list[Record], wanted: list[Record]) -> bool:
    """Each record once, in any order; by repr, for NaN is not equal to itself."""
    return sorted(map(repr, found)) == sorted(map(repr, wanted))


def test_everything_arrives_once_and_in_batches(storage: Storage) -> None:
    storage.log.append([event(n) for n in range(100)]).result()
    told: list[tuple[int, int]] = []
    rows = archive(storage.log, storage.lake, limit=30, progress=lambda *done: told.append(done))
    assert rows == {"interactions": 25, "views": 25, "items": 25, "exposures": 25}
    assert told == [(30, 100), (60, 100), (90, 100), (100, 100)]
    assert archive(storage.log, storage.lake) == {}
    storage.log.append([event(n) for n in range(100, 120)]).result()
    assert sum(archive(storage.log, storage.lake).values()) == 20
    assert same(in_lake(storage), in_log(storage))


def test_a_failure_between_two_tables_changes_nothing_in_the_end(storage: Storage, tmp_path: Path) -> None:
    storage.log.append([event(n) for n in range(60)]).result()
    tables = list(dict.fromkeys(table_name(type(r.event)) for r in storage.log.subscribe("look").poll(50, 0)))
    obstacle = Path(storage.lake.place.uri(tables[1]))
    obstacle.write_text("a file where the folder of the second table should be")
    with pytest.raises(StorageError, match=tables[1]):
        archive(storage.log, storage.lake, limit=50)
    assert storage.lake.names() == [tables[0]]
    obstacle.unlink()
    storage.log.append([event(n) for n in range(60, 90)]).result()
    archive(storage.log, storage.lake, limit=1000)  # other batches than the first time
    assert same(in_lake(storage), in_log(storage))


@pytest.mark.slow
def test_kill_at_any_moment_loses_nothing_and_doubles_nothing(storage: Storage, tmp_path: Path) -> None:
    storage.log.append([event(n) for n in range(400)]).result()
    rng = random.Random(2)
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", ARCHIVE, storage.config.url("log"), storage.config.url("lake")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout
        assert child.stdout.readline()
        time.sleep(rng.uniform(0, 0.1))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    archive(storage.log, storage.lake, limit=200)
    assert same(in_lake(storage), in_log(storage))


def test_erase_removes_a_user_everywhere_and_says_where(storage: Storage, tmp_path: Path) -> None:
    events = [event(n) for n in range(80)] + [UserChange(id="c", time=1, user="u1"), Erase(id="z", time=2, user="u1")]
    storage.log.append(events).result()
    archive(storage.log, storage.lake)
    storage.tables.users.put([UserChange(id="c", time=1, user="u1", segment="s")])
    storage.kv.put({keys.state("u1"): b"x", keys.state("u10"): b"x", keys.slate("1", "u1"): b"x", keys.slate("2", "u1"): b"x"})
    manifest = erase(storage, "u1", ["1", "2", "3"])
    assert manifest["log"] == sum(n > 0 for place, n in manifest.items() if place.startswith("lake.") for _ in range(n))
    assert manifest["lake.users"] == 1
    assert manifest["lake.exposures"] > 0
    assert (manifest["kv.state"], manifest["kv.slate"]) == (1, 2)
    assert manifest["tables.users"] >= 1
    left = in_lake(storage)
    assert not [r for r in left if getattr(r.event, COLUMNS.get(table_name(type(r.event)), "id")) == "u1"]
    assert [r.event.id for r in left if isinstance(r.event, Erase)] == ["z"]
    assert same(left, in_log(storage))
    assert storage.kv.get([keys.state("u1"), keys.slate("1", "u1"), keys.state("u10")]) == [None, None, b"x"]
    assert not any(erase(storage, "u1", ["1", "2", "3"]).values())
    assert archive(storage.log, storage.lake) == {}
