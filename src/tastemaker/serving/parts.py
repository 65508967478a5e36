"""The parts of one server, handed to the routes through the application's state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from tastemaker.config import Config
from tastemaker.serving.auth import Auth
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
    nearline: Callable[[], dict[str, object]] | None = None  # how the embedded worker fares, if there is one


def parts_of(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)
