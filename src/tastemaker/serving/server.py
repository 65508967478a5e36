"""The web server: uvicorn, without what costs time and tells nothing."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tastemaker.config import Config
from tastemaker.errors import ConfigError
from tastemaker.serving.auth import LOOPBACK
from tastemaker.serving.hot import Hot
from tastemaker.storage import Storage


def server(app: Hot, config: Config) -> uvicorn.Server:
    """A server for the application; ``run`` it."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=config.serving.host,
            port=config.serving.port,
            loop="uvloop",
            http="httptools",
            lifespan="on",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            log_level="warning",
            timeout_graceful_shutdown=5,
        )
    )


@contextmanager
def listening(config: Config) -> Iterator[socket.socket]:
    """A socket at the configured address; raises ``ConfigError`` when it is taken. Hand it to the server's ``run``."""
    address = (config.serving.host, config.serving.port)
    family = socket.AF_INET6 if ":" in config.serving.host else socket.AF_INET
    try:
        door = socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"serving.port = {config.serving.port}: cannot listen on {config.serving.host} ({os.strerror(error.errno or 0)}); "
            "end what listens there, or set another port (0 takes any free one)"
        ) from None
    with door:
        yield door


def refuse_open_door(storage: Storage, config: Config) -> None:
    """Raises ``ConfigError`` when the server would listen to the world and nobody has a key."""
    if config.serving.host not in LOOPBACK and not any(not key.revoked for key in storage.tables.keys.all()):
        raise ConfigError(
            f"serving.host = {config.serving.host!r} lets others in, and there is no API key: "
            "make one first (tastemaker keys create NAME --scope read --scope write), or listen on 127.0.0.1"
        )


@contextmanager
def serving(app: Hot, config: Config, patience: float = 30.0) -> Iterator[str]:
    """Serves in a thread for as long as the block lasts; gives the address."""
    running = server(app, config)
    thread = threading.Thread(target=running.run, name="tastemaker-http", daemon=True)
    thread.start()
    end = time.monotonic() + patience
    while not running.started:
        if not thread.is_alive() or time.monotonic() > end:
            raise ConfigError(f"serving.port = {config.serving.port}: the server did not start; is the port in use?")
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://{config.serving.host}:{port}"
    finally:
        running.should_exit = True
        thread.join()
