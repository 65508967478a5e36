"""What the OpenAPI page shows of requests that msgspec decodes: schemas from the structs themselves, and examples."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from tastemaker.domain import Experiment
from tastemaker.serving.ingest import Receipt
from tastemaker.serving.schemas import ItemBody, ItemRow, RampBody, SessionBody, StopBody, UserBody, UserRow, WireEvent

REF = "#/components/schemas/{name}"

EVENT_EXAMPLES: dict[str, Any] = {
    "a click": {"value": {"type": "interaction", "user": "u1", "item": "i7", "kind": "click"}},
    "a batch": {
        "value": [
            {"type": "interaction", "id": "e-1", "time": "2026-01-31T12:00:00Z", "user": "u1", "item": "i7", "kind": "play"},
            {"type": "interaction", "user": "u1", "item": "i7", "kind": "rating", "value": 4.5, "decision": "6f1c-2a"},
            {"type": "view", "user": "u1", "decision": "6f1c-2a", "item": "i9", "position": 3, "visible_ms": 1800},
        ]
    },
}
ANSWER: dict[str, Any] = {
    "decision": "9f2b6c0d1e5a-1f",
    "user": "u1",
    "model": "als-20260131T120000",
    "rung": "personal",
    "age_ms": 1840,
    "items": [
        {
            "item": "i9",
            "title": "Alien",
            "score": 0.913,
            "source": "als",
            "reasons": [{"kind": "history", "item": "i7", "contribution": 0.41, "text": "Because you watched Blade Runner"}],
        }
    ],
}

STRUCTS: tuple[Any, ...] = (
    WireEvent, ItemBody, ItemRow, UserBody, UserRow, SessionBody, Receipt, Experiment, RampBody, StopBody,
)  # fmt: skip


def components() -> dict[str, Any]:
    """Schemas of every struct that a request or an answer holds, by name."""
    _, found = msgspec.json.schema_components(STRUCTS, ref_template=REF)
    for struct in found.values():
        for field in struct.get("properties", {}).values():
            if isinstance(field.get("default"), float) and not math.isfinite(field["default"]):
                del field["default"]  # NaN says "unknown" and has no form in JSON
            for bound in ("minimum", "maximum"):
                if (name := f"exclusive{bound.capitalize()}") in field:
                    field[bound] = field.pop(name)  # OpenAPI 3.0 writes it otherwise than JSON Schema; this both can read
    return found


def schema(kind: Any) -> dict[str, Any]:
    """A struct's schema, by reference."""
    (found,), _ = msgspec.json.schema_components((kind,), ref_template=REF)
    return found


def json_body(kind: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind, "examples": examples}}}}


def example(value: Any) -> dict[str, Any]:
    return {"example": {"value": value}}


_event = schema(WireEvent)
EVENT_BODY: dict[str, Any] = {"oneOf": [_event, {"type": "array", "items": _event}]}
RECEIPT: dict[int | str, dict[str, Any]] = {
    202: {"description": "What became of each event.", "content": {"application/json": {"schema": schema(Receipt)}}},
    422: {"description": "Nothing was stored: every event was refused, or the body is no JSON."},
    503: {"description": "Nothing was stored: the log is full or away. Send the events again."},
}
RECOMMENDATIONS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The items, best first.", "content": {"application/json": {"example": ANSWER}}},
    422: {"description": "A parameter is wrong; the answer names it."},
}
