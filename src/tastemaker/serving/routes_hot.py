"""The hot routes as FastAPI sees them: for the OpenAPI page, and the same answers for whoever mounts the application bare."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from tastemaker.serving.documentation import EVENT_BODY, EVENT_EXAMPLES, RECEIPT, RECOMMENDATIONS, json_body
from tastemaker.serving.hot import ask_of, status_of
from tastemaker.serving.parts import body_of, parts_of

router = APIRouter(prefix="/v1")


@router.get("/users/{user}/recommendations", tags=["recommendations"], responses=RECOMMENDATIONS)
async def recommendations(
    request: Request,
    user: Annotated[str, Path(min_length=1, max_length=256)],
    k: Annotated[int | None, Query(ge=1, le=100, description="Items wanted.")] = None,
    surface: Annotated[str, Query(min_length=1, max_length=256, description="Where they are shown; logged.")] = "home",
    category: Annotated[str | None, Query(min_length=1, max_length=256, description="Only items of this category.")] = None,
    exclude: Annotated[str, Query(description="Item ids that must not be given, separated by commas, at most 1000.")] = "",
    session: Annotated[str | None, Query(min_length=1, max_length=256, description="Session id; logged.")] = None,
) -> Response:
    """The best items for a user, best first, each with its reasons. Unknown users get what is popular."""
    parts = parts_of(request)
    await parts.auth.allow(request.scope["headers"], "read")
    # The parameters above are for the page; the query string itself is read as the hot route reads it.
    ask = ask_of(user, request.scope["query_string"], parts.config.serving.k)
    body = await parts.recommending.answer(ask, time.perf_counter())
    return Response(body, media_type="application/json")


@router.post("/events", tags=["events"], status_code=202, responses=RECEIPT, openapi_extra=json_body(EVENT_BODY, EVENT_EXAMPLES))
async def events(request: Request) -> Response:
    """Takes one event or a batch. Acknowledged events are durable; an id sent again is a duplicate and stored once."""
    parts = parts_of(request)
    await parts.auth.allow(request.scope["headers"], "write")
    receipt = await parts.ingest.take(await body_of(request))
    return Response(msgspec.json.encode(receipt), status_of(receipt), media_type="application/json")
