"""Experiments over HTTP: write one, let it run, let more in, end it; and see which arms a unit is in, and why."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response

from tastemaker.domain import Experiment
from tastemaker.experiments.assignment import Someone
from tastemaker.registry import experiments
from tastemaker.serving import schemas
from tastemaker.serving.arms import segment_of
from tastemaker.serving.documentation import example, json_body, schema
from tastemaker.serving.parts import body_of
from tastemaker.serving.routes_items import allowed, answer
from tastemaker.serving.schemas import RampBody, StopBody
from tastemaker.storage import keys

router = APIRouter(prefix="/v1", tags=["experiments"])
CARDS: dict[str, Any] = {
    "name": "diverse-home",
    "arms": [{"name": "control"}, {"name": "diverse", "settings": {"diversity": 0.3}}],
    "metrics": ["ctr"],
}


@router.get("/experiments")
async def listed(request: Request) -> Response:
    """Every experiment in its newest version, the newest first."""
    parts = await allowed(request, "read")
    return answer(await asyncio.to_thread(parts.storage.tables.experiments.all))


@router.post("/experiments", openapi_extra=json_body(schema(Experiment), example(CARDS)), status_code=201)
async def create(request: Request) -> Response:
    """Writes a draft, or a new version of an experiment that does not run. Needs an admin key.

    What the platform itself writes (version, state and times) is made anew, whatever the body says.
    """
    parts = await allowed(request, "admin")
    wanted = schemas.decode(await body_of(request), Experiment)
    made = await asyncio.to_thread(experiments.create, parts.storage, wanted, now())
    return Response(msgspec.json.encode(made), 201, media_type="application/json")


@router.get("/experiments/{name}")
async def one(request: Request, name: str) -> Response:
    """An experiment in its newest version."""
    parts = await allowed(request, "read")
    return answer(await asyncio.to_thread(experiments.found, parts.storage, name))


@router.post("/experiments/{name}/start")
async def start(request: Request, name: str) -> Response:
    """Lets a draft run: servers follow within a second. Needs an admin key."""
    parts = await allowed(request, "admin")
    started = await asyncio.to_thread(experiments.start, parts.storage, name, now())
    await asyncio.to_thread(parts.current.look)
    return answer(started)


@router.post("/experiments/{name}/ramp", openapi_extra=json_body(schema(RampBody), example({"coverage": 0.5})))
async def ramp(request: Request, name: str) -> Response:
    """Lets more units take part, and moves none of those who do. Needs an admin key."""
    parts = await allowed(request, "admin")
    body = schemas.decode(await body_of(request), RampBody)
    ramped = await asyncio.to_thread(experiments.ramp, parts.storage, name, body.coverage)
    await asyncio.to_thread(parts.current.look)
    return answer(ramped)


@router.post("/experiments/{name}/stop", openapi_extra=json_body(schema(StopBody), example({"outcome": "shipped by Ann"})))
async def stop(request: Request, name: str) -> Response:
    """Ends an experiment: everybody gets what everybody gets. Needs an admin key."""
    parts = await allowed(request, "admin")
    raw = await body_of(request)
    body = schemas.decode(raw, StopBody) if raw else StopBody()
    ended = await asyncio.to_thread(experiments.stop, parts.storage, name, now(), body.outcome)
    await asyncio.to_thread(parts.current.look)
    return answer(ended)


@router.get("/users/{user}/experiments")
async def arms(
    request: Request, user: str, surface: Annotated[str, Query(description="Where the answer would be shown.")] = "home"
) -> Response:
    """What each running experiment says of a user: the arm, empty where the user takes no part, and the reason."""
    parts = await allowed(request, "read")
    (packed,) = await parts.storage.kv.fetch([keys.state(user)])
    segment = segment_of(packed).segment if packed is not None else ""
    found = parts.current.now.experiments.all(Someone(user, surface, segment))
    return answer({"user": user, "segment": segment, "experiments": list(found)})


def now() -> int:
    return int(time.time() * 1000)
