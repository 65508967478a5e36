"""Wrong requests, sent to a real server."""

from __future__ import annotations

import json
import time
from typing import Any

from bad_input.world import Found, World, Wrong, put_model
from tastemaker.registry import live

CLICK = {"type": "interaction", "user": "u", "item": "i1", "kind": "click"}


def event(**changes: Any) -> Wrong:
    """One event with something wrong in it; None leaves a field out."""
    return post({name: value for name, value in (CLICK | changes).items() if value is not None})


def post(body: Any, path: str = "/v1/events", method: str = "POST") -> Wrong:
    return lambda world: world.ask(method, path, body)


def get(path: str) -> Wrong:
    return lambda world: world.ask("GET", path)


def own_event(world: World) -> Found:
    """Both of the kinds that only the server writes, in one batch."""
    return world.ask("POST", "/v1/events", [{"type": "decision", "user": "u"}, {"type": "erase", "user": "u"}])


def key(world: World, *scopes: str) -> str:
    return world.storage.tables.keys.create("test", scopes, 1)


def revoked(world: World) -> Found:
    secret = key(world, "admin")
    (number,) = [known.id for known in world.storage.tables.keys.all() if not known.revoked and known.scopes == ("admin",)]
    assert world.storage.tables.keys.revoke(number)
    return world.ask("DELETE", "/v1/users/u", key=secret)


def too_fast(world: World) -> Found:
    """``serving.rate`` is 1 here; rolling back is the only admin request that changes nothing: there is nothing before."""
    secret = key(world, "admin")
    assert world.ask("POST", "/v1/models/rollback", key=secret).status == 409
    found = world.ask("POST", "/v1/models/rollback", key=secret)
    for known in world.storage.tables.keys.all():
        world.storage.tables.keys.revoke(known.id)
    return found


def damaged_model(world: World) -> Found:
    """The pointer moves to a damaged version under a running server."""
    put_model(world.storage, world.config, "damaged")
    arrays = world.config.model_folder / "damaged" / "model" / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-1] + b"?")
    live.promote(world.storage, "damaged", 2)
    try:
        end = time.monotonic() + 10
        while (found := world.ask("GET", "/ready")).status == 200 and time.monotonic() < end:
            time.sleep(0.05)
        answer = world.ask("GET", "/v1/users/stranger/recommendations?k=1&category=Horor")
        assert (answer.status, "good" in answer.text) == (200, True)
    finally:
        live.rollback(world.storage, 3)
    return found


WRONG: dict[str, Wrong] = {
    "not-json": post(b'{"type": "interaction"'),
    "nan": post(json.dumps(CLICK | {"value": float("nan")}).encode()),
    "no-object": post([1, "x"]),
    "unknown-field": event(usr="u", user=None),
    "missing-field": event(user=None),
    "wrong-type": event(user=7),
    "long-id": event(user="x" * 257),
    "empty-id": event(item=""),
    "long-kind": event(kind="k" * 65),
    "large-value": event(value=1e10),
    "future": event(time=int(time.time() * 1000) + 2 * 86_400_000),
    "no-zone": event(time="2026-01-31T12:00:00"),
    "no-time": event(time="yesterday"),
    "unknown-type": event(type="interactoin"),
    "own-event": own_event,
    "no-events": post([]),
    "many-events": post([CLICK] * 1001),
    "large-body": post(b" " * 1_048_577),
    "one-bad": post([CLICK, {"type": "interaction", "user": "u"}]),
    "same-id": post([CLICK | {"id": "same"}, CLICK | {"id": "same"}]),
    "wrong-k": get("/v1/users/u/recommendations?k=101"),
    "unknown-parameter": get("/v1/users/u/recommendations?limit=3"),
    "long-user": get(f"/v1/users/{'x' * 257}/recommendations"),
    "many-excluded": get(f"/v1/users/u/recommendations?exclude={','.join('x' * 1001)}"),
    "unknown-user": get("/v1/users/nobody/recommendations"),
    "unknown-category": get("/v1/users/nobody/recommendations?category=Horor"),
    "session-field": post({"histroy": ["i1"]}, "/v1/sessions/recommendations"),
    "session-history": post({"history": ["i1", {"kind": "play"}]}, "/v1/sessions/recommendations"),
    "unknown-item": get("/v1/items/i404"),
    "unknown-similar": get("/v1/items/i404/similar"),
    "similar-k": get("/v1/items/i1/similar?k=0"),
    "item-field": post({"titel": "x"}, "/v1/items/i1", "PUT"),
    "item-zone": post({"released": "1979-05-25T00:00:00"}, "/v1/items/i1", "PUT"),
    "one-bad-row": post([{"item": "i3"}, {"item": "i4", "title": 4}], "/v1/items"),
    "preference-text": post({"Drama": "much"}, "/v1/users/u/preferences", "PUT"),
    "unknown-profile": get("/v1/users/nobody"),
    "unknown-version": get("/v1/models/als-1"),
    "unknown-route": get("/v1/recommend"),
    "no-admin-key": lambda world: world.ask("DELETE", "/v1/users/u"),
    "unknown-key": lambda world: world.ask("DELETE", "/v1/users/u", key="tm_x"),
    "revoked-key": revoked,
    "wrong-scope": lambda world: world.ask("DELETE", "/v1/users/u", key=key(world, "read", "write")),
    "too-fast": too_fast,
    "damaged-model": damaged_model,
}
BEFORE: dict[str, Wrong] = {"same-id": event(id="same")}
"""What must have happened before, and is right."""
