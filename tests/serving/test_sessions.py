"""``POST /v1/sessions/recommendations``: strangers bring their history along, and it is not kept."""

from __future__ import annotations

from typing import Any

import pytest

import world
from api import Api, api, decisions, logged
from tastemaker.config import Config
from tastemaker.domain import Interaction
from tastemaker.storage import Storage, keys


def ask(server: Api, **body: object) -> dict[str, Any]:
    answer = server.client.post("/v1/sessions/recommendations", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def items(answer: dict[str, Any]) -> list[str]:
    return [row["item"] for row in answer["items"]]


def test_a_session_gets_what_a_user_with_the_same_history_gets(published: tuple[Storage, Config]) -> None:
    storage, config = published
    clicks = [click for click in world.interactions(120, 80, 25, 0) if click.user == "u1"]
    with api(storage, config) as server:
        known = server.ask("u1")
        full = ask(server, history=[{"item": c.item, "kind": c.kind, "time": c.time} for c in clicks])
        short = ask(server, history=[click.item for click in clicks])
    assert (full["rung"], full["user"]) == ("personal", "anonymous")
    assert items(full) == items(short) == items(known)
    assert full["items"][0]["reasons"] == known["items"][0]["reasons"]


def test_one_click_is_enough_and_is_not_offered_again(published: tuple[Storage, Config]) -> None:
    with api(*published) as server:
        answer = ask(server, history=["i8"], k=12)
    assert answer["rung"] == "personal"
    assert len(items(answer)) == 12
    assert "i8" not in items(answer)
    assert answer["items"][0]["reasons"][0]["item"] == "i8"


def test_a_session_may_exclude_filter_and_state_preferences(published: tuple[Storage, Config]) -> None:
    with api(*published) as server:
        whole = ask(server, history=["i8"])
        answer = ask(server, history=["i8"], exclude=items(whole)[:3])
        comedy = ask(server, history=["i8"], category="Comedy", k=4)
        stated = ask(server, preferences={"Horror": 3})
        nobody = ask(server)
    assert not set(items(whole)[:3]) & set(items(answer))
    assert all(int(item[1:]) % 4 in (0, 1) for item in items(comedy))  # comedies, and each tenth drama is one as well
    assert (stated["rung"], nobody["rung"]) == ("segment", "popular")


def test_the_session_is_the_user_of_the_decision_and_nothing_else_is_kept(published: tuple[Storage, Config]) -> None:
    storage, config = published
    before = {key for key, _ in storage.kv.scan("state:")}
    clicks = sum(isinstance(event, Interaction) for event in logged(storage))
    with api(storage, config) as server:
        named = ask(server, history=["i8", "i9"], session="s-1", surface="player")
        nameless = ask(server, history=["i8"])
    assert (named["user"], nameless["user"]) == ("s-1", "anonymous")
    found = {decision.id: decision for decision in decisions(storage)}
    assert (found[named["decision"]].session, found[named["decision"]].surface) == ("s-1", "player")
    assert found[nameless["decision"]].user == "anonymous"
    assert {key for key, _ in storage.kv.scan("state:")} == before
    assert storage.kv.get([keys.state("s-1")]) == [None]
    assert sum(isinstance(event, Interaction) for event in logged(storage)) == clicks


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"historie": []}, "historie"),
        ({"history": [{"kind": "play"}]}, "history[0].item"),
        ({"history": ["i1", {"item": "i2", "time": "2026-01-31T12:00:00"}]}, "history[1].time"),
        ({"history": [""]}, "history[0]"),
        ({"history": ["i"] * 1001}, "history"),
        ({"k": 0}, "k"),
        ({"k": "5"}, "k"),
        ({"session": ""}, "session"),
        ({"category": ""}, "category"),
        ({"category": "c" * 257}, "category"),
        ({"surface": ""}, "surface"),
        ({"exclude": "i1"}, "exclude"),
        ({"preferences": {"Drama": None}}, "preferences.*"),
        ([], "body"),
    ],
)
def test_a_wrong_body_is_a_422_that_names_the_field(bare: Api, body: object, field: str) -> None:
    answer = bare.client.post("/v1/sessions/recommendations", json=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert answer.json()["error"]["remedy"]


def test_items_nobody_knows_and_events_worth_nothing_leave_a_stranger(published: tuple[Storage, Config]) -> None:
    with api(*published) as server:
        answer = ask(server, history=["unheard-of", "never seen"])
    assert answer["rung"] == "popular"
    assert len(items(answer)) == 10
