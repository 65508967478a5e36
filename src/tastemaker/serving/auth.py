"""Who may do what: API keys with scopes.

``write`` sends events and changes the catalogue, ``read`` asks for recommendations, ``admin`` erases users and moves the
live version. On loopback, without ``serving.keys``, write and read are open; admin never is: no key, no admin. A key comes
as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.

Keys are looked up beside the event loop, each once in a while. When the tables are away or slow, a key that was good when it
was last looked up goes on being good for an hour; one that nobody knows yet has to wait for the tables.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.storage import Storage
from tastemaker.storage.tables.access import ApiKey

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
TRUST = 5.0  # seconds for which a checked key is not looked up again: how long a revoked one may live on
AWAY_TRUST = 3600.0  # the same while the tables cannot be asked
PATIENCE = 0.1  # seconds that a request with a known key waits for the tables
MOST = 10_000  # keys remembered
PAUSE = 1.0  # seconds before they are asked again after they did not answer


class Denied(Exception):
    """A request without the right key, or too many or too much of it; ``status`` is 401, 403, 413 or 429."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Checked:
    """What the tables said of a key, and until when that is taken for granted."""

    key: ApiKey | None
    asked: float
    until: float


class Auth:
    """Checks the keys of requests. One per process."""

    def __init__(self, storage: Storage, config: Config) -> None:
        self.storage = storage
        self.open = config.serving.host in LOOPBACK and not config.serving.keys
        self.rate = config.serving.rate
        self._checked: dict[bytes, Checked] = {}
        self._asking: dict[bytes, asyncio.Task[ApiKey | None]] = {}
        self._tokens: dict[str, tuple[float, float]] = {}  # key id -> (tokens left, when)

    async def allow(self, headers: Iterable[tuple[bytes, bytes]], scope: str) -> None:
        """Returns when the request may go on, else raises ``Denied``."""
        if self.open and scope != "admin":
            return
        secret = secret_of(headers)
        if secret is None:
            raise Denied(401, f"this needs an API key with scope {scope!r}: tastemaker keys create NAME --scope {scope}")
        key = await self._look_up(secret)
        if key is None:
            raise Denied(401, "this API key is unknown or revoked: tastemaker keys list")
        if scope not in key.scopes and "admin" not in key.scopes:
            raise Denied(403, f"this API key has no scope {scope!r}, only {', '.join(sorted(key.scopes))}")
        if self.rate and not self._spend(str(key.id)):
            raise Denied(429, f"more than {self.rate:g} requests a second with this key (serving.rate); try again in a second")

    async def _look_up(self, secret: str) -> ApiKey | None:
        digest = hashlib.sha256(secret.encode()).digest()
        now = time.monotonic()
        known = self._checked.get(digest)
        if known is not None and now < known.until:
            return known.key
        trusted = known is not None and known.key is not None and now - known.asked < AWAY_TRUST
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.create_task(self._ask(digest, secret))
            asking.add_done_callback(lambda done: self._asked(digest, done))
        if known is None or not trusted:
            return await asyncio.shield(asking)
        known.until = now + PAUSE  # for the others, who need not wait as well
        await asyncio.wait([asking], timeout=PATIENCE)
        answered = asking.done() and asking.exception() is None
        return asking.result() if answered else known.key

    async def _ask(self, digest: bytes, secret: str) -> ApiKey | None:
        asked = time.monotonic()
        key = await asyncio.to_thread(self.storage.tables.keys.verify, secret)
        if len(self._checked) > MOST:
            self._checked.clear()
        self._checked[digest] = Checked(key, asked, asked + TRUST)
        return key

    def _asked(self, digest: bytes, done: asyncio.Task[ApiKey | None]) -> None:
        """One question less is open. Requests that wait for it hear of an error themselves, others never do."""
        del self._asking[digest]
        if not done.cancelled() and (error := done.exception()) is not None:
            telemetry.log.error("keys_not_checked", error=str(error))

    def _spend(self, name: str) -> bool:
        """Token bucket: one second's worth of requests may come at once."""
        now = time.monotonic()
        most = max(self.rate, 1.0)
        left, then = self._tokens.get(name, (most, now))
        left = min(most, left + (now - then) * self.rate)
        self._tokens[name] = (left - 1 if left >= 1 else left, now)
        return left >= 1


def secret_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key that a request carries."""
    for name, value in headers:
        if name == b"x-api-key":
            return value.decode("latin-1")
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip().decode("latin-1")
    return None
