"""The parts of one server, handed to the routes through the application's state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from tastemaker.config import Config
from tastemaker.monitoring.runs import RunMetrics
from tastemaker.serving.auth import Auth, Denied
from tastemaker.serving.current import Current
from tastemaker.serving.ingest import Ingest
from tastemaker.serving.recommend import Recommending
from tastemaker.storage import Storage


@dataclass(frozen=True)
class Parts:
    """What routes need."""

    config: Config
    storage: Storage
    current: Current
    recommending: Recommending
    ingest: Ingest
    auth: Auth
    runs: RunMetrics
    nearline: Callable[[], dict[str, object]] | None = None  # how the embedded worker fares, if there is one


async def body_of(request: Request) -> bytes:
    """The whole body, refused as soon as it is too long."""
    most = parts_of(request).config.serving.max_body
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise Denied(413, f"a request has at most {most} bytes (serving.max_body): send smaller batches")
    return bytes(body)


def parts_of(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)
