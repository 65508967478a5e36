"""The online store: a few small values by key, read in microseconds.

It holds what a request needs: user states, slates by model version, counters and the pointer to the live version. Nothing
in it is the only copy: all can be rebuilt from the log and the lake. Values are bytes; the keys and what they hold are
listed in ``storage/keys.py``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from tastemaker.storage import keys


class KeyValue(Protocol):
    """Get and put. Thread safe; one ``get`` or ``put`` is atomic: others see all of it or nothing.

    A store that is spread over several servers keeps this for the keys of one user, see its adapter. Stores on a server raise
    ``Unavailable`` when it is away.
    """

    immediate: bool
    """Whether ``get`` takes microseconds, so that an event loop may call it; else it must ``await fetch``."""

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values, None where there is none or its time is over, all from one moment."""

    async def fetch(self, keys: Sequence[str]) -> list[bytes | None]:
        """``get`` for an event loop, which goes on meanwhile. Calls of the same turn of the loop share one round trip."""

    def put(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        """Writes all in one step; after ``ttl`` seconds they are gone."""

    def add(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        """Writes those that are not there yet, each for itself; of two writers one is first."""

    def fill(self, items: Mapping[str, bytes]) -> None:
        """Writes many values fast, not in one step: for what nobody reads before a pointer leads there."""

    def delete(self, keys: Sequence[str]) -> None:
        """Removes the keys that are there."""

    def drop(self, prefix: str) -> int:
        """Removes everything under a prefix, not in one step; returns how many values there were."""

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Keys and values under a prefix, in order of the key (bytewise)."""

    def close(self) -> None: ...


class Dated(KeyValue, Protocol):
    """A store that may stand behind a cache: it can say how long its values live, so that their copies live no longer."""

    def look(self, keys: Sequence[str]) -> list[tuple[bytes, float | None] | None]:
        """``get`` with the seconds that each value has left; None: it has no end. Tries once, since requests wait for it."""


SCHEMES = {
    "lmdb": "tastemaker.storage.kv.lmdb:open_kv",
    "redis": "tastemaker.storage.kv.redis:open_kv",
    "rediss": "tastemaker.storage.kv.redis:open_kv",
    "redis+cluster": "tastemaker.storage.kv.redis:open_kv",
    "rediss+cluster": "tastemaker.storage.kv.redis:open_kv",
    "redis+sentinel": "tastemaker.storage.kv.redis:open_kv",
    "rediss+sentinel": "tastemaker.storage.kv.redis:open_kv",
    "postgresql": "tastemaker.storage.kv.postgresql:open_kv",
}
DURABLE = {scheme: SCHEMES[scheme] for scheme in ("lmdb", "postgresql")}  # those that open a ``Dated`` store


def consumer_of(kv: KeyValue) -> str:
    """The consumer group of the log that fills this store.

    Each store has a name of its own, so an empty one, in place of one that was lost, reads the log from its beginning.
    """
    name = kv.get([keys.STORE])[0]
    if name is None:
        kv.add({keys.STORE: uuid.uuid4().hex[:12].encode()})  # of two workers that start together, one names it
        name = kv.get([keys.STORE])[0]
    return group_of(name)


def group_of(name: bytes | None) -> str:
    """The consumer group that belongs to a store's name; empty for a store that has none yet.

    >>> group_of(b"5f0c"), group_of(None)
    ('nearline-5f0c', '')
    """
    return f"nearline-{name.decode()}" if name is not None else ""
