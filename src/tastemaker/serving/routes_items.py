"""Items: read, write, remove, and what is similar.

A write goes to the log first, as an ``item`` event, and to the tables at once, so that the next read shows it; the worker
applies the event again without harm.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, Query, Request, Response

from tastemaker.domain import ItemChange
from tastemaker.errors import InputError, NotFound
from tastemaker.models.interactions import Histories
from tastemaker.serving import schemas
from tastemaker.serving.documentation import example, json_body, schema
from tastemaker.serving.parts import Parts, body_of, parts_of
from tastemaker.serving.schemas import ItemBody, ItemRow, millis
from tastemaker.storage import keys

router = APIRouter(prefix="/v1/items", tags=["items"])
FILM = {"title": "Alien", "categories": ["Horror", "Sci-Fi"], "released": "1979-05-25T00:00:00Z", "fields": {"minutes": 117}}


@router.get("")
async def page(
    request: Request,
    after: Annotated[str, Query(description="The last id of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Items in order of their ids."""
    parts = await allowed(request, "read")
    return answer([shown(item) for item in await asyncio.to_thread(parts.storage.tables.items.page, after, limit)])


@router.post("", openapi_extra=json_body({"type": "array", "items": schema(ItemRow)}, example([{"item": "i9", **FILM}])))
async def upsert(request: Request) -> Response:
    """Writes many items at once: all of them, or none when one is wrong."""
    parts = await allowed(request, "write")
    now = int(time.time() * 1000)
    rows = schemas.decode(await body_of(request), list[ItemRow])
    changes = [change(row.item, row, now, f"[{index}].") for index, row in enumerate(rows)]
    await write(parts, changes)
    return answer({"written": len(changes)})


@router.get("/{item}")
async def read(request: Request, item: str) -> Response:
    """One item."""
    parts = await allowed(request, "read")
    found = await asyncio.to_thread(parts.storage.tables.items.get, item)
    if found is None:
        raise NotFound(f"item {item!r} does not exist; PUT /v1/items/{item} makes it")
    return answer(shown(found))


@router.put("/{item}", openapi_extra=json_body(schema(ItemBody), example(FILM)))
async def put(request: Request, item: str) -> Response:
    """Writes the whole state of an item; it can be recommended within a second (cold items by what is new)."""
    parts = await allowed(request, "write")
    body = schemas.decode(await body_of(request), ItemBody)
    made = change(item, body, int(time.time() * 1000))
    await write(parts, [made])
    return answer(shown(made))


@router.delete("/{item}")
async def delete(request: Request, item: str) -> Response:
    """Takes an item out of the catalogue; it is not recommended from now on. Its past events stay."""
    parts = await allowed(request, "write")
    if await asyncio.to_thread(parts.storage.tables.items.get, item) is None:
        raise NotFound(f"item {item!r} does not exist")
    now = int(time.time() * 1000)
    await write(parts, [ItemChange(uuid.uuid4().hex, now, item, active=False, deleted=True)])
    return answer({"deleted": item})


@router.get("/{item}/similar")
async def similar(request: Request, item: str, k: Annotated[int, Query(ge=1, le=100)] = 10) -> Response:
    """Items that go with this one: by the live model, or popular ones of its categories while the model does not know it."""
    now = (await allowed(request, "read")).current.now
    model, catalogue = now.bundle.model, now.catalogue
    number = model.items.number.get(item) if model is not None else None
    if number is None and item not in catalogue.items:
        raise NotFound(f"item {item!r} is in neither the catalogue nor the live model")
    items: list[dict[str, Any]] = []
    pairs: list[tuple[str, float]] = []
    if model is not None and number is not None:
        found = model.similar(np.array([number], np.int32), min(len(model.items), k + len(catalogue.items)))
        pairs = [
            (model.items.ids[n], s) for n, s in zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True) if n >= 0
        ]
    source = model.kind if model is not None else ""
    if not pairs:
        pairs, source = alike(now.bundle.fallback, catalogue.by_item.get(item, ()), now), "categories"
    for name, score in pairs:
        if name != item and catalogue.allows(name) and len(items) < k:
            items.append({"item": name, "title": catalogue.title(name), "score": score, "source": source})
    return answer({"item": item, "model": now.bundle.version or None, "items": items})


def alike(fallback: Any, categories: tuple[str, ...], now: Any) -> list[tuple[str, float]]:
    """Popular items that share a category."""
    if fallback is None or not categories:
        return []
    mask = np.logical_or.reduce([now.catalogue.mask(fallback.items, name) for name in categories])
    found = fallback.recommend(Histories.empty(), 101, allowed=mask)
    return [(fallback.items.ids[n], s) for n, s in zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True) if n >= 0]


async def allowed(request: Request, scope: str) -> Parts:
    parts = parts_of(request)
    await parts.auth.allow(request.scope["headers"], scope)
    return parts


def change(item: str, body: ItemBody, now: int, path: str = "") -> ItemChange:
    """The event that a body stands for; ``path`` is where the body stands in the request's."""
    released = millis(body.released, f"{path}released", now) if body.released is not None else None
    made = ItemChange(
        uuid.uuid4().hex, now, item, body.title, body.categories, body.text, body.active, released, False, body.fields
    )
    try:
        return msgspec.convert(msgspec.to_builtins(made), schemas.StrictItem)  # checks the id and the time, too
    except msgspec.ValidationError as error:
        found = schemas.named(error, msgspec.to_builtins(made))
        raise InputError(path + found.field, found.value, found.remedy) from None


async def write(parts: Parts, changes: list[ItemChange]) -> None:
    """Log first, then tables, then the catalogue of this process: reading it takes a while, so beside the event loop."""
    if not changes:
        raise InputError("body", [], "send at least one item")
    await parts.ingest.append(changes)
    await asyncio.to_thread(write_tables, parts, changes)


def write_tables(parts: Parts, changes: list[ItemChange]) -> None:
    parts.storage.tables.items.put(changes)
    parts.storage.kv.put({keys.CATALOG: str(parts.storage.tables.items.stamp()).encode()})
    parts.current.look()


def shown(item: ItemChange) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(item)
    defaults = {"title": "", "categories": [], "text": "", "active": True, "fields": {}}
    return defaults | {name: value for name, value in row.items() if name not in ("type", "id", "deleted")}


def answer(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
