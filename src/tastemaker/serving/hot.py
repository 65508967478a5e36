"""The two routes that carry the traffic, answered in front of the FastAPI application.

A FastAPI route costs five times the CPU of a bare ASGI handler, so recommendations and events are handled here; FastAPI
still documents them (``routes_hot.py``), and a test holds both to the same answers. Everything else falls through.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from tastemaker import telemetry
from tastemaker.errors import InputError, StorageError
from tastemaker.serving.auth import Auth, Denied
from tastemaker.serving.ingest import Ingest, Receipt
from tastemaker.serving.recommend import Ask, Recommending

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

USERS, RECOMMENDATIONS, EVENTS = b"/v1/users/", b"/recommendations", b"/v1/events"
PLAIN = re.compile(rb"/v1/users/([!-$&-.0-~]{1,256})/recommendations").fullmatch
"""The usual request: no character of the user's id is escaped."""
JSON = (b"content-type", b"application/json")
PARAMETERS = ("k", "surface", "category", "exclude", "session")
_encode = msgspec.json.Encoder().encode
CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")


class Hot:
    """An ASGI application around another one."""

    def __init__(self, rest: Asgi, recommending: Recommending, ingest: Ingest, auth: Auth, k: int, max_body: int) -> None:
        self.rest, self.recommending, self.ingest, self.auth = rest, recommending, ingest, auth
        self.k, self.max_body = k, max_body
        self.open, self.quick = auth.open, recommending.quick

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.rest(scope, receive, send)
            return
        began = time.perf_counter()
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        if self.open and (plain := PLAIN(path)) and scope["method"] == "GET" and not scope["query_string"]:
            body = self.quick(plain[1].decode(), began)
            if body is not None:
                headers = [JSON, (b"content-length", b"%d" % len(body))]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        if path.startswith(USERS) and path.endswith(RECOMMENDATIONS) and scope["method"] == "GET":
            user = path[len(USERS) : -len(RECOMMENDATIONS)]
            if user and b"/" not in user:
                await self.answer("recommendations", send, self.recommend(user, scope, began), began)
                return
        elif path == EVENTS and scope["method"] == "POST":
            await self.answer("events", send, self.events(scope, receive), began)
            return
        await self.others(scope, receive, send, began)

    async def answer(self, route: str, send: Send, work: Awaitable[tuple[int, bytes]], began: float) -> None:
        """Runs a handler and turns its errors into answers."""
        headers = [JSON]
        try:
            status, body = await work
        except Denied as error:
            status, body = error.status, problem(str(error))
        except InputError as error:
            status, body = 422, invalid(error)
        except StorageError as error:
            telemetry.log.error("store_failed", route=route, error=str(error))
            what = "the events are not stored" if route == "events" else "a store is away"
            status, body = 503, problem(f"{what}: {error}; send the request again")
            headers.append((b"retry-after", b"1"))
        except Exception as error:
            telemetry.log.error("request_failed", route=route, error=str(error), exc_info=True)
            status, body = 500, problem("this is a fault of the server; its log says more")
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        telemetry.TRAFFIC.note(route, CLASSES[status // 100], time.perf_counter() - began)

    async def others(self, scope: Scope, receive: Receive, send: Send, began: float) -> None:
        """The FastAPI application, counted."""
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.rest(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            telemetry.TRAFFIC.note(route, CLASSES[status // 100], time.perf_counter() - began)

    async def recommend(self, raw: bytes, scope: Scope, began: float) -> tuple[int, bytes]:
        await self.auth.allow(scope["headers"], "read")
        if not raw.isascii():
            raise InputError("user", raw.decode("utf-8", "replace"), "percent-encode what is not ASCII in a path")
        user = raw.decode("ascii") if b"%" not in raw else unquote(raw.decode("ascii"))
        query: bytes = scope["query_string"]
        ask = ask_of(user, query, self.k) if query else Ask(user, self.k)
        if len(user) > 256:
            raise InputError("user", user, "ids have at most 256 characters")
        return 200, await self.recommending.answer(ask, began)

    async def events(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        await self.auth.allow(scope["headers"], "write")
        receipt = await self.ingest.take(await self.body(receive))
        return status_of(receipt), _encode(receipt)

    async def body(self, receive: Receive) -> bytes:
        """The whole body, refused as soon as it is too long."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise InputError("body", "", "the client left before the body was complete")
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self.max_body:
                raise Denied(413, f"a request has at most {self.max_body} bytes (serving.max_body): send smaller batches")
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)


def ask_of(user: str, query: bytes, k: int) -> Ask:
    """The request's parameters, checked.

    >>> ask_of("u", b"k=5&exclude=a,b&category=Drama", 10)
    Ask(user='u', k=5, surface='home', category='Drama', exclude=('a', 'b'), session=None)
    """
    found: dict[str, str] = {}
    exclude: list[str] = []
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64)
    except ValueError as error:
        raise InputError("query", query[:80].decode("latin-1"), f"is not a query string: {error}") from None
    for name, value in pairs:
        if name not in PARAMETERS:
            raise InputError(name, value, f"is not a parameter; known: {', '.join(PARAMETERS)}")
        if name == "exclude":
            exclude += [item for item in value.split(",") if item]
        else:
            found[name] = value
    if len(exclude) > 1000:
        raise InputError("exclude", f"{len(exclude)} items", "at most 1000 items can be excluded in one request")
    for name in ("surface", "session", "category"):
        if name in found and not 1 <= len(found[name]) <= 256:
            raise InputError(name, found[name], "has 1 to 256 characters")
    return Ask(
        user, count_of(found["k"]) if "k" in found else k,
        found.get("surface", "home"), found.get("category"), tuple(exclude), found.get("session"),
    )  # fmt: skip


def count_of(text: str) -> int:
    """``k`` as a number from 1 to 100."""
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 100):
        raise InputError("k", text, "is a number from 1 to 100")
    return int(text)


def status_of(receipt: Receipt) -> int:
    """202 where something is stored (or was before), 422 where every event was refused."""
    return 422 if receipt.rejected and not receipt.accepted and not receipt.duplicates else 202


def problem(message: str) -> bytes:
    return _encode({"error": {"message": message}})


def invalid(error: InputError) -> bytes:
    shown = error.value if len(repr(error.value)) <= 200 else repr(error.value)[:200]
    return msgspec.json.encode(
        {"error": {"field": error.field, "value": shown, "remedy": error.remedy, "message": str(error)}}, enc_hook=repr
    )
