"""Requests that nobody thought of: from the API's own description, and from plain garbage. Never a 5xx."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok

from api import Api, api
from tastemaker.config import Config
from tastemaker.storage import Storage

CALM = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=30)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12
)
FIELDS = (
    "type id time user item kind value decision position context fields preferences released mature_at categories active "
    "segment unit arm"
)
names = st.sampled_from(FIELDS.split())
parameters = st.sampled_from(["k", "surface", "category", "exclude", "session", "other"])
tags = st.sampled_from(["interaction", "view", "item", "user", "exposure", "decision", "erase", "nonsense"])
likely = st.text(min_size=1, max_size=10) | st.integers(0, 2**45) | st.floats(-10, 10) | st.booleans()
events = st.builds(lambda tag, rest: {"type": tag} | rest, tags, st.dictionaries(names, likely | trees, max_size=8))


BODIES = (
    "PUT /v1/items/x",
    "POST /v1/items",
    "PUT /v1/users/x",
    "POST /v1/users",
    "PUT /v1/users/x/preferences",
    "POST /v1/sessions/recommendations",
)


def json_of(tree: object) -> bytes:
    return msgspec.json.encode(tree)


@CALM
@given(body=st.binary(max_size=200) | trees.map(json_of) | events.map(json_of) | st.lists(events, max_size=5).map(json_of))
def test_no_body_makes_the_events_route_fail(bare: Api, body: bytes) -> None:
    answer = bare.client.post("/v1/events", content=body)
    assert answer.status_code in (202, 422), answer.text
    receipt = answer.json()
    if "results" in receipt:
        assert receipt["accepted"] + receipt["duplicates"] + receipt["rejected"] == len(receipt["results"])
        assert [result["index"] for result in receipt["results"]] == list(range(len(receipt["results"])))


@CALM
@given(
    user=st.text(min_size=1, max_size=40).filter(lambda name: name not in (".", "..")),  # which mean something in a URL
    query=st.lists(st.tuples(parameters | st.text(max_size=5), st.text(max_size=12)), max_size=4),
)
def test_no_query_makes_the_recommendations_fail(bare: Api, user: str, query: list[tuple[str, str]]) -> None:
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
    answer = bare.client.get(f"/v1/users/{quote(user, safe='')}/recommendations?{text}")
    if answer.status_code == 200:
        assert answer.json()["user"] == user
    else:
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"]["remedy"]


@CALM
@given(text=st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="# "), max_size=60))
def test_no_raw_query_string_makes_the_recommendations_fail(bare: Api, text: str) -> None:
    answer = bare.client.get(f"/v1/users/u1/recommendations?{text}")
    assert answer.status_code in (200, 422), answer.text


@CALM
@given(
    route=st.sampled_from(BODIES),
    body=st.binary(max_size=60)
    | trees.map(json_of)
    | st.dictionaries(names, likely | trees, max_size=6).map(json_of)
    | st.lists(st.dictionaries(names, likely, max_size=6), max_size=3).map(json_of),
)
def test_no_body_makes_another_route_fail(bare: Api, route: str, body: bytes) -> None:
    method, path = route.split(" ")
    answer = bare.client.request(method, path, content=body)
    assert answer.status_code in (200, 422), (route, answer.text)


texts = st.sampled_from(["a", "control", "als-1", "ctr", "home", "", "diversity", "cap", "x" * 70]) | st.text(max_size=5)
numbers = st.sampled_from([0, 0.5, 1, 1.5, -1, 1e308, 2**63]) | st.floats()
arms = st.fixed_dictionaries(
    {"name": texts},
    optional={"weight": numbers, "model": texts, "settings": st.dictionaries(texts, numbers | st.text(max_size=3), max_size=3)},
)
DRAFT = {"name": "cards", "arms": [{"name": "control"}, {"name": "other"}]}
fields = {
    "name": texts, "arms": st.lists(arms, max_size=3), "kind": st.sampled_from(["ab", "interleaving", "abc"]), "layer": texts,
    "start": numbers, "stop": numbers, "salt": texts, "coverage": numbers, "surfaces": st.lists(texts, max_size=2),
    "metrics": st.lists(texts, max_size=2), "mde": numbers, "guardrails": st.dictionaries(texts, numbers, max_size=2),
    "forced": st.dictionaries(texts, texts, max_size=2), "planned": numbers, "sticky": st.booleans() | texts, "state": texts,
    "version": numbers,
}  # fmt: skip
changes = st.lists(st.one_of(*(st.tuples(st.just(name), strategy) for name, strategy in fields.items())), max_size=2)
drafts = changes.map(lambda pairs: DRAFT | dict(pairs))


def test_no_experiment_makes_the_server_fail(storage: Storage, home: Config) -> None:
    with api(storage, home) as server:
        headers = {"x-api-key": storage.tables.keys.create("admin", ("admin",), 1)}
        written = 0

        @CALM
        @given(draft=drafts | st.dictionaries(texts, trees, max_size=3), coverage=numbers | trees)
        def attack(draft: dict[str, Any], coverage: object) -> None:
            nonlocal written
            path = "/v1/experiments"
            answer = server.client.post(path, content=json_of(draft), headers=headers)
            assert answer.status_code in (201, 409, 422), answer.text
            written += answer.status_code == 201
            name = quote(str(draft.get("name", "")) or "-", safe="")
            for step, body in (("start", b""), ("ramp", json_of({"coverage": coverage})), ("stop", json_of({"outcome": "x"}))):
                answer = server.client.post(f"{path}/{name}/{step}", content=body, headers=headers)
                assert answer.status_code in (200, 404, 405, 409, 422), answer.text
            assert server.client.get("/v1/users/u1/recommendations").status_code == 200

        attack()
    assert written > 0


def test_no_request_made_from_the_description_makes_the_server_fail(storage: Storage, home: Config) -> None:
    failures: list[str] = []
    with api(storage, home) as server:
        schema = schemathesis.openapi.from_url(f"{server.base}/openapi.json")
        tried = 0
        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result

            @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=result.ok().as_strategy())
            def attack(case: schemathesis.Case[Any]) -> None:
                nonlocal tried
                answer = case.call()
                tried += 1
                if answer.status_code >= 500:
                    failures.append(f"{case.method} {case.path}: {answer.status_code} {answer.text}")

            attack()
    assert failures == []
    assert tried > 100
