"""Items and users over a real server: written whole or not at all, readable at once, and gone when they are deleted."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest

from api import Api, api, eventually, logged
from tastemaker.config import Config
from tastemaker.domain import Erase, ItemChange, UserChange
from tastemaker.registry import live
from tastemaker.storage import Storage, keys
from tastemaker.streaming.worker import Worker

FILM = {
    "title": "Alien",
    "categories": ["Horror", "Film Noir"],
    "text": "In space",
    "active": True,
    "released": "1979-05-25T00:00:00.001Z",
    "fields": {"minutes": 117, "colour": True},
}


def test_an_item_is_readable_as_written_and_its_change_is_in_the_log(storage: Storage, home: Config) -> None:
    with api(storage, home) as server:
        assert server.client.get("/v1/items/i1").status_code == 404
        written = server.client.put("/v1/items/i1", json=FILM).json()
        found = server.client.get("/v1/items/i1").json()
    assert written == found
    assert found.pop("time") > 0
    assert found == FILM | {"item": "i1", "released": 296_438_400_001}
    (event,) = logged(storage)
    assert isinstance(event, ItemChange)
    assert (event.item, event.title, event.released) == ("i1", "Alien", 296_438_400_001)


def test_a_put_replaces_the_whole_item(storage: Storage, home: Config) -> None:
    with api(storage, home) as server:
        server.client.put("/v1/items/i1", json=FILM)
        time.sleep(0.002)
        server.client.put("/v1/items/i1", json={"title": "Aliens"})
        found = server.client.get("/v1/items/i1").json()
    assert (found["title"], found["categories"], found["fields"], found.get("released")) == ("Aliens", [], {}, None)


def test_ids_may_hold_any_character(storage: Storage, home: Config) -> None:
    with api(storage, home) as server:
        for name in ("ä ö", "50%", "a+b", "q?x=1", "名前"):
            path = quote(name, safe="")
            assert server.client.put(f"/v1/items/{path}", json={"title": name}).status_code == 200
            assert server.client.get(f"/v1/items/{path}").json()["item"] == name
            assert server.client.put(f"/v1/users/{path}", json={"segment": "x"}).status_code == 200
            assert server.client.get(f"/v1/users/{path}").json()["user"] == name


def test_a_bulk_upsert_writes_all_or_nothing_and_names_what_is_wrong(storage: Storage, home: Config) -> None:
    good = [{"item": "i1", "title": "One"}, {"item": "i2"}]
    with api(storage, home) as server:
        for bad, field in (
            ({"item": "i3", "titel": "x"}, "[2].titel"),
            ({"title": "no id"}, "[2].item"),
            ({"item": "i3", "categories": "Drama"}, "[2].categories"),
            ({"item": "i3", "released": "1979-05-25T00:00:00"}, "[2].released"),
            ({"item": "i3", "released": "1950-01-01T00:00:00Z"}, "[2].released"),
        ):
            answer = server.client.post("/v1/items", json=[*good, bad])
            assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
        assert server.client.get("/v1/items").json() == []
        assert server.client.post("/v1/items", json=[]).status_code == 422
        assert server.client.post("/v1/items", json=good).json() == {"written": 2}
        assert [item["item"] for item in server.client.get("/v1/items").json()] == ["i1", "i2"]
    assert len(logged(storage)) == 2


def test_items_are_listed_page_by_page(storage: Storage, home: Config) -> None:
    with api(storage, home) as server:
        server.client.post("/v1/items", json=[{"item": f"i{number}"} for number in range(7)])
        seen: list[str] = []
        while page := server.client.get("/v1/items", params={"after": seen[-1] if seen else "", "limit": 3}).json():
            assert len(page) <= 3
            seen += [item["item"] for item in page]
        assert server.client.get("/v1/items", params={"limit": 0}).status_code == 422
    assert seen == [f"i{number}" for number in range(7)]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("i1", {"titel": "x"}, "titel"),
        ("i1", {"categories": [""]}, "categories[0]"),
        ("i1", {"released": -5}, "released"),
        ("i1", {"released": "1950-01-01T00:00:00Z"}, "released"),
        ("i1", {"released": "1979-05-25T00:00:00"}, "released"),
        ("i1", {"fields": {"a": [1]}}, "fields.*"),
        ("i1", [], "body"),
        ("x" * 257, {"title": "long id"}, "item"),
    ],
)
def test_a_wrong_item_is_a_422_that_names_the_field(bare: Api, path: str, body: Any, field: str) -> None:
    answer = bare.client.put(f"/v1/items/{path}", json=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert logged(bare.storage) == []


def test_a_deleted_item_is_neither_readable_nor_recommended_and_may_come_back(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        assert server.client.delete("/v1/items/unheard-of").status_code == 404
        first = server.ask("stranger")["items"][0]["item"]
        assert server.client.delete(f"/v1/items/{first}").json() == {"deleted": first}
        assert server.client.get(f"/v1/items/{first}").status_code == 404
        assert server.client.delete(f"/v1/items/{first}").status_code == 404
        for user in ("stranger", "u1", "p1"):
            assert first not in [row["item"] for row in server.ask(user, k=100)["items"]]
        time.sleep(0.002)
        server.client.put(f"/v1/items/{first}", json={"title": "Back"})
        assert first in [row["item"] for row in server.ask("stranger", k=100)["items"]]


def test_similar_items_come_from_the_model_and_for_a_cold_item_from_its_categories(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        warm = server.client.get("/v1/items/i8/similar", params={"k": 5}).json()
        server.client.put("/v1/items/cold", json={"categories": ["Horror"]})
        server.client.put(f"/v1/items/{warm['items'][0]['item']}", json={"active": False})
        again = server.client.get("/v1/items/i8/similar", params={"k": 5}).json()
        cold = server.client.get("/v1/items/cold/similar").json()
        unknown = server.client.get("/v1/items/unheard-of/similar")
        wrong = server.client.get("/v1/items/i8/similar", params={"k": 0})
    assert [row["source"] for row in warm["items"]] == ["als"] * 5
    assert "i8" not in [row["item"] for row in warm["items"]]
    same = [row for row in warm["items"] if int(row["item"][1:]) % 4 == 0]
    assert len(same) >= 4  # of the same category, for that is how the world is made
    assert warm["items"][0]["item"] not in [row["item"] for row in again["items"]]
    assert again["items"][:4] == warm["items"][1:]
    assert {row["source"] for row in cold["items"]} == {"categories"}
    assert len(cold["items"]) == 10
    assert (unknown.status_code, wrong.status_code) == (404, 422)


def test_when_the_live_model_knows_no_likeness_categories_stand_in(published: tuple[Storage, Config]) -> None:
    storage, config = published
    now = live.read(storage.kv)
    assert now is not None
    live.promote(storage, now.fallback.partition("/")[0], int(time.time() * 1000))
    with api(storage, config) as server:
        found = server.client.get("/v1/items/i8/similar").json()
    assert found["model"].startswith("popular")
    assert {row["source"] for row in found["items"]} == {"categories"}


def test_a_profile_is_merged_and_preferences_are_replaced(storage: Storage, home: Config) -> None:
    with api(storage, home) as server:
        assert server.client.get("/v1/users/u1").status_code == 404
        server.client.put("/v1/users/u1", json={"segment": "de", "fields": {"age": 30}})
        time.sleep(0.002)
        server.client.put("/v1/users/u1/preferences", json={"Drama": 5, "Horror": -2})
        time.sleep(0.002)
        server.client.put("/v1/users/u1", json={"preferences": {"Comedy": 1}})
        found = server.client.get("/v1/users/u1").json()
    assert found["segment"] == "de"
    assert found["fields"] == {"age": 30}
    assert found["preferences"] == {"Comedy": 1.0}
    assert (found["history"], found["applied"]) == ([], None)
    assert [type(event) for event in logged(storage)] == [UserChange] * 3


def test_many_users_are_written_all_or_none(storage: Storage, home: Config) -> None:
    with api(storage, home) as server:
        bad = server.client.post("/v1/users", json=[{"user": "u1"}, {"user": "u2", "preferences": {"Drama": "much"}}])
        assert (bad.status_code, bad.json()["error"]["field"]) == (422, "[1].preferences.*")
        assert server.client.get("/v1/users/u1").status_code == 404
        assert server.client.post("/v1/users", json=[]).status_code == 422
        assert server.client.put("/v1/users/" + "u" * 257, json={"segment": "x"}).status_code == 422
        good = server.client.post("/v1/users", json=[{"user": "u1", "segment": "a"}, {"user": "u2", "preferences": {"Drama": 1}}])
        assert good.json() == {"written": 2}
        assert server.client.get("/v1/users/u2").json()["preferences"] == {"Drama": 1.0}


def test_a_users_page_shows_history_and_the_last_event_applied(published: tuple[Storage, Config]) -> None:
    with api(*published) as server:
        found = server.client.get("/v1/users/u1").json()
    assert len(found["history"]) == 25
    assert [event["time"] for event in found["history"]] == sorted(event["time"] for event in found["history"])
    assert found["applied"]["offset"] >= 0


def test_stated_preferences_change_a_new_users_answer_at_once(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config, Worker(storage, config)) as server:
        assert server.ask("newcomer")["rung"] == "popular"
        server.client.put("/v1/users/newcomer/preferences", json={"Horror": 5})
        assert eventually(lambda: server.ask("newcomer")["rung"] == "segment", 2.0)
        assert server.ask("newcomer")["items"][0]["reasons"] == [{"kind": "category", "text": "Because you like Horror"}]


def test_erasing_a_user_needs_an_admin_and_leaves_nothing(published: tuple[Storage, Config]) -> None:
    storage, config = published
    secret = storage.tables.keys.create("boss", ["admin"], 0)
    with api(storage, config, Worker(storage, config)) as server:
        server.ask("u5")  # a decision that bears the name, too
        assert server.client.put("/v1/users/u5", json={"segment": "x"}).status_code == 200
        assert server.client.delete("/v1/users/u5").status_code == 401
        answer = server.client.delete("/v1/users/u5", headers={"authorization": f"Bearer {secret}"})
        assert answer.status_code == 200
        removed = answer.json()["removed"]
        assert removed["log"] >= 25
        assert removed["lake.interactions"] == 25
        assert {"kv.state", "kv.slate", "tables.users"} < set(removed)  # the worker may have been faster there
        assert eventually(lambda: storage.kv.get([keys.state("u5")]) == [None])
        assert server.client.get("/v1/users/u5").status_code == 404
        left = [event for event in logged(storage) if getattr(event, "user", None) == "u5"]
        assert [type(event) for event in left] == [Erase]
        assert server.ask("u5")["rung"] == "popular"
    assert storage.tables.users.get("u5") is None
