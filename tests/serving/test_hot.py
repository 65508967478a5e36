"""The raw handlers and the FastAPI routes behind them answer alike: status, items and errors."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import world
from api import Api, api
from tastemaker.storage import connect


@pytest.fixture(scope="module")
def server(published_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = shutil.copytree(published_home, tmp_path_factory.mktemp("hot") / "published")
    config = world.config_of(folder)
    with connect(config) as storage, api(storage, config) as running:
        yield running


def bare_fastapi(server: Api, method: str, target: str, content: bytes | None = None) -> httpx.Response:
    """The same request to the FastAPI application alone, without the raw handlers in front."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(server.app.rest)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, target, content=content)

    return asyncio.run(send())


def comparable(answer: httpx.Response) -> Any:
    """What must be equal: all but the decision's id and the age."""
    body = answer.json()
    if answer.status_code == 422 and "error" in body:
        return body["error"]["field"]
    return {name: value for name, value in body.items() if name not in ("decision", "age_ms", "results")}


USERS = [
    "u1",
    "p1",
    "nobody",
    "%75%31",
    "%C3%A4%20%C3%B6",
    "%E5%90%8D",
    "%FF",
    "50%25",
    "a+b",
    "x%00y",
    "u" * 256,
    "%F0%9F%8D%BF",
]
QUERIES = [
    "", "k=5", "k=05", "k=005", "k=0", "k=101", "k=", "k=five", "k=5.0", "k=+5", "k=5&k=7", "k=%35",
    "category=Drama", "category=Sci-Fi&k=3", "category=", "category=Knitting", "category=%C3%A4",
    "exclude=i1,i2", "exclude=i1&exclude=i2", "exclude=", "exclude=,,", "exclude=" + ",".join(["x"] * 1001),
    "surface=player", "surface=", "session=s1", "session=", "session=" + "s" * 257,
    "&&", "=", "=x", "k", "limit=5", "category=%FF", "k=5;k=6", "k=5#", "surface=a%26b",
]  # fmt: skip


@pytest.mark.parametrize("user", USERS)
def test_every_id_gets_the_same_answer_from_both(server: Api, user: str) -> None:
    target = f"/v1/users/{user}/recommendations?k=7"
    hot, bare = server.client.get(target), bare_fastapi(server, "GET", target)
    assert (hot.status_code, bare.status_code) == (200, 200)
    assert comparable(hot) == comparable(bare)
    assert hot.headers["content-type"] == bare.headers["content-type"] == "application/json"


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_gets_the_same_answer_from_both(server: Api, query: str) -> None:
    target = f"/v1/users/u1/recommendations?{query}"
    hot, bare = server.client.get(target), bare_fastapi(server, "GET", target)
    assert hot.status_code == bare.status_code
    assert hot.status_code in (200, 422)
    assert comparable(hot) == comparable(bare)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"type":"interaction"}',
        b'{"type":"interaction","user":"hot","item":"i1","kind":"click"}',
        b'[{"type":"interaction","user":"hot","item":"i1","kind":"click"},{"type":"?"}]',
        b'{"type":"interaction","user":"hot","item":"i1","kind":"click","time":"2026-01-31T12:00:00Z"}',
    ],
)  # fmt: skip
def test_every_body_gets_the_same_receipt_from_both(server: Api, body: bytes) -> None:
    hot = server.client.post("/v1/events", content=body)
    bare = bare_fastapi(server, "POST", "/v1/events", body)
    assert hot.status_code == bare.status_code
    assert comparable(hot) == comparable(bare)


def test_other_methods_and_neighbouring_paths_fall_through(server: Api) -> None:
    for method, target, status in (
        ("POST", "/v1/users/u1/recommendations", 405),
        ("DELETE", "/v1/users/u1/recommendations", 405),
        ("GET", "/v1/events", 405),
        ("GET", "/v1/users//recommendations", 404),
        ("GET", "/v1/users/a/b/recommendations", 404),
        ("GET", "/v1/users/u1/recommendations/", 404),
        ("POST", "/v1/events/", 404),
        ("GET", "/v1/nothing", 404),
    ):
        answer = server.client.request(method, target)
        followed = answer.status_code in (307, 308) or answer.status_code == status
        assert followed, (method, target, answer.status_code)
        assert answer.status_code < 500


def raw(server: Api, data: bytes) -> int:
    """The status of an answer to bytes that no client library would send; 0 when the connection is closed."""
    address = httpx.URL(server.base)
    with socket.create_connection((address.host, address.port or 80), 10) as connection:
        connection.sendall(data)
        line = connection.recv(4096).split(b"\r\n")[0].split()
    return int(line[1]) if len(line) > 1 else 0


@pytest.mark.parametrize("path", [b"/v1/users/\xc3\xa4/recommendations", b"/v1/users/\xff/recommendations", b"/v1/\xff", b"*"])
def test_bytes_that_are_no_url_are_the_callers_fault(server: Api, path: bytes) -> None:
    status = raw(server, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status < 500
    assert server.client.get("/health").status_code == 200


@pytest.mark.parametrize("query", [b"k=\xff", b"category=\xc3\xa4", b"%", b"a%2", b"\x7f"])
def test_bytes_that_are_no_query_are_the_callers_fault(server: Api, query: bytes) -> None:
    status = raw(server, b"GET /v1/users/u1/recommendations?" + query + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status < 500


def test_a_client_that_leaves_in_the_middle_of_its_body_does_no_harm(server: Api) -> None:
    address = httpx.URL(server.base)
    with socket.create_connection((address.host, address.port or 80), 10) as connection:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b'{"type":')
    answer = server.client.post(
        "/v1/events", content=json.dumps({"type": "interaction", "user": "hot", "item": "i1", "kind": "c"})
    )
    assert answer.status_code == 202
