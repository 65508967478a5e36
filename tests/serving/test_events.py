"""``POST /v1/events`` over a real server: receipts, repeats, quarantine, limits, and durability before the answer."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from api import Api, api, logged
from tastemaker.config import Config
from tastemaker.domain import Interaction, ItemChange, UserChange, View
from tastemaker.storage import Storage, connect

CLICK = {"type": "interaction", "user": "u1", "item": "i7", "kind": "click"}


def post(server: Api, body: object) -> httpx.Response:
    return server.client.post("/v1/events", json=body)


def rejected(server: Api, event: object) -> dict[str, Any]:
    """The result of an event that must be refused."""
    answer = post(server, event)
    assert answer.status_code == 422, answer.text
    (result,) = answer.json()["results"]
    assert result["status"] == "rejected"
    found: dict[str, Any] = result
    return found


def test_an_acknowledged_event_is_in_the_log_with_id_and_time(storage: Storage, home: Config) -> None:
    before = int(time.time() * 1000)
    with api(storage, home) as server:
        answer = post(server, CLICK)
        found = [event for event in logged(storage) if isinstance(event, Interaction)]
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    receipt = answer.json()
    assert (receipt["accepted"], receipt["duplicates"], receipt["rejected"]) == (1, 0, 0)
    (event,) = found
    assert receipt["results"] == [{"index": 0, "status": "accepted", "id": event.id}]
    assert before <= event.time <= int(time.time() * 1000)
    assert (event.user, event.item, event.kind) == ("u1", "i7", "click")


def test_what_was_acknowledged_is_there_when_the_file_is_opened_by_another(storage: Storage, home: Config) -> None:
    with api(storage, home) as server:
        assert post(server, [CLICK | {"id": f"e{number}"} for number in range(100)]).status_code == 202
        with connect(home) as other:  # while the first has not closed anything
            assert {event.id for event in logged(other)} == {f"e{number}" for number in range(100)}


def test_every_kind_of_event_that_can_be_sent_is_kept_as_it_was(storage: Storage, home: Config) -> None:
    batch = [
        CLICK | {"id": "1", "time": 5, "value": 4.5, "decision": "d", "position": 3, "context": {"device": "tv", "n": 1.5}},
        {"type": "view", "id": "2", "time": 6, "user": "u1", "decision": "d", "item": "i9", "visible_ms": 1800},
        {"type": "item", "id": "3", "time": 7, "item": "i9", "title": "Alien", "categories": ["Sci-Fi", "Film Noir"]},
        {"type": "user", "id": "4", "time": 8, "user": "u1", "preferences": {"Drama": 5}},
        {"type": "exposure", "id": "5", "time": 9, "experiment": "x", "unit": "u1", "arm": "a"},
    ]
    with api(storage, home) as server:
        assert post(server, batch).json()["accepted"] == 5
    found = {event.id: event for event in logged(storage)}
    assert found["1"] == Interaction("1", 5, "u1", "i7", "click", 4.5, "d", position=3, context={"device": "tv", "n": 1.5})
    assert found["2"] == View("2", 6, "u1", "d", "i9", visible_ms=1800)
    assert found["3"] == ItemChange("3", 7, "i9", "Alien", ("Sci-Fi", "Film Noir"))
    assert found["4"] == UserChange("4", 8, "u1", {"Drama": 5.0})
    assert set(found) == {"1", "2", "3", "4", "5"}


def test_a_batch_keeps_the_good_events_and_reports_the_bad_ones_by_index(storage: Storage, home: Config) -> None:
    batch = [
        CLICK | {"id": "good-1", "time": 1},
        CLICK | {"positon": 3},
        {"type": "click", "user": "u1"},
        "not an object",
        CLICK | {"id": "good-2"},
        {"type": "interaction", "user": "u1", "kind": "click"},
        CLICK | {"value": "five"},
    ]
    with api(storage, home) as server:
        answer = post(server, batch)
    receipt = answer.json()
    assert answer.status_code == 202
    assert (receipt["accepted"], receipt["rejected"]) == (2, 5)
    assert [(result["index"], result["status"]) for result in receipt["results"]] == [
        (0, "accepted"), (1, "rejected"), (2, "rejected"), (3, "rejected"), (4, "accepted"), (5, "rejected"), (6, "rejected"),
    ]  # fmt: skip
    assert [result.get("field") for result in receipt["results"]] == [None, "positon", "type", "event", None, "item", "value"]
    assert 'did you mean "position"?' in receipt["results"][1]["remedy"]
    assert {event.id for event in logged(storage)} == {"good-1", "good-2"}
    lines = (home.home / "quarantine" / "events.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines] == [batch[1], batch[2], batch[3], batch[5], batch[6]]
    assert json.loads(lines[0])["field"] == "positon"


def test_a_quarantine_that_cannot_be_written_costs_no_good_event(storage: Storage, home: Config) -> None:
    home.home.mkdir(parents=True, exist_ok=True)
    (home.home / "quarantine").write_text("a file where the folder should be")
    with api(storage, home) as server:
        answer = post(server, [CLICK | {"id": "good"}, CLICK | {"kind": ""}])
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (202, 1, 1)
    assert [event.id for event in logged(storage)] == ["good"]


def test_an_id_that_comes_again_is_a_duplicate_and_stored_once(storage: Storage, home: Config) -> None:
    event = CLICK | {"id": "once", "time": 9}
    with api(storage, home) as server:
        first, again = post(server, event), post(server, event)
        batch = post(server, [event, CLICK | {"id": "twice"}, CLICK | {"id": "twice"}])
    assert (first.status_code, again.status_code, batch.status_code) == (202, 202, 202)
    assert again.json()["results"] == [{"index": 0, "status": "duplicate", "id": "once"}]
    assert [result["status"] for result in batch.json()["results"]] == ["duplicate", "accepted", "duplicate"]
    assert sorted(event.id for event in logged(storage)) == ["once", "twice"]


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("2026-01-31T12:00:00Z", 1_769_860_800_000),
        ("2026-01-31T12:00:00.001Z", 1_769_860_800_001),
        ("2026-01-31T14:00:00+02:00", 1_769_860_800_000),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_iso_times_become_milliseconds_to_the_last_one(storage: Storage, home: Config, text: str, millis: int) -> None:
    with api(storage, home) as server:
        assert post(server, CLICK | {"time": text, "mature_at": text}).status_code == 202
        assert post(server, {"type": "item", "item": "i1", "time": 5, "released": text}).status_code == 202
        assert post(server, {"type": "item", "item": "i2", "released": None}).status_code == 202
    found = {str(getattr(event, "item", "")): event for event in logged(storage)}
    click, first, second = found["i7"], found["i1"], found["i2"]
    assert isinstance(click, Interaction)
    assert isinstance(first, ItemChange)
    assert isinstance(second, ItemChange)
    assert (click.time, click.mature_at, first.released, second.released) == (millis, millis, millis, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"time": "2026-01-31T12:00:00"}, "time"),
        ({"time": "yesterday"}, "time"),
        ({"time": -1}, "time"),
        ({"time": 1.5}, "time"),
        ({"time": int(time.time() * 1000) + 49 * 3_600_000}, "time"),
        ({"mature_at": "tomorrow"}, "mature_at"),
        ({"id": ""}, "id"),
        ({"id": None}, "id"),
        ({"id": "x" * 257}, "id"),
        ({"user": ""}, "user"),
        ({"item": 7}, "item"),
        ({"kind": "k" * 65}, "kind"),
        ({"value": 1e300}, "value"),
        ({"position": 2**63}, "position"),
        ({"context": {"a": [1]}}, "context.*"),
        ({"type": "decision"}, "type"),
        ({"type": "erase"}, "type"),
        ({"type": None}, "type"),
    ],
)
def test_a_wrong_field_is_named_with_a_remedy(bare: Api, change: dict[str, Any], field: str) -> None:
    result = rejected(bare, CLICK | change)
    assert result["field"] == field
    assert result["remedy"]
    assert logged(bare.storage) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"   ", b"{", b"nonsense", b"[1,", b"\xff\xfe", b"[]", b'"text"', b"7", b"null", b"[" * 50_000, b'{"type":' * 50_000],
)
def test_a_body_that_is_no_event_is_a_clear_422(bare: Api, body: bytes) -> None:
    answer = bare.client.post("/v1/events", content=body)
    assert answer.status_code == 422
    assert answer.json()
    assert logged(bare.storage) == []


def test_more_events_than_allowed_are_refused_as_a_whole(storage: Storage, home: Config) -> None:
    small = replace(home, serving=replace(home.serving, max_batch=3))
    with api(storage, small) as server:
        assert post(server, [CLICK] * 3).status_code == 202
        answer = post(server, [CLICK] * 4)
    assert answer.status_code == 422
    assert "serving.max_batch" in answer.json()["error"]["remedy"]
    assert len(logged(storage)) == 3


def test_a_body_that_is_too_long_is_413_on_every_route_however_it_is_sent(storage: Storage, home: Config) -> None:
    small = replace(home, serving=replace(home.serving, max_body=2048))
    long = json.dumps([CLICK | {"session": "s" * 200}] * 20).encode()

    def pieces() -> Any:
        for start in range(0, len(long), 100):
            yield long[start : start + 100]

    with api(storage, small) as server:
        for method, path in (
            ("POST", "/v1/events"),
            ("POST", "/v1/items"),
            ("PUT", "/v1/items/i1"),
            ("POST", "/v1/users"),
            ("PUT", "/v1/users/u1"),
            ("PUT", "/v1/users/u1/preferences"),
            ("POST", "/v1/sessions/recommendations"),
        ):
            for content in (long, pieces()):
                answer = server.client.request(method, path, content=content)
                assert (answer.status_code, "serving.max_body" in answer.text) == (413, True), (method, path)
    assert logged(storage) == []


def test_when_the_log_is_away_events_are_503_and_to_be_sent_again(storage: Storage, home: Config) -> None:
    with api(storage, home) as server:
        storage.log.close()
        answer = post(server, CLICK | {"id": "lost?"})
        del storage.__dict__["log"]
        again = post(server, CLICK | {"id": "lost?"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert again.json()["accepted"] == 1
    assert [event.id for event in logged(storage)] == ["lost?"]
