"""Who may do what: API keys with scopes.

``write`` sends events and changes the catalogue, ``read`` asks for recommendations, ``admin`` erases users and moves the
live version. On loopback, without ``serving.keys``, write and read are open; admin never is: no key, no admin. A key comes
as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

from tastemaker.config import Config
from tastemaker.storage import Storage
from tastemaker.storage.tables.access import ApiKey

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
TRUST = 5.0  # seconds for which a checked key is not looked up again: how long a revoked one may live on


class Denied(Exception):
    """A request without the right key, or too many or too much of it; ``status`` is 401, 403, 413 or 429."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Auth:
    """Checks the keys of requests. One per process."""

    def __init__(self, storage: Storage, config: Config) -> None:
        self.storage = storage
        self.open = config.serving.host in LOOPBACK and not config.serving.keys
        self.rate = config.serving.rate
        self._checked: dict[bytes, tuple[float, ApiKey | None]] = {}
        self._tokens: dict[str, tuple[float, float]] = {}  # key id -> (tokens left, when)

    def allow(self, headers: Iterable[tuple[bytes, bytes]], scope: str) -> None:
        """Returns when the request may go on, else raises ``Denied``."""
        if self.open and scope != "admin":
            return
        secret = secret_of(headers)
        if secret is None:
            raise Denied(401, f"this needs an API key with scope {scope!r}: tastemaker keys create NAME --scope {scope}")
        key = self._look_up(secret)
        if key is None:
            raise Denied(401, "this API key is unknown or revoked: tastemaker keys list")
        if scope not in key.scopes and "admin" not in key.scopes:
            raise Denied(403, f"this API key has no scope {scope!r}, only {', '.join(sorted(key.scopes))}")
        if self.rate and not self._spend(str(key.id)):
            raise Denied(429, f"more than {self.rate:g} requests a second with this key (serving.rate); try again in a second")

    def _look_up(self, secret: str) -> ApiKey | None:
        digest = hashlib.sha256(secret.encode()).digest()
        now = time.monotonic()
        known = self._checked.get(digest)
        if known is not None and now - known[0] < TRUST:
            return known[1]
        if len(self._checked) > 10_000:
            self._checked.clear()
        key = self.storage.tables.keys.verify(secret)
        self._checked[digest] = (now, key)
        return key

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
