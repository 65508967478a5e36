"""The description that the server gives of itself: complete, resolvable, and its examples are true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from api import Api

DRAFT = {"name": "example", "coverage": 0.1, "arms": [{"name": "a"}, {"name": "b"}]}
METHODS = {"get", "put", "post", "delete", "patch"}


@pytest.fixture(scope="module")
def description(bare: Api) -> dict[str, Any]:
    answer = bare.client.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            if method in METHODS:
                yield path, method, operation


def walk(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from walk(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from walk(value)


def test_the_hot_routes_are_described_beside_all_others(description: dict[str, Any]) -> None:
    assert {(path, method) for path, method, _ in operations(description)} == {
        ("/v1/users/{user}/recommendations", "get"),
        ("/v1/events", "post"),
        ("/v1/users", "post"),
        ("/v1/users/{user}", "get"),
        ("/v1/users/{user}", "put"),
        ("/v1/users/{user}", "delete"),
        ("/v1/users/{user}/preferences", "put"),
        ("/v1/sessions/recommendations", "post"),
        ("/v1/items", "get"),
        ("/v1/items", "post"),
        ("/v1/items/{item}", "get"),
        ("/v1/items/{item}", "put"),
        ("/v1/items/{item}", "delete"),
        ("/v1/items/{item}/similar", "get"),
        ("/v1/models", "get"),
        ("/v1/models/{version}", "get"),
        ("/v1/models/{version}/promote", "post"),
        ("/v1/models/rollback", "post"),
        ("/health", "get"),
        ("/ready", "get"),
        ("/metrics", "get"),
        ("/v1/experiments", "get"),
        ("/v1/experiments", "post"),
        ("/v1/experiments/{name}", "get"),
        ("/v1/experiments/{name}/results", "get"),
        ("/v1/experiments/{name}/start", "post"),
        ("/v1/experiments/{name}/ramp", "post"),
        ("/v1/experiments/{name}/stop", "post"),
        ("/v1/users/{user}/experiments", "get"),
    }


def test_every_operation_has_a_sentence_a_tag_and_an_example_of_its_body(description: dict[str, Any]) -> None:
    for path, method, operation in operations(description):
        assert operation["description"].endswith("."), (method, path)
        assert operation["tags"], (method, path)
        if "requestBody" in operation:
            (content,) = operation["requestBody"]["content"].values()
            assert content["examples"], (method, path)
        elif method in ("put", "post"):
            assert path.startswith(("/v1/models/", "/v1/experiments/")), (method, path)


def test_every_parameter_of_the_recommendations_is_described(description: dict[str, Any]) -> None:
    parameters = description["paths"]["/v1/users/{user}/recommendations"]["get"]["parameters"]
    found = {parameter["name"]: parameter for parameter in parameters}
    assert set(found) == {"user", "k", "surface", "category", "exclude", "session"}
    assert all(parameter.get("description") for name, parameter in found.items() if name != "user")
    assert "1" in json.dumps(found["k"]["schema"])
    assert "100" in json.dumps(found["k"]["schema"])


def test_every_reference_leads_somewhere_and_everything_is_plain_json(description: dict[str, Any]) -> None:
    references = {node["$ref"] for node in walk(description) if isinstance(node.get("$ref"), str)}
    assert references
    for reference in references:
        node: Any = description
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert node
    assert "NaN" not in json.dumps(description)


def validator_of(description: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """A validator of a schema that refers to the description's components."""
    text = json.dumps({**schema, "$defs": description["components"]["schemas"]})
    return jsonschema_rs.Draft202012Validator(json.loads(text.replace("#/components/schemas/", "#/$defs/")))


def test_the_schemas_are_valid_and_the_examples_of_bodies_fit_them(description: dict[str, Any]) -> None:
    checked = 0
    for path, method, operation in operations(description):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schema = json.loads(json.dumps(content["schema"]).replace("#/components/schemas/", "#/$defs/"))
            definitions = json.loads(
                json.dumps(description["components"]["schemas"]).replace("#/components/schemas/", "#/$defs/")
            )
            validator = jsonschema_rs.Draft202012Validator(schema | {"$defs": definitions})
            for name, example in content["examples"].items():
                faults = [str(fault) for fault in validator.iter_errors(filled(path, example["value"]))]
                assert not faults, (method, path, name, faults)
                checked += 1
    assert checked >= 8


def filled(path: str, value: Any) -> Any:
    """Events as they are once the server has filled in what may be left out: id, and the time as milliseconds."""
    if path != "/v1/events":
        return value
    rows = value if isinstance(value, list) else [value]
    full = [{"id": "e", **row, "time": 1_769_860_800_000} for row in rows]
    return full if isinstance(value, list) else full[0]


def test_the_examples_are_accepted_by_the_server_itself(bare: Api, description: dict[str, Any]) -> None:
    headers = {"x-api-key": bare.storage.tables.keys.create("examples", ("admin",), 1)}
    drafted = bare.client.post("/v1/experiments", headers=headers, json=DRAFT)
    assert drafted.status_code == 201, drafted.text
    assert bare.client.post("/v1/experiments/example/start", headers=headers).status_code == 200
    for path, method, operation in operations(description):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for name, example in content["examples"].items():
                target = re.sub(r"\{\w+\}", "example", path)
                answer = bare.client.request(method, target, json=example["value"], headers=headers)
                assert answer.status_code in (200, 201, 202), (method, path, name, answer.text)


def test_the_answers_described_are_those_given(bare: Api, description: dict[str, Any]) -> None:
    operation = description["paths"]["/v1/users/{user}/recommendations"]["get"]
    example = operation["responses"]["200"]["content"]["application/json"]["example"]
    answer = bare.ask("u1")
    assert set(answer) - {"note"} == set(example)
    receipt = bare.client.post("/v1/events", json={"type": "interaction", "user": "u1", "item": "i7", "kind": "click"})
    schema = description["paths"]["/v1/events"]["post"]["responses"]["202"]["content"]["application/json"]["schema"]
    validator_of(description, schema).validate(receipt.json())
