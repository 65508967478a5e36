"""The application: FastAPI for the API as a whole, two raw handlers in front of it for the traffic."""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles

from tastemaker import __version__, telemetry
from tastemaker.config import Config
from tastemaker.errors import Conflict, InputError, NotFound, StorageError
from tastemaker.monitoring.runs import RunMetrics
from tastemaker.serving import routes_experiments, routes_hot, routes_items, routes_operations, routes_results, routes_users
from tastemaker.serving.auth import Auth, Denied
from tastemaker.serving.current import Current
from tastemaker.serving.documentation import components
from tastemaker.serving.hot import Hot, invalid, problem
from tastemaker.serving.ingest import Ingest
from tastemaker.serving.parts import Parts
from tastemaker.serving.recommend import Recommending
from tastemaker.storage import Storage

STATUS: dict[type[Exception], int] = {NotFound: 404, Conflict: 409, StorageError: 503}


def create_app(
    storage: Storage, config: Config, nearline: Callable[[], dict[str, object]] | None = None, runs: RunMetrics | None = None
) -> Hot:
    """The ASGI application over open stores. The caller closes the stores after the server has stopped.

    ``runs``: what looks at the runs for /metrics, where the caller shows them elsewhere, too; it ends with the application.
    """
    current = Current(storage, config)
    recommending = Recommending(storage, config, current)
    runs = runs or RunMetrics(storage)
    parts = Parts(config, storage, current, recommending, Ingest(storage, config), Auth(storage, config), runs, nearline)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        current.start()
        await asyncio.to_thread(open_log, storage)
        gc.collect()
        gc.freeze()  # code, catalogue and models live as long as the process: the collector need not walk them for ever
        yield
        gc.unfreeze()
        current.stop()
        runs.stop()
        recommending.close()
        storage.log.flush()

    app = FastAPI(title="tastemaker", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.parts = parts
    for routes in (routes_hot, routes_users, routes_items, routes_experiments, routes_results, routes_operations):
        app.include_router(routes.router)
    app.mount("/docs/assets", StaticFiles(directory=routes_operations.ASSETS))
    handle_errors(app)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]  # FastAPI's own way to extend the schema
    return Hot(app, recommending, parts.ingest, parts.auth, config.serving.k, config.serving.max_body)


def open_log(storage: Storage) -> None:
    """Before the first request has to wait for it. Without a spool, a log that is away is tried again by each request."""
    try:
        storage.log  # noqa: B018 - it is opened by being asked for
    except StorageError as error:
        telemetry.log.warning("log_away", error=str(error))


def handle_errors(app: FastAPI) -> None:
    """Every error as JSON with a message; what was not foreseen is logged with an id and told as one."""

    @app.exception_handler(Denied)
    async def denied(_request: Request, error: Denied) -> Response:
        return Response(problem(str(error)), error.status, media_type="application/json")

    @app.exception_handler(InputError)
    async def wrong(_request: Request, error: InputError) -> Response:
        return Response(invalid(error), 422, media_type="application/json")

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(_request: Request, error: RequestValidationError) -> Response:
        first: Any = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"] if part not in ("path", "query"))
        return Response(invalid(InputError(path, first.get("input"), first["msg"].lower())), 422, media_type="application/json")

    for kind, status in STATUS.items():
        app.add_exception_handler(kind, answered(status))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        number = uuid.uuid4().hex[:12]
        telemetry.log.error("request_failed", request=number, path=request.url.path, error=str(error), exc_info=error)
        return Response(
            problem(f"this is a fault of the server; its log says more under {number}"), 500, media_type="application/json"
        )


def answered(status: int) -> Callable[[Request, Exception], Response]:
    """A handler that answers with the error's own message."""

    def handler(_request: Request, error: Exception) -> Response:
        headers = {"retry-after": "1"} if status == 503 else None
        return Response(problem(str(error)), status, headers, "application/json")

    return handler


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, with the structs' schemas among its components."""
    if app.openapi_schema is None:
        made = get_openapi(
            title="tastemaker",
            version=__version__,
            openapi_version="3.0.3",  # what the bundled page can show
            description="Events in, recommendations out.",
            routes=app.routes,
        )
        made.setdefault("components", {}).setdefault("schemas", {}).update(components())
        app.openapi_schema = made
    return app.openapi_schema
