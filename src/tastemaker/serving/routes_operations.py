"""Models, health, readiness, metrics and the documentation page (whose files come from a package: it works offline)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from swagger_ui_bundle import swagger_ui_path

from tastemaker import __version__, telemetry
from tastemaker.domain import ModelCard
from tastemaker.errors import NotFound
from tastemaker.registry.live import promote, rollback
from tastemaker.serving.routes_items import allowed, answer
from tastemaker.storage import keys

router = APIRouter()
ASSETS = Path(swagger_ui_path)


@router.get("/v1/models", tags=["models"])
async def models(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> Response:
    """Model versions with state, metrics and the gate's verdict, newest first."""
    parts = await allowed(request, "read")
    cards = await asyncio.to_thread(parts.storage.tables.models.all)
    return answer([shown(card) for card in cards[:limit]])


@router.get("/v1/models/{version}", tags=["models"])
async def model(request: Request, version: str) -> Response:
    """One model's whole card."""
    parts = await allowed(request, "read")
    card = await asyncio.to_thread(parts.storage.tables.models.get, version)
    if card is None:
        raise NotFound(f"model version {version!r} does not exist; GET /v1/models lists them")
    return answer(card)


@router.post("/v1/models/{version}/promote", tags=["models"])
async def promote_model(request: Request, version: str) -> Response:
    """Makes a version live. Needs an admin key."""
    parts = await allowed(request, "admin")
    live = await asyncio.to_thread(promote, parts.storage, version, int(time.time() * 1000))
    await asyncio.to_thread(parts.current.look)
    return answer(live)


@router.post("/v1/models/rollback", tags=["models"])
async def rollback_model(request: Request) -> Response:
    """Makes the version before the live one live again. Needs an admin key."""
    parts = await allowed(request, "admin")
    live = await asyncio.to_thread(rollback, parts.storage, int(time.time() * 1000))
    await asyncio.to_thread(parts.current.look)
    return answer(live)


@router.get("/health", tags=["operations"])
async def health() -> dict[str, str]:
    """200 while the process lives."""
    return {"status": "alive", "version": __version__}


@router.get("/ready", tags=["operations"])
async def ready(request: Request) -> Response:
    """200 when requests can be answered: the stores can be read. Says what is live and how far the worker is.

    ``warnings`` name arms of experiments that cannot be served: those who are in them get what everybody gets.
    """
    parts = request.app.state.parts
    problems: list[str] = []
    try:
        await parts.storage.kv.fetch([keys.LIVE])
        await asyncio.to_thread(parts.storage.log.ends)
    except Exception as error:
        problems.append(f"{type(error).__name__}: {error}")
    if parts.current.failure is not None:
        problems.append(f"live model: {parts.current.failure}")
    nearline = await asyncio.to_thread(parts.nearline) if parts.nearline else None
    body = {
        "ready": not problems,
        "live": parts.current.now.bundle.version or None,
        "problems": problems,
        "warnings": parts.current.warnings,
        "nearline": nearline,
    }
    return Response(msgspec.json.encode(body), 503 if problems else 200, media_type="application/json")


@router.get("/metrics", tags=["operations"])
async def metrics(request: Request) -> Response:
    """Prometheus metrics: of this process, and of the runs that others have done."""
    await asyncio.to_thread(request.app.state.parts.runs.refresh)
    return Response(generate_latest(telemetry.REGISTRY), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """The API, to read and to try."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="tastemaker API",
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url="/docs/assets/favicon-32x32.png",
    )


def shown(card: ModelCard) -> dict[str, object]:
    """A card in a list: without the long parts."""
    return {
        "version": card.version,
        "kind": card.kind,
        "state": card.state,
        "made": card.made,
        "metrics": card.metrics,
        "passed": card.verdict.passed if card.verdict else None,
    }
