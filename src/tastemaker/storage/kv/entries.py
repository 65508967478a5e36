"""What lies in the cache's front: under which name, and what its bytes mean.

A name is the key and the epoch, so one new epoch leaves everything behind that was written before it. The epoch stands at the
end: a front that spreads keys over servers still sees the user in it and keeps one user's keys together. The first byte of
an entry tells a value from the knowledge that there is none. A value that ends carries its end, for its entry may stay
longer: it must not make room for an older one that a slow reader brings.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from enum import Enum

ABSENT, VALUE, ENDING, UNKNOWN = b"\0", b"\1", b"\2", b"\3"
DAY = 86_400.0  # seconds that an entry stays: whatever goes wrong with it is over then
NEGATIVE = 30.0  # the same for the knowledge that there is no value
SLOW = 10.0  # a reader that took longer keeps what it read to itself: what told it off may be gone
_END = struct.Struct(">cd")
Dated = tuple[bytes, float | None]


class Miss(Enum):
    """The front does not know."""

    MISS = 0


MISS = Miss.MISS


def name_of(key: str, epoch: str) -> str:
    return f"{key}\0{epoch}"


def entry_of(value: bytes, left: float | None = None) -> bytes:
    """The entry of a value that has some seconds left, or no end."""
    return VALUE + value if left is None else _END.pack(ENDING, time.time() + left) + value


def value_of(entry: bytes | None) -> bytes | Miss | None:
    """What an entry says: a value, None (there is none), or nothing.

    >>> value_of(entry_of(b"x")), value_of(ABSENT), value_of(entry_of(b"x", -1.0)), value_of(None), value_of(UNKNOWN)
    (b'x', None, None, <Miss.MISS: 0>, <Miss.MISS: 0>)
    """
    if entry is None:
        return MISS
    kind = entry[:1]
    if kind == VALUE:
        return entry[1:]
    if kind == ENDING:
        return entry[_END.size :] if _END.unpack_from(entry)[1] > time.time() else None
    return None if kind == ABSENT else MISS


def seconds_of(ttl: float | None) -> float:
    """How long the entry of a value stays in the front."""
    return DAY if ttl is None else min(DAY, max(ttl, NEGATIVE))


def copies_of(found: Iterable[tuple[str, Dated | None]], epoch: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Entries of what the back said: of values, and of keys without one."""
    values, none = {}, {}
    for key, entry in found:
        if entry is None:
            none[name_of(key, epoch)] = ABSENT
        else:
            values[name_of(key, epoch)] = entry_of(*entry)
    return values, none
