"""The hot routes as FastAPI sees them: for the OpenAPI page, and the same answers for whoever mounts the application bare."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from tastemaker.serving.documentation import EVENT_BODY, EVENT_EXAMPLES, RECEIPT, RECOMMENDATIONS, json_body
from tastemaker.serving.hot import count_of, status_of
from tastemaker.serving.parts import parts_of
from tastemaker.serving.recommend import Ask

router = APIRouter(prefix="/v1")


@router.get("/users/{user}/recommendations", tags=["recommendations"], responses=RECOMMENDATIONS)
async def recommendations(
    request: Request,
    user: Annotated[str, Path(max_length=256)],
    k: Annotated[str, Query(description="Items wanted, 1 to 100.")] = "",
    surface: Annotated[str, Query(max_length=256, description="Where they are shown; logged.")] = "home",
    category: Annotated[str | None, Query(max_length=256, description="Only items of this category.")] = None,
    exclude: Annotated[str, Query(description="Item ids that must not be given, separated by commas.")] = "",
    session: Annotated[str | None, Query(max_length=256, description="Session id; logged.")] = None,
) -> Response:
    """The best items for a user, best first, each with its reasons. Unknown users get what is popular."""
    parts = parts_of(request)
    parts.auth.allow(request.scope["headers"], "read")
    number = count_of(k) if k else parts.config.serving.k
    banned = tuple(item for item in exclude.split(",") if item)
    body = await parts.recommending.answer(Ask(user, number, surface, category, banned, session))
    return Response(body, media_type="application/json")


@router.post("/events", tags=["events"], status_code=202, responses=RECEIPT, openapi_extra=json_body(EVENT_BODY, EVENT_EXAMPLES))
async def events(request: Request) -> Response:
    """Takes one event or a batch. Acknowledged events are durable; an id sent again is a duplicate and stored once."""
    parts = parts_of(request)
    parts.auth.allow(request.scope["headers"], "write")
    receipt = await parts.ingest.take(await request.body())
    return Response(msgspec.json.encode(receipt), status_of(receipt), media_type="application/json")
