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
    """Get and put. Thread safe; one ``get`` or ``put`` is atomic: others see all of it or nothing."""

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values, None where there is none or its time is over, all from one moment."""

    def put(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        """Writes all in one step; after ``ttl`` seconds they are gone."""

    def delete(self, keys: Sequence[str]) -> None:
        """Removes the keys that are there."""

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Keys and values under a prefix, in order of the key (bytewise)."""

    def close(self) -> None: ...


SCHEMES = {"lmdb": "tastemaker.storage.kv.lmdb:open_kv"}


def consumer_of(kv: KeyValue) -> str:
    """The consumer group of the log that fills this store.

    Each store has a name of its own, so an empty one, in place of one that was lost, reads the log from its beginning.
    """
    name = kv.get([keys.STORE])[0]
    if name is None:
        name = uuid.uuid4().hex[:12].encode()
        kv.put({keys.STORE: name})
    return f"nearline-{name.decode()}"
