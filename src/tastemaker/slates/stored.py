"""The stored form of a slate: what a request needs comes ready made.

The front holds the first ``k`` items as finished JSON (the answer but for its decision and age) and the decision that they
make (``decided.py``), behind a head of fixed length: a request of the usual length reads a few numbers and copies
bytes, because code and data that are not touched need not be in the cache. The whole list is a value of its own.
``stamp`` is that of the catalogue that the titles and filters came from: when it has moved, the list is filtered and
rendered anew.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from tastemaker.domain import Reason, Scored, Slate
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.compose import RUNGS
from tastemaker.slates.decided import opening_of

HEAD = struct.Struct(">qqqHBI")
"""The head of a front: made, offset, stamp of the catalogue, items, rung as a number, bytes of the tail; then both."""
RUNG_NAMES = tuple(RUNGS)


class Front(Struct, frozen=True, gc=False):
    """The front of a slate, taken apart."""

    made: int
    offset: int  # last event of the user's partition that it knows of
    stamp: int  # of the catalogue
    rung: str
    count: int  # items in ``tail`` and ``slots``
    tail: bytes  # the end of the JSON answer, see ``tail_of``
    opening: bytes  # the beginning of the decision, see ``decided.py``


class Shown(Struct, frozen=True, omit_defaults=True):
    """An item as the API shows it."""

    item: str
    title: str
    score: float
    source: str
    reasons: tuple[Reason, ...] = ()


_json = msgspec.json.Encoder()
_pack = msgspec.msgpack.Encoder()
decode_whole = msgspec.msgpack.Decoder(Slate).decode


def body_of(items: Sequence[Scored], catalogue: Catalogue) -> bytes:
    """The items as the JSON array of an answer."""
    return _json.encode([Shown(s.item, catalogue.title(s.item), s.score, s.source, s.reasons) for s in items])


def tail_of(user: str, version: str, rung: str, note: str, body: bytes) -> bytes:
    """All of an answer but its decision and age.

    >>> tail_of("u1", "als-1", "empty", "", b"[]")
    b'"user":"u1","model":"als-1","rung":"empty","items":[]}'
    """
    model = _json.encode(version or None)
    remark = b'"note":%b,' % _json.encode(note) if note else b""
    return b'"user":%b,"model":%b,"rung":"%b",%b"items":%b}' % (_json.encode(user), model, rung.encode(), remark, body)


def store(slate: Slate, rung: str, catalogue: Catalogue, k: int, reward: str) -> tuple[bytes, bytes]:
    """A slate as (front, whole), its first ``k`` items ready to be sent. ``reward`` is the version of the rewards."""
    first = slate.items[:k]
    tail = tail_of(slate.user, slate.model, rung, "", body_of(first, catalogue))
    head = HEAD.pack(slate.made, slate.offset, catalogue.stamp, len(first), RUNG_NAMES.index(rung), len(tail))
    opening = opening_of(slate.user, slate.model, rung, slate.offset, reward, first)
    return head + tail + opening, _pack.encode(slate)


def decode_front(data: bytes) -> Front:
    """The front of a slate. Raises ``struct.error`` or ``IndexError`` for bytes that are none."""
    made, offset, stamp, count, rung, length = HEAD.unpack_from(data)
    end = HEAD.size + length
    return Front(made, offset, stamp, RUNG_NAMES[rung], count, data[HEAD.size : end], data[end:])
