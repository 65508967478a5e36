"""Checksums of many rows in any order: how two stores are compared that keep the same things differently.

Each row is hashed to 64 bits and the hashes are added, so neither order nor batches matter, and a row that is there twice
counts twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from msgspec import Struct

BITS = 64


class Sum(Struct):
    """How many rows, and the sum of their hashes.

    >>> one, other = Sum.of([b"a", b"b"]), Sum.of([b"b", b"a"])
    >>> one == other, one == Sum.of([b"a", b"a", b"b"]), one.rows
    (True, False, 2)
    """

    rows: int = 0
    hashes: int = 0

    @classmethod
    def of(cls, rows: Iterable[bytes]) -> Sum:
        found = cls()
        for row in rows:
            found.add(row)
        return found

    def add(self, row: bytes) -> None:
        self.rows += 1
        self.hashes = (self.hashes + int.from_bytes(blake2b(row, digest_size=BITS // 8).digest(), "big")) % (1 << BITS)

    def __str__(self) -> str:
        return f"{self.hashes:016x}"
