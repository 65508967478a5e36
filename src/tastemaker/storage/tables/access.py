"""API keys: who may call. A secret is shown once; the table holds its SHA-256, which is enough to recognise it.

The secrets are 256 random bits, so a plain hash is right: there is nothing to guess that a slow one would protect.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Engine, Row, insert, select, update

from tastemaker.errors import InputError, did_you_mean
from tastemaker.storage.tables.dialect import lock, move, reading, writing
from tastemaker.storage.tables.schema import api_keys

PREFIX = "tm_"
SCOPES = ("write", "read", "admin")
SHOWN = 16  # letters of the digest that name a key

decode_scopes = msgspec.json.Decoder(tuple[str, ...]).decode


class ApiKey(msgspec.Struct, frozen=True):
    """A key without its secret. ``made`` is in epoch milliseconds."""

    id: str
    name: str
    scopes: tuple[str, ...]
    made: int
    revoked: bool


class Keys:
    """The API keys."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def create(self, name: str, scopes: Sequence[str], now: int) -> str:
        """A new key with some of the scopes write, read and admin. Returns the secret, which cannot be seen again."""
        if not 1 <= len(name) <= 256:
            raise InputError("name", name, "give the key a name of 1 to 256 characters")
        if isinstance(scopes, str) or not scopes:
            raise InputError("scopes", scopes, f"give a list of one or more of {', '.join(SCOPES)}")
        for scope in scopes:
            if scope not in SCOPES:
                raise InputError("scopes", scope, f"no such scope; {did_you_mean(scope, SCOPES)}")
        secret = PREFIX + secrets.token_urlsafe(32)
        digest = digest_of(secret)
        granted = tuple(scope for scope in SCOPES if scope in scopes)
        row = {
            "id": digest[:SHOWN],
            "name": name,
            "digest": digest,
            "scopes": msgspec.json.encode(granted).decode(),
            "made": now,
            "revoked": False,
        }
        with writing(self.engine) as connection:
            lock(connection, "api_keys")
            connection.execute(insert(api_keys).values(row))
            move(connection, "api_keys")
        return secret

    def verify(self, secret: str) -> ApiKey | None:
        """The key of a secret; None when there is none or it was revoked."""
        digest = digest_of(secret)
        with reading(self.engine) as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.id == digest[:SHOWN])).one_or_none()
        # The database compares only the public beginning of the digest; the rest is compared in constant time.
        if row is None or not hmac.compare_digest(row.digest, digest) or row.revoked:
            return None
        return key_of(row)

    def all(self) -> list[ApiKey]:
        """Every key, also the revoked ones, oldest first."""
        with reading(self.engine) as connection:
            return [key_of(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.made, api_keys.c.id))]

    def revoke(self, id: str) -> bool:
        """Ends a key for good. False when there is none with this id, or it had ended before."""
        with writing(self.engine) as connection:
            lock(connection, "api_keys")
            ended = update(api_keys).where(api_keys.c.id == id, ~api_keys.c.revoked).values(revoked=True)
            found = connection.execute(ended).rowcount > 0
            if found:
                move(connection, "api_keys")
        return found


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def key_of(row: Row[Any]) -> ApiKey:
    return ApiKey(id=row.id, name=row.name, scopes=decode_scopes(row.scopes), made=row.made, revoked=bool(row.revoked))
