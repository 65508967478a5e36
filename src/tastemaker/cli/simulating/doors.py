"""How a simulation reaches the platform: over HTTP, or through the same application in this process, without sockets.

Both take the same requests and give the same answers: the application does not know which of them is asking.
"""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from tastemaker.errors import InputError, Unavailable
from tastemaker.serving.hot import Hot

THREADS = 4  # connections that stay open
PATIENCE = 60.0  # seconds for one answer
JSON = "application/json"


class Call(NamedTuple):
    """One request. ``path`` is plain ASCII, percent-encoded where it must be."""

    method: str
    path: str
    body: bytes = b""


class Door(Protocol):
    """Takes requests, and gives the bodies of the answers in their order. Anything but a 2xx raises."""

    def all(self, calls: Sequence[Call]) -> list[bytes]: ...

    def close(self) -> None: ...


def body_of(call: Call, status: int, body: bytes) -> bytes:
    """The body of an answer; raises ``Unavailable`` for one that is an error."""
    if not 200 <= status < 300:
        raise Unavailable(f"{call.method} {call.path}: {status} {body[:300].decode('utf-8', 'replace')}")
    return body


class Inside:
    """The application in this process. Its background threads do not run: ``look`` is what they would do."""

    def __init__(self, app: Hot) -> None:
        self.app, self.runner = app, asyncio.Runner()
        self.look()

    def look(self) -> None:
        """Takes over the live model, the catalogue and the experiments as they are now."""
        current = self.app.recommending.current
        current.look()
        if current.failure is not None:
            raise current.failure

    def all(self, calls: Sequence[Call]) -> list[bytes]:
        return self.runner.run(self._all(calls))

    async def _all(self, calls: Sequence[Call]) -> list[bytes]:
        return [await self._one(call) for call in calls]

    async def _one(self, call: Call) -> bytes:
        """One request, as a web server would hand it over."""
        path, _, query = call.path.partition("?")
        scope = {
            "type": "http", "http_version": "1.1", "method": call.method, "scheme": "http", "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "server": ("simulation", 80),
            "headers": [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(call.body))],
        }  # fmt: skip
        status, parts = 0, []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": call.body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            parts.append(message.get("body", b""))

        await self.app(scope, receive, send)
        return body_of(call, status, b"".join(parts))

    def close(self) -> None:
        self.app.recommending.close()
        self.runner.close()


class Outside:
    """A running server. A few threads keep a connection each."""

    def __init__(self, base: str, key: str = "") -> None:
        found = urlsplit(base)
        if found.scheme not in ("http", "https") or not found.hostname:
            raise InputError("url", base, "give the address of a server, as http://127.0.0.1:8000")
        self.address, self.secure, self.prefix = found.netloc, found.scheme == "https", found.path.rstrip("/")
        self.headers = {"content-type": JSON} | ({"authorization": f"Bearer {key}"} if key else {})
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="tastemaker-simulated")
        self.mine, self.open = threading.local(), list[http.client.HTTPConnection]()

    def all(self, calls: Sequence[Call]) -> list[bytes]:
        return list(self.pool.map(self._one, calls))

    def _one(self, call: Call) -> bytes:
        """A connection that the server has closed meanwhile is opened again, once: every event has an id of its own."""
        try:
            return self._send(call)
        except (http.client.RemoteDisconnected, ConnectionError):
            self._connection().close()
        try:
            return self._send(call)
        except OSError as error:
            raise Unavailable(f"{self.address} does not answer ({error}): is the server running?") from None

    def _send(self, call: Call) -> bytes:
        connection = self._connection()
        connection.request(call.method, self.prefix + call.path, call.body or None, self.headers)
        answer = connection.getresponse()
        return body_of(call, answer.status, answer.read())

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self.mine, "connection", None)
        if found is None:
            kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
            found = self.mine.connection = kind(self.address, timeout=PATIENCE)
            self.open.append(found)
        return found

    def close(self) -> None:
        self.pool.shutdown(wait=True)
        for connection in self.open:
            connection.close()
