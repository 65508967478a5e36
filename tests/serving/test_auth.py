"""Who may do what: scopes, revoked keys, rates, and the doors that stand open on loopback only."""

from __future__ import annotations

import ast
import asyncio
import inspect
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from msgspec.structs import replace

import servers
from api import Api, api, eventually, logged
from tastemaker.config import Config, Patience, Serving
from tastemaker.errors import ConfigError
from tastemaker.serving import auth
from tastemaker.serving.server import refuse_open_door
from tastemaker.storage import Storage, connect
from tastemaker.storage.tables import access

CLICK = {"type": "interaction", "user": "u1", "item": "i7", "kind": "click"}
READ, WRITE, ADMIN = ("GET", "/v1/users/u1/recommendations"), ("POST", "/v1/events"), ("DELETE", "/v1/users/u1")
OTHERS = {
    "read": [("GET", "/v1/items"), ("GET", "/v1/users/u1"), ("GET", "/v1/models"), ("POST", "/v1/sessions/recommendations")],
    "write": [("PUT", "/v1/items/i1"), ("POST", "/v1/users"), ("PUT", "/v1/users/u1/preferences"), ("DELETE", "/v1/items/i1")],
    "admin": [("POST", "/v1/models/x/promote"), ("POST", "/v1/models/rollback")],
}


def asked_for_keys(home: Config, rate: float = 0.0) -> Config:
    return replace(home, serving=replace(home.serving, keys=True, rate=rate))


def send(server: Api, what: tuple[str, str], secret: str | None = None) -> httpx.Response:
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    content = None if what[0] in ("GET", "DELETE") else b'{"type":"interaction","user":"u1","item":"i7","kind":"click"}'
    return server.client.request(what[0], what[1], content=content, headers=headers)


def test_on_loopback_reading_and_writing_are_open_and_admin_never_is(storage: Storage, home: Config) -> None:
    with api(storage, home) as server:
        assert send(server, READ).status_code == 200
        assert send(server, WRITE).status_code == 202
        for what in [ADMIN, *OTHERS["admin"]]:
            answer = send(server, what)
            assert (answer.status_code, "admin" in answer.json()["error"]["message"]) == (401, True)
            assert send(server, what, "tm_made-up").status_code == 401


@pytest.mark.parametrize(("scope", "allowed"), [("read", [READ]), ("write", [WRITE]), ("admin", [READ, WRITE, ADMIN])])
def test_a_key_opens_what_its_scope_says_and_nothing_else(
    storage: Storage, home: Config, scope: str, allowed: list[tuple[str, str]]
) -> None:
    secret = storage.tables.keys.create("app", [scope], 0)
    with api(storage, asked_for_keys(home)) as server:
        for what in (READ, WRITE, ADMIN):
            assert send(server, what).status_code == 401
            status = send(server, what, secret).status_code
            assert (status < 300) == (what in allowed), (what, status)
            assert status < 300 or status == 403
    assert len(logged(storage)) >= (scope != "read")


def test_every_other_route_asks_for_its_scope(storage: Storage, home: Config) -> None:
    secrets = {scope: storage.tables.keys.create(scope, [scope], 0) for scope in ("read", "write")}
    with api(storage, asked_for_keys(home)) as server:
        for needed, routes in OTHERS.items():
            for what in routes:
                assert send(server, what).status_code == 401, what
                for scope, secret in secrets.items():
                    assert (send(server, what, secret).status_code == 403) == (scope != needed), (what, scope)


def test_health_metrics_and_the_description_need_no_key(storage: Storage, home: Config) -> None:
    with api(storage, asked_for_keys(home)) as server:
        for path in ("/health", "/ready", "/metrics", "/docs", "/openapi.json"):
            assert server.client.get(path).status_code == 200, path


def test_a_key_may_come_in_either_header_and_a_wrong_one_opens_nothing(storage: Storage, home: Config) -> None:
    secret = storage.tables.keys.create("app", ["read"], 0)
    good = [{"authorization": f"Bearer {secret}"}, {"authorization": f"bearer {secret}"}, {"x-api-key": secret}]
    bad = [
        {"authorization": secret},
        {"authorization": f"Basic {secret}"},
        {"authorization": f"Bearer {secret}x"},
        {"authorization": f"Bearer {secret[:-1]}"},
        {"x-api-key": ""},
        {"x-api-key": "ÿþ".encode("latin-1").decode("latin-1")},
        {"x-api-key": secret.swapcase()},
    ]
    with api(storage, asked_for_keys(home)) as server:
        for headers in good:
            assert server.client.get(READ[1], headers=headers).status_code == 200, headers
        for headers in bad:
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            assert server.client.get(READ[1], headers=raw).status_code == 401, headers


def test_a_revoked_key_is_refused_once_the_trust_in_it_is_over(
    storage: Storage, home: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "TRUST", 0.2)
    monkeypatch.setattr(auth, "PATIENCE", 10.0)  # slow machines must not change what a test sees
    secret = storage.tables.keys.create("app", ["read"], 0)
    with api(storage, asked_for_keys(home)) as server:
        assert send(server, READ, secret).status_code == 200
        assert storage.tables.keys.revoke(storage.tables.keys.all()[0].id)
        time.sleep(0.25)
        answer = send(server, READ, secret)
    assert (answer.status_code, "revoked" in answer.text) == (401, True)


@pytest.fixture
def far(home: Config) -> Iterator[tuple[servers.PostgreSQL, Storage, Config]]:
    """Stores whose tables lie on a server of this test."""
    with servers.PostgreSQL() as server:
        config = asked_for_keys(replace(home, connect=replace(home.connect, tables=f"{server.url}/postgres")))
        config = replace(config, patience=Patience(connect_ms=300, timeout_ms=300, pause_ms=200))
        with connect(config) as storage:
            yield server, storage, config


def test_while_the_tables_are_away_known_keys_open_as_before_and_others_have_to_wait(
    far: tuple[servers.PostgreSQL, Storage, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "TRUST", 0.0)
    server, storage, config = far
    secret, other = (storage.tables.keys.create(name, ["read"], 0) for name in ("known", "other"))
    with api(storage, config) as running:
        assert send(running, READ, secret).status_code == 200
        server.kill()
        began = time.monotonic()
        assert [send(running, READ, secret).status_code for _ in range(20)] == [200] * 20
        assert time.monotonic() - began < 2.0
        answer = send(running, READ, other)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert other not in answer.text
        assert send(running, ADMIN, secret).status_code == 403
        server.start()
        assert eventually(lambda: send(running, READ, other).status_code == 200)
        assert storage.tables.keys.revoke(next(key.id for key in storage.tables.keys.all() if key.name == "known"))
        assert eventually(lambda: send(running, READ, secret).status_code == 401)


def test_slow_tables_hold_up_neither_the_event_loop_nor_a_known_key(
    far: tuple[servers.PostgreSQL, Storage, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setattr(auth, "TRUST", 0.0)
    server, storage, config = far
    secret = storage.tables.keys.create("known", ["read"], 0)
    with api(storage, config) as running, psycopg.connect(f"{server.url}/postgres") as blocking:
        assert send(running, READ, secret).status_code == 200
        blocking.execute("LOCK TABLE api_keys")  # whoever reads keys waits for the end of this transaction
        began = time.monotonic()
        assert [send(running, READ, secret).status_code for _ in range(20)] == [200] * 20
        with ThreadPoolExecutor(1) as pool:
            stranger = pool.submit(send, running, READ, "tm_stranger")
            assert running.client.get("/health").status_code == 200
            assert time.monotonic() - began < 2.0
            assert not stranger.done()
            blocking.rollback()
            assert stranger.result().status_code == 401


def test_a_key_that_asks_too_often_gets_429_and_others_do_not_suffer(storage: Storage, home: Config) -> None:
    fast, slow = (storage.tables.keys.create(name, ["read"], 0) for name in ("fast", "slow"))
    with api(storage, asked_for_keys(home, rate=5.0)) as server:
        began = time.monotonic()
        statuses = [send(server, READ, fast).status_code for _ in range(30)]
        seconds = time.monotonic() - began
        assert send(server, READ, slow).status_code == 200
        assert set(statuses) == {200, 429}
        assert 5 <= statuses.count(200) <= 5 + 5 * seconds + 1
        time.sleep(0.5)
        assert send(server, READ, fast).status_code == 200


def test_the_server_does_not_open_to_the_world_without_a_key(storage: Storage, home: Config) -> None:
    world = replace(home, serving=Serving(host="0.0.0.0", port=0))
    with pytest.raises(ConfigError, match="no API key"):
        refuse_open_door(storage, world)
    refuse_open_door(storage, home)
    storage.tables.keys.create("app", ["read"], 0)
    refuse_open_door(storage, world)
    storage.tables.keys.revoke(storage.tables.keys.all()[0].id)
    with pytest.raises(ConfigError, match="no API key"):
        refuse_open_door(storage, world)


def test_on_another_address_nothing_is_open(storage: Storage, home: Config) -> None:
    secret = storage.tables.keys.create("app", ["read"], 0)
    guard = auth.Auth(storage, replace(home, serving=Serving(host="0.0.0.0")))
    for scope in ("read", "write", "admin"):
        with pytest.raises(auth.Denied):
            asyncio.run(guard.allow([], scope))
    asyncio.run(guard.allow([(b"x-api-key", secret.encode())], "read"))


def test_secrets_are_kept_as_hashes_and_compared_in_constant_time(storage: Storage, home: Config) -> None:
    secret = storage.tables.keys.create("app", ["read"], 0)
    for file in home.home.iterdir():
        assert not file.is_file() or secret.encode() not in file.read_bytes()
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(inspect.getsource(access))) if isinstance(node, ast.Call)}
    assert "hmac.compare_digest" in calls
    # no == or != on a digest anywhere but in the look-up of its public beginning
    equal = [
        ast.unparse(node)
        for module in (access, auth)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
    ]
    assert [text for text in equal if "digest" in text or "secret" in text] == ["api_keys.c.id == digest[:SHOWN]"]
