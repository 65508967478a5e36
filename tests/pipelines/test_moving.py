"""A platform that moves: everything arrives once, in order, and usable; what is killed goes on; what is foreign is refused."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

import forked
import world
from tastemaker.config import Config, Connect, Log
from tastemaker.domain import Erase, Interaction, Run, encode_event, key_of
from tastemaker.errors import ConfigError, Conflict, StorageError
from tastemaker.features import states
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.moving import events
from tastemaker.pipelines.moving.compare import compare
from tastemaker.pipelines.moving.move import migrate
from tastemaker.pipelines.moving.note import Batch, Note, save
from tastemaker.pipelines.moving.target import moves, shown
from tastemaker.registry import live
from tastemaker.storage import Storage, connect, keys
from tastemaker.storage.archive import archive
from tastemaker.storage.columns import TABLES, from_table
from tastemaker.storage.erase import erase
from tastemaker.storage.history import History
from tastemaker.storage.kv import consumer_of
from tastemaker.storage.log import batches
from tastemaker.streaming.rebuild import rebuild_states
from tastemaker.streaming.worker import Worker

ALL = {"log", "lake", "tables", "models", "kv"}


def target_of(source: Config, home: Path, partitions: int = 3) -> Config:
    return replace(source, connect=Connect(home=str(home)), log=Log(partitions=partitions))


def unwatched(_what: str, _done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


def of_log(storage: Storage) -> dict[str, list[bytes]]:
    """What happened to each key, in order."""
    found: dict[str, list[bytes]] = {}
    for partition in range(storage.log.partitions):
        for record in storage.log.read(partition, 0, 10**9):
            found.setdefault(key_of(record.event), []).append(encode_event(record.event))
    return found


def in_lake(storage: Storage) -> Counter[tuple[int, int, bytes]]:
    """Places and events of all tables."""
    rows = (record for name in TABLES for record in from_table(name, storage.lake.read(name)))
    return Counter((record.partition, record.offset, encode_event(record.event)) for record in rows)


def assert_moved(source: Storage, target: Storage) -> None:
    assert of_log(target) == of_log(source)
    places = [(p, r.offset, encode_event(r.event)) for p in range(target.log.partitions) for r in target.log.read(p, 0, 10**9)]
    assert in_lake(target) == Counter(places), "the lake's rows stand where the events stand in the new log"
    assert all(line.equal for line in compare(source, target, ALL, lambda *_: None) if line.what not in ("runs", "stamps"))
    assert archive(target.log, target.lake) == {}
    assert live.read(target.kv) == live.read(source.kv)


def moved(source: Config, target: Config) -> None:
    with connect(source) as here, connect(target) as there:
        assert migrate(here, there, unwatched, rebuild_states).differences == []
        assert_moved(here, there)


def test_a_platform_moves_into_another_number_of_partitions_and_goes_on_there(
    published: tuple[Storage, Config], tmp_path: Path
) -> None:
    source, config = published
    source.log.append([Erase("away", world.BASE, "u7")]).result()
    erase(source, "u7", [])
    version = (live.read(source.kv) or pytest.fail("nothing is live")).version
    with connect(target_of(config, tmp_path / "target")) as target:
        report = migrate(source, target, unwatched, rebuild_states)
        assert report.differences == []
        assert report.users == 119
        assert report.appended == sum(len(part) for part in of_log(source).values())
        assert_moved(source, target)
        assert target.kv.get([keys.slate(version, "u1")])[0] is not None
        worker = Worker(target, target.config)
        assert worker.drain() == 0, "the rebuilt store has everything"
        target.log.append([Interaction("later", world.BASE, "u1", "i1", "click")]).result()
        assert worker.drain() == 1
        worker.stop()
        state = states.unpack(target.kv.get([keys.state("u1")])[0] or b"")
        assert state.offset == max(target.log.ends()[state.partition] - 1, 0)
        run = run_pipeline(target, target.config, pipeline("daily"), now=world.BASE + 10**10)
        assert run.state == "done"
    assert sum(archive(source.log, source.lake).values()) == 0


def test_without_rebuild_the_workers_fill_the_new_online_store(published: tuple[Storage, Config], tmp_path: Path) -> None:
    source, config = published
    with connect(target_of(config, tmp_path / "target")) as target:
        assert migrate(source, target, unwatched, None).users is None
        worker = Worker(target, target.config)
        assert worker.drain() == sum(target.log.ends())
        worker.stop()
        history = [states.unpack(s.kv.get([keys.state("u1")])[0] or b"").history for s in (source, target)]
        assert history[0] == history[1]


def test_moving_again_changes_nothing_and_copies_what_came_since(published: tuple[Storage, Config], tmp_path: Path) -> None:
    source, config = published
    source.tables.runs.put(Run("daily-x", "daily", 0, 1, "failed", 1))
    with connect(target_of(config, tmp_path / "target")) as target:
        migrate(source, target, unwatched, rebuild_states)
        assert (target.tables.runs.get("daily-x") or pytest.fail("no run")).state == "abandoned"
        assert migrate(source, target, unwatched, rebuild_states).appended == 0
        source.log.append([Interaction(f"late-{n}", world.BASE + n, f"u{n}", "i3", "click") for n in range(20)]).result()
        source.tables.items.put(world.catalogue(81)[-1:])
        report = migrate(source, target, unwatched, rebuild_states)
        assert report.appended == 20
        assert_moved(source, target)
        user = states.unpack(target.kv.get([keys.state("u1")])[0] or b"")
        assert "late-1" in user.recent


def test_events_that_come_meanwhile_make_it_fail_and_come_along_the_next_time(
    published: tuple[Storage, Config], tmp_path: Path
) -> None:
    source, config = published

    def write(what: str, done: int, total: int, note: str) -> None:
        if what == "compare" and done == 0:
            source.log.append([Interaction("meanwhile", world.BASE, "u1", "i1", "click")]).result()

    with connect(target_of(config, tmp_path / "target")) as target:
        with pytest.raises((Conflict, StorageError), match="stop whatever writes there"):
            migrate(source, target, write, rebuild_states)
        assert live.read(target.kv) is None
        assert migrate(source, target, unwatched, rebuild_states).appended == 1
        assert_moved(source, target)


STOPS = [("log", 1), ("log", 7), ("lake", 2), ("tables", 2), ("models", 2), ("states", 1), ("slates", 3)]


def move_until(source: Config, target: Config, what: str, call: int) -> None:
    """Moves and kills itself at the progress report number ``call`` of a part."""
    events.BATCH = 300
    calls = 0

    def watch(part: str, done: int, total: int, note: str) -> None:
        nonlocal calls
        calls += part == what
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)

    with connect(source) as here, connect(target) as there:
        migrate(here, there, watch, rebuild_states)


@pytest.mark.slow
def test_killed_in_every_part_it_goes_on_and_nothing_is_there_twice(
    published: tuple[Storage, Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, config = published
    source.close()
    target = target_of(config, tmp_path / "target")
    for what, call in STOPS:
        assert forked.code_of(forked.start(move_until, config, target, what, call)) == -signal.SIGKILL, (what, call)
    moved(config, target)


def test_an_append_that_nobody_noted_is_found_again(published: tuple[Storage, Config], tmp_path: Path) -> None:
    """Killed between the append and the note, and the source has more events by now."""
    source, config = published
    target = target_of(config, tmp_path / "target")
    note = Note(shown(config), shown(target))
    with connect(target) as there:
        there.log.append([record.event for record in source.log.read(0, 0, 400)]).result()
    save(target.home, replace(note, places=(0, 0, 0, 0), ends=(0, 0, 0), batch=Batch(0, 0, 500)))
    source.log.append([Interaction("x", world.BASE, f"u{n}", "i1", "click") for n in range(9)]).result()
    moved(config, target)


def test_a_move_whose_note_is_lost_compares_everything_and_goes_on(published: tuple[Storage, Config], tmp_path: Path) -> None:
    source, config = published
    target = target_of(config, tmp_path / "target")
    with connect(target) as there:
        copying = events.Copying(History(source.log, source.lake), there.log, target.home, Note(shown(config), shown(target)))
        copying.run(lambda *_: None)
    (target.home / "migration.json").unlink()
    moved(config, target)


def test_a_target_that_holds_something_else_is_refused(published: tuple[Storage, Config], tmp_path: Path) -> None:
    source, config = published
    stranger = Interaction("strange", 1, "nobody", "nothing", "click")
    with connect(target_of(config, tmp_path / "a")) as target:
        target.log.append([stranger]).result()
        with pytest.raises(Conflict, match=r"'strange' of 'nobody'.*name an empty log"):
            migrate(source, target, unwatched, rebuild_states)
    with connect(target_of(config, tmp_path / "b")) as target:
        target.tables.keys.create("mine", ["read"], 1)
        with pytest.raises(Conflict, match=r"table api_keys holds 1 rows.*name an empty database"):
            migrate(source, target, unwatched, rebuild_states)
        assert target.log.ends() == [0, 0, 0]
    with connect(target_of(config, tmp_path / "c")) as target:
        target.kv.put({keys.state("nobody"): b"x"})
        with pytest.raises(Conflict, match="online store is in use"):
            migrate(source, target, unwatched, rebuild_states)
    with connect(target_of(config, tmp_path / "d")) as target:
        migrate(source, target, unwatched, rebuild_states)
        target.log.append([stranger]).result()
        with pytest.raises(Conflict, match="in use already"):
            migrate(source, target, unwatched, rebuild_states)
    other = shutil.copytree(config.home, tmp_path / "other")
    with (
        connect(world.config_of(other)) as another,
        connect(target_of(config, tmp_path / "d")) as target,
        pytest.raises(Conflict, match="was filled from"),
    ):
        migrate(another, target, unwatched, rebuild_states)


def test_a_single_changed_byte_in_the_target_is_found_and_named(published: tuple[Storage, Config], tmp_path: Path) -> None:
    source, config = published
    target = target_of(config, tmp_path / "target")
    with connect(target) as there:
        migrate(source, there, unwatched, rebuild_states)
    versions = sorted(target.model_folder.glob("als-*/model/*.npz"))
    original = versions[0].read_bytes()
    versions[0].write_bytes(original[:500] + bytes([original[500] ^ 1]) + original[501:])
    with sqlite3.connect(target.home / "tables.db") as database:
        database.execute("UPDATE items SET title = 'Film 33 ' WHERE item = 'i33'")
    database.close()
    with sqlite3.connect(target.home / "log.db") as database:
        for partition, first, payload in database.execute("SELECT partition, first, payload FROM batches").fetchall():
            plain = batches.decompress(payload).replace(b"Film 79", b"Film 78")
            place = (batches.PLAIN + plain, partition, first)
            database.execute("UPDATE batches SET payload = ? WHERE partition = ? AND first = ?", place)
    database.close()
    with connect(target) as there:
        wrong = {(line.store, line.what) for line in compare(source, there, ALL, lambda *_: None) if not line.equal}
    assert {("log", "items"), ("tables", "items"), ("models", f"{versions[0].parent.parent.name}/model")} <= wrong
    assert {what for store, what in wrong if store in ("log", "models")} == {"items", f"{versions[0].parent.parent.name}/model"}


def test_configurations_that_share_what_cannot_be_shared_are_refused(published: tuple[Storage, Config], tmp_path: Path) -> None:
    _, config = published
    with pytest.raises(ConfigError, match="nothing to move"):
        moves(config, config)
    there = Connect(home=str(tmp_path / "t"))
    for name, said in (
        ("lake", "move together"),
        ("log", "move together"),
        ("kv", "another online store"),
        ("kv_durable", "another online store"),
    ):
        shared = replace(there, **{name: config.url(name.removesuffix("_durable"))})
        with pytest.raises(ConfigError, match=said):
            moves(config, replace(config, connect=shared))


def test_an_online_store_may_move_alone(published: tuple[Storage, Config], tmp_path: Path) -> None:
    source, config = published
    target = replace(config, connect=replace(config.connect, kv=f"lmdb:///{tmp_path}/kv"))
    with connect(target) as there:
        report = migrate(source, there, unwatched, rebuild_states)
        assert (report.appended, report.lines, report.users) == (0, [], 120)
        for prefix in ("state:", "mark:", "items:"):
            assert dict(there.kv.scan(prefix)) == dict(source.kv.scan(prefix))
        assert consumer_of(there.kv) != consumer_of(source.kv)
