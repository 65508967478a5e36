"""Users: profile, stated preferences, erasure; and strangers, who bring their history along."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from tastemaker.domain import Erase, History, Score, UserChange
from tastemaker.errors import InputError, NotFound
from tastemaker.features import states
from tastemaker.features.rewards import reward
from tastemaker.serving import schemas
from tastemaker.serving.documentation import RECOMMENDATIONS, example, json_body, schema
from tastemaker.serving.parts import Parts, body_of
from tastemaker.serving.recommend import ANONYMOUS, Ask
from tastemaker.serving.routes_items import allowed, answer
from tastemaker.serving.schemas import PastEvent, SessionBody, UserBody, UserRow, millis
from tastemaker.storage import keys
from tastemaker.storage.erase import erase

router = APIRouter(prefix="/v1", tags=["users"])
SESSION = {"history": ["i7", {"item": "i9", "kind": "play", "time": "2026-01-31T12:00:00Z"}], "k": 5}


@router.post(
    "/users", openapi_extra=json_body({"type": "array", "items": schema(UserRow)}, example([{"user": "u1", "segment": "de"}]))
)
async def upsert(request: Request) -> Response:
    """Writes many users at once: all of them, or none when one is wrong."""
    parts = await allowed(request, "write")
    rows = schemas.decode(await body_of(request), list[UserRow])
    await write(parts, [change(row.user, row) for row in rows])
    return answer({"written": len(rows)})


@router.get("/users/{user}")
async def read(request: Request, user: str) -> Response:
    """What is known of a user: profile, stated preferences, the newest events and the last one applied."""
    parts = await allowed(request, "read")
    profile = await asyncio.to_thread(parts.storage.tables.users.get, user)
    (packed,) = await parts.storage.kv.fetch([keys.state(user)])
    if profile is None and packed is None:
        raise NotFound(f"user {user!r} has sent no event and has no profile")
    state = states.unpack(packed) if packed is not None else None
    history = state.history if state is not None else History()
    return answer(
        {
            "user": user,
            "segment": profile.segment if profile else "",
            "preferences": profile.preferences if profile else {},
            "fields": profile.fields if profile else {},
            "history": [
                {"item": item, "weight": weight, "time": moment}
                for item, weight, moment in zip(history.items, history.weights, history.times, strict=True)
            ],
            "applied": {"partition": state.partition, "offset": state.offset} if state else None,
        }
    )


@router.put("/users/{user}", openapi_extra=json_body(schema(UserBody), example({"preferences": {"Drama": 5}, "segment": "de"})))
async def put(request: Request, user: str) -> Response:
    """Writes facts about a user; what is left out stays as it was."""
    parts = await allowed(request, "write")
    await write(parts, [change(user, schemas.decode(await body_of(request), UserBody))])
    return answer({"user": user})


@router.put(
    "/users/{user}/preferences",
    openapi_extra=json_body({"type": "object", "additionalProperties": {"type": "number"}}, example({"Drama": 5, "Horror": -2})),
)
async def preferences(request: Request, user: str) -> Response:
    """Replaces the stated preferences: category -> score; above 0 is liking. A new user gets items of these at once."""
    parts = await allowed(request, "write")
    stated = schemas.decode(await body_of(request), dict[str, Score])
    await write(parts, [change(user, UserBody(preferences=stated))])
    return answer({"user": user, "preferences": stated})


@router.delete("/users/{user}")
async def delete(request: Request, user: str) -> Response:
    """Erases a user everywhere and says what was removed where. Needs an admin key."""
    parts = await allowed(request, "admin")
    parts.recommending.decisions.flush()  # those of the last moment must be in the log before it is searched
    parts.recommending.exposures.forget(user)
    await parts.ingest.append([Erase(uuid.uuid4().hex, int(time.time() * 1000), user)])
    return answer({"user": user, "removed": await asyncio.to_thread(erase_everywhere, parts, user)})


@router.post(
    "/sessions/recommendations",
    tags=["recommendations"],
    responses=RECOMMENDATIONS,
    openapi_extra=json_body(schema(SessionBody), example(SESSION)),
)
async def session(request: Request) -> Response:
    """Recommendations for somebody without an account: the history comes in the body and is not stored."""
    parts = await allowed(request, "read")
    body = schemas.decode(await body_of(request), SessionBody)
    now = int(time.time() * 1000)
    events = [PastEvent(past) if isinstance(past, str) else past for past in body.history]
    weighed = [
        (past.item, weight, millis(past.time, f"history[{index}].time", now))
        for index, past in enumerate(events)
        if (weight := reward(parts.config.rewards, past.kind, past.value)) > 0
    ]
    items, weights, times = zip(*weighed, strict=True) if weighed else ((), (), ())
    user = body.session or ANONYMOUS
    ask = Ask(user, body.k or parts.config.serving.k, body.surface, body.category, body.exclude, body.session)
    made = await parts.recommending.answer_session(ask, History(items, weights, times), body.preferences)
    return Response(made, media_type="application/json")


def erase_everywhere(parts: Parts, user: str) -> dict[str, int]:
    """Takes a while, so it runs beside the event loop."""
    return erase(parts.storage, user, [card.version for card in parts.storage.tables.models.all()])


def change(user: str, body: UserBody) -> UserChange:
    """The event that a body stands for."""
    made = UserChange(uuid.uuid4().hex, int(time.time() * 1000), user, body.preferences, body.segment, body.fields)
    try:
        return msgspec.convert(msgspec.to_builtins(made), schemas.StrictUser)  # checks the id, too
    except msgspec.ValidationError as error:
        raise schemas.named(error, msgspec.to_builtins(made)) from None


async def write(parts: Parts, changes: list[Any]) -> None:
    """Log first, then tables. The state follows when the worker has read the log."""
    if not changes:
        raise InputError("body", [], "send at least one user")
    await parts.ingest.append(changes)
    await asyncio.to_thread(parts.storage.tables.users.put, changes)
