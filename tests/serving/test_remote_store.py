"""Requests over an online store on a server: the same answers, a loop that never waits, and a rung less while it is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

import servers
import servers_redis
from api import Api, api, eventually, logged
from tastemaker.config import Config, Patience
from tastemaker.domain import Decision, Interaction
from tastemaker.storage import Storage, connect
from tastemaker.streaming.worker import Worker

DEADLINE = 0.15  # seconds
BRISK = Patience(connect_ms=300, timeout_ms=300, tries=1, failures=3, pause_ms=100)
QUERIES: list[dict[str, object]] = [{}, {"k": 5}, {"k": 50}, {"category": "Drama"}, {"exclude": "i1,i2"}, {"surface": "player"}]


def moved(storage: Storage, config: Config, url: str, deadline: float = 20.0) -> Config:
    """The configuration of the same world with its online store at ``url``: every key is copied."""
    serving = replace(config.serving, deadline_ms=1000 * deadline)
    config = replace(config, connect=replace(config.connect, kv=url), serving=serving, patience=BRISK)
    with connect(config) as there:
        there.kv.fill(dict(storage.kv.scan("")))
    return config


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("decision", "age_ms")}


@pytest.fixture
def own() -> Iterator[servers.Redis]:
    with servers.Redis() as server:
        yield server


@pytest.fixture
def remote(published: tuple[Storage, Config], own: servers.Redis) -> Iterator[Api]:
    """The platform's server over a Redis server of this test, with a short deadline."""
    storage, config = published
    config = moved(storage, config, own.url, DEADLINE)
    with connect(config) as there, api(there, config) as running:
        assert running.ask("u1")["rung"] == "personal"
        yield running


@pytest.mark.parametrize("place", [servers.redis, servers_redis.cluster, servers_redis.sentinel])
def test_answers_equal_those_of_the_embedded_store(published: tuple[Storage, Config], place: Any) -> None:
    storage, config = published
    far = moved(storage, config, place())
    users = ["u1", "u2", "p1", "nobody", "a:b", "{x}"]
    with api(storage, config) as near, connect(far) as there, api(there, far) as remote:
        for user in users:
            for query in QUERIES:
                assert comparable(remote.ask(user, **query)) == comparable(near.ask(user, **query)), (user, query)
            here, other = (server.client.get(f"/v1/users/{user}") for server in (near, remote))
            assert (here.status_code, here.json()) == (other.status_code, other.json())
        sessions = [
            server.client.post("/v1/sessions/recommendations", json={"history": ["i8"], "session": "u1"}).json()
            for server in (near, remote)
        ]
        assert remote.client.get("/ready").json()["problems"] == []
    assert comparable(sessions[0]) == comparable(sessions[1])
    served = [event.user for event in logged(storage) if isinstance(event, Decision)]
    assert sorted(served) == sorted([user for user in users for _ in range(2 * len(QUERIES))] + ["u1", "u1"])


def test_a_click_changes_the_next_answer(published: tuple[Storage, Config], own: servers.Redis) -> None:
    storage, config = published
    config = moved(storage, config, own.url)
    with connect(config) as there, api(there, config, Worker(there, config)) as server:
        first = server.ask("u1")["items"][0]["item"]
        event = {"type": "interaction", "user": "u1", "item": first, "kind": "click"}
        assert server.client.post("/v1/events", json=event).status_code == 202
        assert eventually(lambda: first not in [row["item"] for row in server.ask("u1")["items"]])


def test_a_state_newer_than_the_slate_is_composed_from(published: tuple[Storage, Config], own: servers.Redis) -> None:
    storage, config = published
    config = moved(storage, config, own.url)
    config = replace(config, streaming=replace(config.streaming, batch=1, refresh_lag=0))
    with connect(config) as there:
        with api(there, config) as server:
            first = server.ask("u1")["items"][0]["item"]
        now = int(time.time() * 1000)
        there.log.append([Interaction(f"late-{n}", now, "u1", item, "click") for n, item in enumerate((first, "i1"))]).result()
        worker = Worker(there, config)
        while first not in str(there.kv.get(["state:u1"])[0]):
            worker.step()  # without a new slate, since one more waits
        worker.stop()
        with api(there, config) as server:
            answer = server.ask("u1")
    assert answer["rung"] == "personal"
    assert first not in [row["item"] for row in answer["items"]]


@pytest.mark.parametrize("fault", ["pause", "kill"])
def test_with_the_store_away_everybody_gets_what_is_popular_in_time_and_it_recovers(
    remote: Api, own: servers.Redis, fault: str
) -> None:
    servers_redis.asked(own, "SAVE")  # into its folder, where it looks when it starts again
    getattr(own, fault)()
    for _ in range(3):
        for query in QUERIES:
            began = time.monotonic()
            answer = remote.ask("u1", **query)
            assert time.monotonic() - began < DEADLINE + 0.5  # the machine may be busy
            assert (answer["rung"], bool(answer["items"])) == ("popular", True)
    assert remote.client.get("/health").status_code == 200
    assert eventually(lambda: remote.client.get("/ready").status_code == 503)
    profile = remote.client.get("/v1/users/u1")
    assert (profile.status_code, profile.headers["retry-after"]) == (503, "1")
    session = remote.client.post("/v1/sessions/recommendations", json={"history": ["i8"]})
    assert (session.status_code, session.json()["rung"]) == (200, "personal")  # it brought its history along
    own.resume() if fault == "pause" else own.start()
    assert eventually(lambda: remote.ask("u1")["rung"] == "personal")
    assert eventually(lambda: remote.client.get("/ready").status_code == 200)


@pytest.fixture
def stubborn(published: tuple[Storage, Config], own: servers.Redis) -> Iterator[Api]:
    """The same without a breaker: every request asks the store, however often it failed."""
    storage, config = published
    config = moved(storage, config, own.url, DEADLINE)
    with connect(replace(config, patience=replace(BRISK, failures=1_000_000))) as there, api(there, config) as running:
        yield running


def test_a_store_that_hangs_holds_up_no_other_request(stubborn: Api, own: servers.Redis) -> None:
    remote, statuses = stubborn, list[int]()
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=remote.base, timeout=30) as client:
            while not stop.is_set():
                statuses.append(client.get("/v1/users/u1/recommendations").status_code)

    own.pause()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(ask)
        waits = []
        for _ in range(50):
            began = time.monotonic()
            assert remote.client.get("/health").status_code == 200
            waits.append(time.monotonic() - began)
        own.resume()
        stop.set()
    assert sorted(waits)[25] < 0.1  # were the loop to wait for the store, each would take as long as its timeout
    assert set(statuses) == {200}


def test_a_flushed_store_gives_what_is_popular_and_no_error(remote: Api, own: servers.Redis) -> None:
    servers_redis.asked(own, "FLUSHALL")
    assert [remote.ask("u1", **query)["rung"] for query in QUERIES] == ["popular"] * len(QUERIES)
    assert remote.client.get("/v1/users/u1").status_code in (200, 404)


def test_a_server_that_starts_while_its_store_is_away_answers_and_gets_well(
    published: tuple[Storage, Config], own: servers.Redis
) -> None:
    storage, config = published
    config = moved(storage, config, own.url, DEADLINE)
    own.pause()
    with connect(config) as there, api(there, config) as server:
        assert server.ask("u1")["rung"] in ("popular", "empty")
        own.resume()
        assert eventually(lambda: server.ask("u1")["rung"] == "personal")


def test_the_embedded_store_is_read_at_once_and_a_server_never_is(published: tuple[Storage, Config], own: servers.Redis) -> None:
    storage, config = published
    far = moved(storage, config, own.url)
    with connect(far) as there:
        assert (storage.kv.immediate, there.kv.immediate) == (True, False)
        with api(there, far) as server:
            assert server.app.recommending.quick("u1", time.perf_counter()) is None
