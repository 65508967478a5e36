"""Whatever is broken costs a rung of the ladder: an answer comes all the same, names its rung, and is never a 5xx."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from api import Api, api, eventually
from tastemaker.config import Config, Streaming
from tastemaker.domain import Interaction, ItemChange
from tastemaker.registry import live
from tastemaker.storage import Storage, keys
from tastemaker.streaming.worker import Worker


def items(answer: dict[str, Any]) -> list[str]:
    return [row["item"] for row in answer["items"]]


@contextmanager
def hurried(storage: Storage, config: Config) -> Iterator[Api]:
    """A server whose composing threads are all busy with something long, and whose deadline is short."""
    with api(storage, replace(config, serving=replace(config.serving, deadline_ms=30.0))) as server:
        done = threading.Event()
        pool = server.app.recommending.pool
        for _ in range(pool._max_workers):
            pool.submit(done.wait)
        try:
            yield server
        finally:
            done.set()


def version_of(storage: Storage) -> str:
    now = live.read(storage.kv)
    assert now is not None
    return now.version


def ready(server: Api) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get("/ready").json()
    return found


def test_with_the_online_store_away_everybody_gets_what_is_popular(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        assert server.ask("u1")["rung"] == "personal"
        storage.kv.close()
        queries: list[dict[str, object]] = [{}, {"k": 50}, {"category": "Drama"}, {"exclude": "i1"}]
        answers = [server.ask("u1", **query) for query in queries]
        session = server.client.post("/v1/sessions/recommendations", json={"history": ["i8"]})
        assert server.client.get("/ready").status_code == 503
        assert server.client.get("/health").status_code == 200
        del storage.__dict__["kv"]  # it is back
        assert server.ask("u1")["rung"] == "personal"
        assert eventually(lambda: server.client.get("/ready").status_code == 200)
    assert [answer["rung"] for answer in answers] == ["popular"] * 4
    assert [len(items(answer)) for answer in answers] == [10, 50, 10, 10]
    assert (session.status_code, session.json()["rung"]) == (200, "personal")  # it brought its history along


def test_when_the_deadline_passes_the_stored_slate_is_given_with_a_note(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with hurried(storage, config) as server:
        usual = server.ask("u1")
        long = server.ask("u1", k=50)
        stranger = server.ask("nobody")
        nothing = server.ask("nobody", category="Knitting")
    assert (usual["rung"], long["rung"], stranger["rung"], nothing["rung"]) == ("personal", "stored", "popular", "empty")
    assert (long["note"], stranger["note"]) == ("the deadline passed", "the deadline passed")
    assert nothing["note"] == "the deadline passed; no item has category 'Knitting'"
    assert items(long)[:10] == items(usual)
    assert len(items(long)) == 30  # all that is stored
    assert len(items(stranger)) == 10


def test_a_stored_slate_that_is_behind_stands_in_without_what_was_consumed_since(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        before = items(server.ask("u1"))
    now = int(time.time() * 1000)
    clicks = [Interaction(f"late-{number}", now, "u1", item, "click") for number, item in enumerate(before[:2])]
    storage.log.append([*clicks, Interaction("later", now, "u1", "i1", "click")]).result()
    worker = Worker(storage, replace(config, streaming=Streaming(batch=1, refresh_lag=0)))
    while before[1].encode() not in (storage.kv.get([keys.state("u1")])[0] or b""):
        worker.step()  # one by one: two are applied, without a new slate, and one waits
    worker.stop()
    with hurried(storage, config) as server:
        answer = server.ask("u1", k=8)
    assert (answer["rung"], answer["note"]) == ("stored", "the deadline passed")
    assert items(answer)[:7] == before[2:9]
    assert not set(before[:2]) & set(items(answer))


def test_a_session_never_gets_the_slate_of_a_user_of_that_name(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with hurried(storage, config) as server:
        answer = server.client.post("/v1/sessions/recommendations", json={"history": ["i8"], "session": "u1"}).json()
    assert answer["rung"] == "popular"


@pytest.mark.parametrize("key", [keys.mark("u1"), keys.state("u1"), "slate", "whole"])
@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"garbage", b"\x93\x01\x02\x03"])
def test_a_damaged_value_of_the_store_is_no_fault_of_the_request(
    published: tuple[Storage, Config], key: str, garbage: bytes
) -> None:
    storage, config = published
    version = version_of(storage)
    storage.kv.put({{"slate": keys.slate(version, "u1"), "whole": keys.whole(version, "u1")}.get(key, key): garbage})
    with api(storage, config) as server:
        for query in ({}, {"k": 7}, {"k": 50}, {"category": "Comedy"}):
            answer = server.ask("u1", **query)
            assert items(answer)
            assert answer["rung"] in ("personal", "popular")


def test_a_server_whose_model_is_gone_starts_and_answers_from_the_catalogue(published: tuple[Storage, Config]) -> None:
    storage, config = published
    shutil.rmtree(config.model_folder)
    with api(storage, config) as server:
        answer = server.ask("u1")
        assert server.client.get("/ready").status_code == 503
        assert "there is no model in this folder" in ready(server)["problems"][0]
        written = server.client.put("/v1/items/brand-new", json={"title": "Brand new"})
        again = server.ask("u1")
    assert (answer["rung"], answer["model"], len(items(answer))) == ("popular", None, 10)
    assert written.status_code == 200
    assert "brand-new" in items(again)


def test_a_new_version_that_cannot_be_loaded_leaves_the_old_one_at_work(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        before = server.ask("u1")
        pointer = storage.kv.get([keys.LIVE])[0]
        assert pointer is not None
        broken = pointer.replace(b'"artifact":"als', b'"artifact":"gone/als').replace(b'"version":"als', b'"version":"new-als')
        storage.kv.put({keys.LIVE: broken})
        assert eventually(lambda: not ready(server)["ready"])
        after = server.ask("u1")
        storage.tables.items.put([ItemChange("late", int(time.time() * 1000), items(before)[0], active=False)])
        storage.kv.put({keys.CATALOG: str(storage.tables.items.stamp()).encode()})
        assert eventually(lambda: items(before)[0] not in items(server.ask("u1")))  # the catalogue is followed all the same
        storage.kv.put({keys.LIVE: pointer})
        assert eventually(lambda: bool(ready(server)["ready"]))
    assert (after["model"], items(after)) == (before["model"], items(before))


def test_a_new_live_version_is_taken_over_within_a_second(published: tuple[Storage, Config]) -> None:
    storage, config = published
    now = live.read(storage.kv)
    assert now is not None
    with api(storage, config) as server:
        assert server.ask("u1")["model"] == now.version
        other = live.promote(storage, now.fallback.partition("/")[0], int(time.time() * 1000))
        assert eventually(lambda: server.ask("u1")["model"] == other.version, 2.0)
        assert server.ask("u1")["rung"] == "popular"
        live.rollback(storage, int(time.time() * 1000))
        assert eventually(lambda: server.ask("u1")["model"] == now.version, 2.0)


def test_without_a_model_the_newest_items_are_given(storage: Storage, home: Config) -> None:
    changes = [ItemChange(f"c{number}", number, f"i{number}", released=number) for number in range(12)]
    storage.tables.items.put(changes)
    with api(storage, home) as server:
        answer = server.ask("u1")
    assert (answer["rung"], answer["model"]) == ("popular", None)
    assert items(answer) == [f"i{number}" for number in range(11, 1, -1)]
    assert {row["source"] for row in answer["items"]} == {"new"}


def test_recommendations_need_no_table(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        storage.tables.close()
        shutil.rmtree(config.home / "lake")
        for user in ("u1", "p1", "nobody"):
            assert len(items(server.ask(user))) == 10
