"""``GET /v1/users/{user}/recommendations`` over a real server: whose answer, how many, what never, how fresh."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

import world
from api import Api, api, eventually
from tastemaker.config import Config, Streaming
from tastemaker.domain import Interaction
from tastemaker.registry import live
from tastemaker.slates.stored import decode_whole
from tastemaker.storage import Storage, keys
from tastemaker.streaming.worker import Worker

CLICKS = {
    user: {click.item for click in world.interactions(120, 80, 25, 0) if click.user == user} for user in ("u0", "u1", "u2", "u3")
}


def items(answer: dict[str, object]) -> list[str]:
    found = answer["items"]
    assert isinstance(found, list)
    return [row["item"] for row in found]


@pytest.mark.parametrize("user", sorted(CLICKS))
def test_a_known_user_gets_the_stored_slate_without_what_was_clicked(published: tuple[Storage, Config], user: str) -> None:
    storage, config = published
    now = live.read(storage.kv)
    assert now is not None
    slate = decode_whole(storage.kv.get([keys.whole(now.version, user)])[0] or b"")
    with api(storage, config) as server:
        answer = server.ask(user)
    assert (answer["user"], answer["model"], answer["rung"]) == (user, now.version, "personal")
    assert items(answer) == [offer.item for offer in slate.items[:10]]
    assert not CLICKS[user] & set(items(answer))
    assert answer["age_ms"] > 0
    first = answer["items"][0]
    assert first["source"] == "als"
    assert first["title"] == f"Film {first['item'][1:]}"
    assert first["reasons"][0]["item"] in CLICKS[user]
    assert first["reasons"][0]["text"].startswith("Because you watched Film ")


def test_shorter_and_longer_answers_are_parts_of_the_same_list(published: tuple[Storage, Config]) -> None:
    with api(*published) as server:
        lists = {k: items(server.ask("u1", k=k)) for k in (1, 3, 10, 30)}
        long = server.ask("u1", k=55)
    assert [len(found) for found in lists.values()] == [1, 3, 10, 30]
    assert all(lists[30][: len(found)] == found for found in lists.values())
    assert len(items(long)) == 55  # 80 items without the 25 that were clicked
    assert items(long)[:30] == lists[30]
    assert "note" not in long


def test_when_less_is_left_than_asked_for_the_note_says_so(published: tuple[Storage, Config]) -> None:
    with api(*published) as server:
        answer = server.ask("u1", k=100)
    assert len(items(answer)) == 55
    assert answer["note"] == "every item that may be shown was consumed or excluded"


def test_excluded_items_are_left_out_and_the_rest_moves_up(published: tuple[Storage, Config]) -> None:
    with api(*published) as server:
        whole = items(server.ask("u2", k=12))
        answer = server.ask("u2", k=10, exclude=f"{whole[0]},{whole[4]},unheard-of")
    assert items(answer) == [item for item in whole if item not in (whole[0], whole[4])]


def test_a_category_filters_and_an_unknown_one_explains_itself(published: tuple[Storage, Config]) -> None:
    known = {change.item: change.categories for change in world.catalogue(80)}
    with api(*published) as server:
        answer = server.ask("u1", k=5, category="Horror")
        nothing = server.ask("u1", category="Knitting")
    assert len(items(answer)) == 5
    assert all("Horror" in known[item] for item in items(answer))
    assert (answer["rung"], nothing["rung"]) == ("personal", "empty")
    assert (nothing["items"], nothing["note"]) == ([], "no item has category 'Knitting'")


def test_stated_preferences_give_the_rung_segment(published: tuple[Storage, Config]) -> None:
    known = {change.item: change.categories for change in world.catalogue(80)}
    with api(*published) as server:
        answer = server.ask("p1")
    assert answer["rung"] == "segment"
    assert all(world.category(1) in known[item] for item in items(answer))


def test_a_stranger_gets_what_is_popular(published: tuple[Storage, Config]) -> None:
    with api(*published) as server:
        answer = server.ask("never heard of")
    assert answer["rung"] == "popular"
    assert {row["source"] for row in answer["items"]} == {"popular"}
    assert len(items(answer)) == 10


def test_a_click_is_gone_from_the_answer_within_a_second(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config, Worker(storage, config)) as server:
        first = items(server.ask("u3"))[0]
        event = {"type": "interaction", "user": "u3", "item": first, "kind": "click"}
        assert server.client.post("/v1/events", json=event).status_code == 202
        began = time.monotonic()
        assert eventually(lambda: first not in items(server.ask("u3")))
        assert time.monotonic() - began < 2.0  # one second, and another for a machine that is busy
        assert server.ask("u3")["rung"] == "personal"


def test_an_answer_knows_every_applied_event_although_no_slate_was_made(published: tuple[Storage, Config]) -> None:
    storage, config = published
    offered = decode_whole(
        storage.kv.get([keys.whole((live.read(storage.kv) or pytest.fail("nothing live")).version, "u1")])[0] or b""
    )
    now = int(time.time() * 1000)
    clicks = [Interaction(f"late-{n}", now, "u1", offer.item, "click") for n, offer in enumerate(offered.items[:3])]
    storage.log.append(clicks).result()
    worker = Worker(storage, replace(config, streaming=Streaming(batch=1, refresh_lag=0)))
    worker.step()
    worker.step()  # a third waits: two are applied, without a new slate
    with api(storage, config) as server:
        shown = items(server.ask("u1", k=20))
    worker.stop()
    assert not {click.item for click in clicks[:2]} & set(shown)
    assert clicks[2].item in shown


def test_titles_and_filters_of_a_stored_slate_follow_the_catalogue(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        before = items(server.ask("u1"))
        renamed = {"title": "Another title", "categories": ["Drama"]}
        assert server.client.put(f"/v1/items/{before[1]}", json=renamed).status_code == 200
        assert server.client.put(f"/v1/items/{before[0]}", json=renamed | {"active": False}).status_code == 200
        assert server.client.delete(f"/v1/items/{before[2]}").status_code == 200
        answer = server.ask("u1")
        fresh = server.ask("u1", k=50)  # more than is stored: composed anew
        stranger = server.ask("nobody", k=100)
    assert items(answer)[0] == before[1]
    assert answer["items"][0]["title"] == "Another title"
    for found in (answer, fresh, stranger):
        assert not {before[0], before[2]} & set(items(found))
    assert len(items(fresh)) == 50


def test_before_anything_is_known_the_answer_is_empty_and_says_why(storage: Storage, home: Config) -> None:
    with api(storage, home) as server:
        answer = server.ask("u1")
        assert (answer["items"], answer["rung"], answer["model"]) == ([], "empty", None)
        assert answer["note"].startswith("the catalogue is empty")
        assert server.client.put("/v1/items/i1", json={"title": "First"}).status_code == 200
        answer = server.ask("u1", k=1)
    assert (items(answer), answer["rung"]) == (["i1"], "popular")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("k=0", "k"),
        ("k=101", "k"),
        ("k=-1", "k"),
        ("k=ten", "k"),
        ("k=", "k"),
        ("k=1.5", "k"),
        ("sufrace=home", "sufrace"),
        ("surface=", "surface"),
        ("category=", "category"),
        ("session=" + "s" * 257, "session"),
        ("exclude=" + ",".join(["x"] * 1001), "exclude"),
        ("category=%FF", "query"),
    ],
)
def test_a_wrong_parameter_is_named(bare: Api, query: str, field: str) -> None:
    answer = bare.client.get(f"/v1/users/u1/recommendations?{query}")
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["field"] == field
    assert error["remedy"]


def test_an_id_of_more_than_256_characters_is_refused(bare: Api) -> None:
    assert bare.client.get(f"/v1/users/{'u' * 256}/recommendations").status_code == 200
    answer = bare.client.get(f"/v1/users/{'u' * 257}/recommendations")
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "user")


def test_the_servers_own_length_of_an_answer_can_be_set(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, replace(config, serving=replace(config.serving, k=4))) as server:
        assert len(items(server.ask("u1"))) == 4
