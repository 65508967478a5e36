"""What is concluded from experiments, over HTTP: the newest result that was stored, and how it came about."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from tastemaker.errors import NotFound
from tastemaker.registry import experiments
from tastemaker.serving.routes_items import allowed
from tastemaker.storage import Storage

router = APIRouter(prefix="/v1", tags=["experiments"])


@router.get("/experiments/{name}/results")
async def results(
    request: Request, name: str, source: Annotated[str | None, Query(pattern="^(lake|stream)$")] = None
) -> Response:
    """The newest result of an experiment's newest version: verdicts, why, and the numbers. Written every minute or so.

    `source`: `lake` is exact up to the last ingest, `stream` is at most a minute old; without it, whichever is newer.
    """
    parts = await allowed(request, "read")
    text = await asyncio.to_thread(newest, parts.storage, name, source)
    return Response(text, media_type="application/json")


def newest(storage: Storage, name: str, source: str | None) -> str:
    """The stored JSON. Raises ``NotFound`` where there is no such experiment, or nothing was measured yet."""
    asked = experiments.found(storage, name)
    found = storage.tables.results.newest(name, asked.version, source)
    if found is None:
        raise NotFound(f"experiment {name!r} version {asked.version} has no result yet; `tastemaker run experiments` makes one")
    return found.payload
