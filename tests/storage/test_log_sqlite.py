"""What an event log in a file must survive: kill -9, a second process, a full disk, a broken file."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from tastemaker.domain import Erase, Exposure, Interaction, ItemChange, UserChange, key_of
from tastemaker.errors import ConfigError, StorageError
from tastemaker.storage.log import batches
from tastemaker.storage.log.sqlite import open_log

EVENTS = """
import os, sys, threading
from tastemaker.domain import Interaction
from tastemaker.storage.log.sqlite import open_log

def event(producer, number):
    return Interaction(id=f"{producer}:{number}", time=number, user=f"u{number % 10}", item="i" * (number % 200 + 1), kind="k")
"""
# Three producers append one, or many; what was acknowledged is printed: producer, first number, count.
PRODUCERS = (
    EVENTS
    + """
log = open_log(sys.argv[1], 4)
def produce(producer, size):
    number = 0
    while True:
        events = [event(producer, number + n) for n in range(size)]
        log.append(events).result()
        os.write(1, f"{producer} {number} {size}\\n".encode())  # one short line: not torn among threads
        number += size
for size in (1, 2, 500):
    threading.Thread(target=produce, args=(f"{sys.argv[2]}-{size}", size)).start()
"""
)
APPENDS = (
    EVENTS
    + """
log = open_log(sys.argv[1], 4)
for number in range(0, 600, 3):
    log.append([event(sys.argv[2], number + n) for n in range(3)]).result()
log.close()
"""
)
FULL_DISK = (
    EVENTS
    + """
import resource
from tastemaker.errors import StorageError
log = open_log(sys.argv[1], 4)
log.append([event("before", n) for n in range(100)]).result()
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
noise = [Interaction(id=os.urandom(100).hex(), time=1, user="u", item="i", kind="k") for _ in range(4000)]
futures = [log.append(noise) for _ in range(5)]
for future in futures:
    try:
        future.result()
        print("acknowledged")
    except StorageError as error:
        print(error)
assert len(log.read(2, 0, 1000)) > 0
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append([event("after", n) for n in range(100)]).result()
log.close()
"""
)


def stored(path: Path) -> dict[int, list[str]]:
    """Ids by partition; their offsets are dense, and the file is whole."""
    log = open_log(f"sqlite:///{path}", 4)
    ids = {}
    for partition in range(4):
        records = log.read(partition, 0, 10**7)
        assert [record.offset for record in records] == list(range(log.ends()[partition]))
        ids[partition] = [record.event.id for record in records]
    log.close()
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return ids


def in_order(ids: list[str]) -> bool:
    """Each producer's events come in the order in which it sent them."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for each in ids:
        producer, _, number = each.rpartition(":")
        numbers[producer].append(int(number))
    return all(sent == sorted(sent) for sent in numbers.values())


def test_kill_at_any_moment_loses_no_acknowledged_event(tmp_path: Path) -> None:
    path, rng = tmp_path / "log.db", random.Random(1)
    acknowledged: list[str] = []
    for life in range(6):
        command = [sys.executable, "-c", PRODUCERS, f"sqlite:///{path}", str(life)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            first = child.stdout.readline()
            time.sleep(rng.uniform(0, 0.15))
            child.send_signal(signal.SIGKILL)
            lines = (first + child.stdout.read()).splitlines()
        for producer, number, size in map(str.split, lines):
            acknowledged += [f"{producer}:{int(number) + n}" for n in range(int(size))]
    by_partition = stored(path)
    found = [each for ids in by_partition.values() for each in ids]
    assert len(found) == len(set(found))
    assert len(acknowledged) > 6
    assert set(acknowledged) <= set(found)
    assert all(in_order(ids) for ids in by_partition.values())


def test_two_processes_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    children = [subprocess.Popen([sys.executable, "-c", APPENDS, f"sqlite:///{path}", name]) for name in ("a", "b", "c")]
    assert [child.wait() for child in children] == [0, 0, 0]
    by_partition = stored(path)
    found = [each for ids in by_partition.values() for each in ids]
    assert sorted(found) == sorted(f"{name}:{n}" for name in "abc" for n in range(600))
    assert all(in_order(ids) for ids in by_partition.values())


def test_a_consumer_notices_what_another_process_appends(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    ours = open_log(url, 4)
    subscription = ours.subscribe("g")
    child = subprocess.Popen([sys.executable, "-c", APPENDS, url, "a"])
    found = 0
    while found < 600:
        records = subscription.poll(1000, 20)
        assert records
        found += len(records)
    assert child.wait() == 0
    ours.close()


def test_a_full_disk_fails_the_append_and_the_log_goes_on_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, f"sqlite:///{path}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    failures = [line for line in lines if line != "acknowledged"]
    assert failures
    assert all("room" in line and "log.db" in line for line in failures)
    found = [each for ids in stored(path).values() for each in ids]
    assert [each for each in found if each.startswith(("before", "after"))]
    assert len(found) == 200 + 4000 * lines.count("acknowledged")


def test_a_locked_file_fails_with_the_remedy_and_works_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tastemaker.storage.log.sqlite_file.BUSY_SECONDS", 0.1)
    log = open_log(f"sqlite:///{tmp_path}/log.db", 4)
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    event = Interaction(id="a", time=1, user="u", item="i", kind="k")
    with pytest.raises(StorageError, match="another process"):
        log.append([event]).result(10)
    other.execute("ROLLBACK")
    assert log.append([event]).result(10)
    other.close()
    log.close()


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="not an event log"):
        open_log(f"sqlite:///{tmp_path}/log.db", 4)
    with pytest.raises(ConfigError, match=r"connect\.log"):
        open_log("sqlite://", 4)


def test_a_relative_url_is_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_log("sqlite:///a/b.db", 4).close()
    assert (tmp_path / "a" / "b.db").exists()


def test_nothing_of_an_erased_user_is_left_in_the_file(tmp_path: Path) -> None:
    log = open_log(f"sqlite:///{tmp_path}/log.db", 4)
    for n in range(20):
        log.append([Interaction(id=f"e{n}", time=n, user=f"secret-{n % 2}", item="i", kind="k")]).result()
    assert log.erase("secret-1") == 10
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"secret-1" not in files
    assert b"secret-0" in files
    log.close()


def test_appends_under_way_together_share_rows(tmp_path: Path) -> None:
    log = open_log(f"sqlite:///{tmp_path}/log.db", 4)
    for n in range(2000):
        log.append([Interaction(id=f"e{n}", time=n, user="u", item="i", kind="k")])
    log.flush()
    rows = sqlite3.connect(tmp_path / "log.db").execute("SELECT count(*) FROM batches").fetchone()[0]
    assert rows < 1000
    log.close()


def test_a_cancelled_append_is_not_written(tmp_path: Path) -> None:
    log = open_log(f"sqlite:///{tmp_path}/log.db", 1)
    futures = [log.append([Interaction(id=f"e{n}", time=n, user="u", item="i", kind="k")]) for n in range(500)]
    cancelled = {n for n in range(499, 0, -2) if futures[n].cancel()}
    log.flush()
    assert [r.event.time for r in log.read(0, 0, 1000)] == [n for n in range(500) if n not in cancelled]
    log.close()


def test_large_appends_are_cut_into_rows_that_can_be_read_in_parts(tmp_path: Path) -> None:
    log = open_log(f"sqlite:///{tmp_path}/log.db", 1)
    events = [Interaction(id=f"e{n}", time=n, user="u", item="i", kind="k") for n in range(3 * batches.ROWS + 5)]
    assert log.append(events).result()[-1] == (0, len(events) - 1)
    start = batches.ROWS - 3
    assert [r.event.time for r in log.read(0, start, 10)] == list(range(start, start + 10))
    assert log.ends() == [len(events)]
    log.close()


def test_the_fast_key_is_the_key() -> None:
    for event in (
        Interaction(id="a", time=1, user="u", item="i", kind="k"),
        Exposure(id="a", time=1, experiment="e", unit="x", arm="a"),
        ItemChange(id="a", time=1, item="i"),
        UserChange(id="a", time=1, user="u"),
        Erase(id="a", time=1, user="u"),
    ):
        assert batches.KEYS[type(event)](event) == key_of(event)


def test_the_tests_run_children_of_this_very_package() -> None:
    code = "import tastemaker, os; print(os.path.dirname(tastemaker.__file__))"
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert os.path.samefile(theirs, Path(batches.__file__).parents[2])
