"""A small HTTP endpoint for processes that serve nobody else: ``/health`` and ``/metrics``.

Orchestrators ask whether the process lives, Prometheus collects its numbers. It answers from a thread of its own, so it says
"alive" also while the process is at work, and what is wrong stands in the body.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from tastemaker import telemetry
from tastemaker.errors import ConfigError

Condition = Callable[[], dict[str, object]]


@contextmanager
def endpoint(
    port: int | None, condition: Condition, host: str = "0.0.0.0", before: Callable[[], None] | None = None
) -> Iterator[int | None]:
    """Answers on a port while the block lasts; None: on none, 0: on any free one. Gives the port.

    ``before`` is called before metrics are given: it may bring some of them up to date.
    """
    if port is None:
        yield None
        return

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                if before is not None:
                    before()
                self.answer(200, CONTENT_TYPE_LATEST, generate_latest(telemetry.REGISTRY))
            elif self.path == "/health":
                self.answer(200, "application/json", msgspec.json.encode({"status": "alive", **condition()}))
            else:
                self.answer(404, "text/plain", b"there is /health and /metrics\n")

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            telemetry.log.debug("endpoint", request=format % args)

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise ConfigError(f"--metrics-port {port}: cannot listen there ({error.strerror}); choose another, 0 takes any") from None
    thread = threading.Thread(target=server.serve_forever, name="tastemaker-endpoint", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
