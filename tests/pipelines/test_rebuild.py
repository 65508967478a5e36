"""Rebuilding: what comes out equals what the workers had made, whoever else is at work and whatever cuts it off."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import forked
import world
from api import eventually
from tastemaker.config import Config, Connect, Patience
from tastemaker.domain import AnyEvent, Erase, Interaction, Record, UserChange, View
from tastemaker.errors import Conflict
from tastemaker.features import states
from tastemaker.pipelines.republish import rewrite_slates
from tastemaker.registry import live
from tastemaker.storage import Storage, connect, keys
from tastemaker.storage.archive import archive
from tastemaker.storage.kv import consumer_of, hold
from tastemaker.storage.kv.hold import Hold
from tastemaker.storage.log.sqlite import SqliteLog
from tastemaker.streaming import applying
from tastemaker.streaming import rebuild as module
from tastemaker.streaming.rebuild import rebuild_states
from tastemaker.streaming.update import Applied, update
from tastemaker.streaming.worker import Worker

Kept = dict[str, bytes]
BRIEF = Patience(connect_ms=10, timeout_ms=10)


def kept(storage: Storage) -> Kept:
    return {key: value for prefix in ("state:", "mark:", "items:") for key, value in storage.kv.scan(prefix)}


def silent(_done: int, _total: int, _note: str = "") -> None:
    """Progress that nobody watches."""


def drained(storage: Storage) -> None:
    worker = Worker(storage, storage.config)
    worker.drain()
    worker.stop()


def odd_events(start: int) -> list[AnyEvent]:
    """What states are sensitive to: an id that comes twice, late news, views, opinions, values that ripen later, farewells."""
    now = world.BASE + 10**9 + start
    twice = Interaction(f"twice-{start}", now, "u1", "i1", "click")
    return [
        twice,
        twice,
        Interaction(f"late-{start}", world.BASE, "u2", "i2", "click"),
        View(f"view-{start}", now, "u2", "d", "i2"),
        UserChange(f"says-{start}", now, "p1", {"Horror": 2.0}, "de"),
        Interaction(f"ripens-{start}", now, "u3", "i3", "rating", 4.0, mature_at=now + 1000),
        Interaction(f"leaves-{start}", now, f"gone-{start}", "i3", "click"),
        Erase(f"erase-{start}", now, f"gone-{start}"),
        Interaction(f"new-{start}", now + 2000, f"new-{start}", "i4", "click"),
    ]


@pytest.fixture
def busy(published: tuple[Storage, Config]) -> Storage:
    """The published world after a few odd events, which were applied in small batches."""
    storage, config = published
    small = replace(config, streaming=replace(config.streaming, batch=7), patience=BRIEF)
    storage.config = small
    storage.log.append([event for start in range(0, 100, 10) for event in odd_events(start)]).result()
    drained(storage)
    return storage


def damage(storage: Storage) -> None:
    """Some states are lost, one is stale, one belongs to nobody."""
    storage.kv.delete([keys.state("u1"), keys.mark("u1"), keys.state("u5"), keys.counters(1, "item_trending")])
    old = states.unpack(storage.kv.get([keys.state("u2")])[0] or b"")
    storage.kv.put({keys.state("u2"): states.pack(replace(old, offset=0)), keys.state("ghost"): b"x", keys.mark("ghost"): b"y"})


def test_what_comes_out_equals_what_the_workers_made_byte_for_byte(busy: Storage) -> None:
    before, name = kept(busy), consumer_of(busy.kv)
    assert any(key.startswith("items:") for key in before)
    damage(busy)
    assert kept(busy) != before
    assert rebuild_states(busy, silent) == sum(key.startswith("state:") for key in before)
    assert kept(busy) == before
    assert consumer_of(busy.kv) != name
    assert busy.log.committed(consumer_of(busy.kv)) == busy.log.ends()
    assert not (busy.config.home / "rebuild").exists()
    worker = Worker(busy, busy.config)
    assert worker.drain() == 0
    busy.log.append(odd_events(500)).result()
    assert worker.drain() == 9
    worker.stop()


def test_slates_are_written_for_everybody_under_the_live_version(busy: Storage) -> None:
    now = live.read(busy.kv)
    assert now is not None
    busy.kv.drop(f"slate:{now.version}:")
    assert rewrite_slates(busy, now, silent) == 140  # ten of them were erased
    assert sum(1 for _ in busy.kv.scan(f"slate:{now.version}:")) == 130
    assert live.read(busy.kv) == now


class Trimmed(SqliteLog):
    """A log with a time limit: what is older than a batch is gone, and it says so."""

    def starts(self) -> list[int]:
        with closing(sqlite3.connect(self.path)) as database:
            rows = dict(database.execute("SELECT partition, min(first) FROM batches GROUP BY partition").fetchall())
        return [rows.get(partition, 0) for partition in range(self.partitions)]

    def trim(self) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            for partition in range(self.partitions):
                newest = database.execute("SELECT max(first) FROM batches WHERE partition = ?", (partition,)).fetchone()[0]
                database.execute("DELETE FROM batches WHERE partition = ? AND first < ?", (partition, newest))


def test_what_the_log_keeps_no_longer_comes_from_the_lake(busy: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept(busy)
    archive(busy.log, busy.lake)
    trimmed = Trimmed(busy.log.path, busy.log.partitions)  # type: ignore[attr-defined]  # it is one in a file
    trimmed.trim()
    assert min(trimmed.starts()) > 100
    busy.log.close()
    busy.__dict__["log"] = trimmed
    monkeypatch.setattr(module, "BATCH", 50)
    damage(busy)
    rebuild_states(busy, silent)
    assert kept(busy) == before


def rebuild_until(config: Config, call: int) -> None:
    """Rebuilds and kills itself at progress report number ``call``."""
    module.BATCH, module.USERS = 200, 20
    calls = 0

    def progress(done: int, total: int, note: str = "") -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)

    with connect(config) as storage:
        rebuild_states(storage, progress)


@pytest.mark.slow
def test_killed_anywhere_and_run_again_it_ends_the_same(busy: Storage) -> None:
    before = kept(busy)
    damage(busy)
    for call in (1, 5, 9, 6, 3):  # the replay goes on where it stood, so that later ones die while users are exchanged
        assert forked.code_of(forked.start(rebuild_until, busy.config, call)) == -signal.SIGKILL
    assert busy.kv.get([keys.HOLD])[0] is not None, "the last one died while the workers were held"
    rebuild_states(busy, silent)
    assert kept(busy) == before


@pytest.mark.slow
def test_with_workers_at_work_and_events_coming_nothing_is_lost_or_counted_twice(
    busy: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "USERS", 10)
    worker = Worker(busy, busy.config)
    worker.start()
    ended = threading.Event()

    def write() -> None:
        number = 1000
        while not ended.wait(0.002):
            busy.log.append(odd_events(number)).result()
            number += 10

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(8):
            name = consumer_of(busy.kv)
            busy.kv.delete([keys.state("u1"), keys.state("u3")])
            rebuild_states(busy, silent)
            assert consumer_of(busy.kv) != name
            for user in ("u1", "u3"):  # a worker that began with what was damaged must not have the last word
                assert len(states.unpack(busy.kv.get([keys.state(user)])[0] or b"").history) >= 25
    finally:
        ended.set()
        writer.join()
    assert eventually(lambda: worker.failure is None and worker.lag() == 0, 30)
    worker.stop()
    found = kept(busy)
    clean = replace(
        busy.config, connect=Connect(home=str(tmp_path / "clean")), streaming=replace(busy.config.streaming, batch=5000)
    )
    with connect(clean) as anew:
        for partition in range(busy.log.partitions):
            anew.log.append([record.event for record in busy.log.read(partition, 0, 10**9)]).result()
        anew.tables.items.put(busy.tables.items.all())
        drained(anew)
        assert found == kept(anew)


def test_workers_wait_while_somebody_holds_them_and_go_on_when_he_is_gone(busy: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(busy, busy.config)
    worker.drain()
    busy.log.append(odd_events(700)).result()
    with Hold(busy.kv, BRIEF, b"one"):
        for _ in range(2):
            with pytest.raises(Conflict, match="being rebuilt"):
                worker.step()
        with pytest.raises(Conflict, match="somebody else rebuilds"):
            Hold(busy.kv, BRIEF, b"two").__enter__()
    assert worker.drain() == 9
    worker.stop()
    monkeypatch.setattr(hold, "LATE", -1.0)
    with pytest.raises(Conflict, match="stuck"), Hold(busy.kv, BRIEF, b"one") as stuck:
        stuck.put({"k": b"v"})
    assert busy.kv.get(["k", keys.HOLD]) == [None, None]


def test_a_batch_that_was_made_before_the_hold_is_not_written_during_it(busy: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(busy, busy.config)
    worker.drain()
    before = kept(busy)
    busy.log.append(odd_events(700)).result()
    whole = worker.applier.look_around

    def then_held() -> None:
        whole()
        busy.kv.put({keys.HOLD: b"x"}, ttl=30)

    monkeypatch.setattr(worker.applier, "look_around", then_held)
    with pytest.raises(Conflict, match="being rebuilt"):
        worker.step()
    assert kept(busy) == before
    worker.leave()


def test_what_the_workers_could_not_apply_stays_where_they_put_it(
    published: tuple[Storage, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, _ = published

    def faulty(records: Sequence[Record], *rest: Any, **more: Any) -> Applied:
        if any(record.event.id.startswith("twice") for record in records):
            raise ValueError("cannot digest it")
        return update(records, *rest, **more)

    monkeypatch.setattr(applying, "update", faulty)
    monkeypatch.setattr(module, "update", faulty)
    storage.log.append(odd_events(0)).result()
    drained(storage)
    letters, before = storage.tables.dead_letters.all(), kept(storage)
    assert len(letters) == 2
    damage(storage)
    rebuild_states(storage, silent)
    assert kept(storage) == before
    assert storage.tables.dead_letters.all() == letters


def test_a_replay_made_under_other_rewards_is_thrown_away(busy: Storage) -> None:
    before = kept(busy)
    folder = busy.config.home / "rebuild"
    other = replace(busy.config, rewards=replace(busy.config.rewards, default=2.0))
    with connect(other) as storage:
        scratch = module.prepared(storage, folder.absolute())
        module.Replay(storage, scratch).run(silent)
        scratch.close()
    rebuild_states(busy, silent)
    assert kept(busy) == before
    shutil.rmtree(folder, ignore_errors=True)
