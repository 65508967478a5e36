"""From files to servers, and from servers to other servers: everything arrives, and is usable there."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

import servers
import world
from profiles import PROFILES, Profile, postgres
from tastemaker.config import Config, Connect, Log, Patience
from tastemaker.domain import Interaction, encode_event, key_of
from tastemaker.errors import Conflict, StorageError
from tastemaker.features import states
from tastemaker.pipelines.moving import events
from tastemaker.pipelines.moving.move import migrate
from tastemaker.registry import live
from tastemaker.slates.stored import decode_whole
from tastemaker.storage import Storage, connect, keys
from tastemaker.storage.archive import archive
from tastemaker.streaming.rebuild import rebuild_states
from tastemaker.streaming.worker import Worker


def halfway(home: Path) -> Connect:
    """PostgreSQL for log and tables, Redis before PostgreSQL, S3 for lake and models: no Kafka."""
    database, bucket = servers.postgresql(), servers.s3()
    return Connect(
        home=str(home),
        log=database,
        kv=servers.redis(),
        kv_durable=database,
        lake=f"{bucket}/lake",
        tables=database.replace("postgresql://", "postgresql+psycopg://"),
        models=f"{bucket}/models",
    )


TARGETS: dict[str, Profile] = {
    "halfway": halfway,
    "cluster": PROFILES["cluster"],
    "mysql": PROFILES["mysql"],
    "postgres": postgres,
}


def unwatched(_what: str, _done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


def of_log(storage: Storage) -> dict[str, list[bytes]]:
    """What happened to each key, in order."""
    found: dict[str, list[bytes]] = {}
    for partition in range(storage.log.partitions):
        place = 0
        while records := storage.log.read(partition, place, 1000):
            place = records[-1].offset + 1
            for record in records:
                found.setdefault(key_of(record.event), []).append(encode_event(record.event))
    return found


def shown(storage: Storage, user: str) -> list[str]:
    now = live.read(storage.kv)
    assert now is not None
    return [item.item for item in decode_whole(storage.kv.get([keys.whole(now.version, user)])[0] or b"").items]


def history(storage: Storage, user: str) -> tuple[str, ...]:
    return states.unpack(storage.kv.get([keys.state(user)])[0] or b"").history.items


def kept(storage: Storage) -> dict[str, bytes]:
    return {key: value for prefix in ("state:", "mark:", "items:") for key, value in storage.kv.scan(prefix)}


def interrupted(source: Storage, there: Config, what: str, call: int) -> None:
    """A move that ends at progress report number ``call`` of a part, as with Ctrl-C."""
    calls = 0

    def watch(part: str, _done: int, _total: int, _note: str) -> None:
        nonlocal calls
        calls += part == what
        if part == what and calls == call:
            raise KeyboardInterrupt

    with connect(there) as target, pytest.raises(KeyboardInterrupt):
        migrate(source, target, watch, rebuild_states)


@pytest.mark.slow
@pytest.mark.parametrize("profile", TARGETS)
def test_a_platform_moves_from_files_to_servers_and_goes_on_there(
    profile: str, published: tuple[Storage, Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, config = published
    monkeypatch.setattr(events, "BATCH", 500)
    there = replace(config, connect=TARGETS[profile](tmp_path / "target"), log=Log(partitions=3))
    for what, call in (("log", 2), ("log", 5), ("lake", 1)):
        interrupted(source, there, what, call)
    with connect(there) as target:
        report = migrate(source, target, unwatched, rebuild_states)
        assert report.differences == []
        assert report.users == 120
        assert of_log(target) == of_log(source)
        assert live.read(target.kv) == live.read(source.kv)
        assert shown(target, "u5")
        for user in ("u1", "u77", "p3"):
            assert history(target, user) == history(source, user)
        worker = Worker(target, there)
        assert worker.drain() == 0
        target.log.append([Interaction("later", world.BASE + 10**9, "u1", "i1", "click")]).result()
        assert worker.drain() == 1
        worker.stop()
        assert history(target, "u1")[-1] == "i1"
        assert archive(target.log, target.lake) == {"interactions": 1}
        before = kept(target)
        target.kv.delete([keys.state("u1"), keys.mark("u2")])
        rebuild_states(target, lambda *_: None)
        assert kept(target) == before
        with pytest.raises(Conflict, match="in use already"):
            migrate(source, target, unwatched, rebuild_states)


@pytest.mark.slow
def test_a_target_that_goes_away_during_the_move_loses_nothing(
    published: tuple[Storage, Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, config = published
    monkeypatch.setattr(events, "BATCH", 200)
    patience = Patience(connect_ms=300, timeout_ms=1000, tries=2, spool_mb=0)
    with servers.PostgreSQL() as server:
        place = Connect(home=str(tmp_path / "target"), log=f"{server.url}/postgres", tables=f"{server.url}/postgres")
        there = replace(config, connect=place, log=Log(partitions=3), patience=patience)
        for what, call in (("log", 4), ("log", 9), ("tables", 3)):
            calls = 0

            def kill(part: str, _done: int, _total: int, _note: str, what: str = what, call: int = call) -> None:
                nonlocal calls
                calls += part == what
                if part == what and calls == call:
                    server.kill()

            with connect(there) as target, pytest.raises(StorageError):
                migrate(source, target, kill, rebuild_states)
            server.start()
        with connect(there) as target:
            assert migrate(source, target, unwatched, rebuild_states).differences == []
            assert of_log(target) == of_log(source)
            assert history(target, "u1") == history(source, "u1")


@pytest.mark.slow
def test_and_back_from_servers_to_files(published: tuple[Storage, Config], tmp_path: Path) -> None:
    source, config = published
    far = replace(config, connect=halfway(tmp_path / "far"), log=Log(partitions=5))
    near = replace(config, connect=Connect(home=str(tmp_path / "near")))
    with connect(far) as target, connect(near) as back:
        assert migrate(source, target, unwatched, None).differences == []
        assert migrate(target, back, unwatched, rebuild_states).differences == []
        assert of_log(back) == of_log(source)
        assert history(back, "u9") == history(source, "u9")
