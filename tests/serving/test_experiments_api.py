"""Experiments over HTTP: their life, who may do what, and what is answered to a wrong request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api import Api, api
from tastemaker.config import Config
from tastemaker.storage import Storage

CARDS: dict[str, Any] = {"name": "cards", "arms": [{"name": "control"}, {"name": "diverse", "settings": {"diversity": 0.3}}]}


class Admin:
    """A client with an admin's key."""

    def __init__(self, server: Api) -> None:
        self.server = server
        self.headers = {"x-api-key": server.storage.tables.keys.create("admin", ("admin",), 1)}

    def post(self, path: str, body: Any = None) -> httpx.Response:
        return self.server.client.post(f"/v1/experiments{path}", json=body, headers=self.headers)

    def get(self, path: str) -> httpx.Response:
        return self.server.client.get(f"/v1{path}")


@pytest.fixture
def admin(storage: Storage, home: Config) -> Iterator[Admin]:
    with api(storage, home) as server:
        yield Admin(server)


def test_an_experiment_lives_its_life(admin: Admin) -> None:
    made = admin.post("", CARDS | {"coverage": 0.5})
    assert (made.status_code, made.json()["name"]) == (201, "cards")
    assert admin.post("/cards/start").json()["state"] == "running"
    assert admin.post("/cards/ramp", {"coverage": 0.75}).json()["coverage"] == 0.75
    assert admin.get("/experiments/cards").json()["coverage"] == 0.75
    assert [row["name"] for row in admin.get("/experiments").json()] == ["cards"]
    ended = admin.post("/cards/stop", {"outcome": "kept"}).json()
    assert (ended["state"], ended["outcome"]) == ("stopped", "kept")


def test_stopping_needs_no_body(admin: Admin) -> None:
    admin.post("", CARDS)
    admin.post("/cards/start")
    assert admin.server.client.post("/v1/experiments/cards/stop", headers=admin.headers).status_code == 200


def test_a_user_can_be_asked_for_arms_and_reasons(admin: Admin) -> None:
    admin.post("", CARDS | {"forced": {"ann": "diverse"}, "stop": 0.5})
    assert admin.get("/users/ann/experiments").json()["experiments"] == []
    admin.post("/cards/start")
    found = admin.get("/users/ann/experiments").json()["experiments"]
    assert [(row["experiment"], row["arm"], row["reason"]) for row in found] == [("cards", "diverse", "forced")]
    others = [admin.get(f"/users/u{n}/experiments").json()["experiments"][0] for n in range(40)]
    assert {row["reason"] for row in others} == {"hashed", "slice"}
    assert all((row["reason"] == "hashed") == (row["arm"] != "") for row in others)


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("", {"name": "x"}, 422, "arms"),
        ("", CARDS | {"arm": []}, 422, "arm"),
        ("", CARDS | {"kind": "abc"}, 422, "kind"),
        ("", CARDS | {"name": "a b"}, 422, "name"),
        ("", CARDS | {"metrics": ["crt"]}, 422, "metrics"),
        ("", CARDS | {"arms": [{"name": "a"}, {"name": "b", "settings": {"divers": 1}}]}, 422, "settings.divers"),
        ("/cards/ramp", {"coverage": 2}, 422, "coverage"),
        ("/cards/ramp", {}, 422, "coverage"),
        ("/cards/stop", {"outcom": "x"}, 422, "outcom"),
        ("/nothing/start", None, 404, "none of that name"),
        ("/nothing/ramp", {"coverage": 1}, 404, "none of that name"),
        ("/cards/stop", None, 409, "only one that runs can be stopped"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_what_is_wrong(admin: Admin, path: str, body: Any, status: int, says: str) -> None:
    assert admin.post("", CARDS).status_code == 201
    answer = (
        admin.post(path, body) if body is not None else admin.server.client.post(f"/v1/experiments{path}", headers=admin.headers)
    )
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert says in (error["field"] if status == 422 else error["message"])


def test_only_admins_change_experiments(admin: Admin) -> None:
    client = admin.server.client
    admin.post("", CARDS)
    reader = {"x-api-key": admin.server.storage.tables.keys.create("reader", ("read", "write"), 1)}
    for path in ("", "/cards/start", "/cards/ramp", "/cards/stop"):
        assert client.post(f"/v1/experiments{path}", json=CARDS).status_code == 401
        assert client.post(f"/v1/experiments{path}", json=CARDS, headers=reader).status_code == 403
    assert admin.get("/experiments/cards").json().get("state", "draft") == "draft"
