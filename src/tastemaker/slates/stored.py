"""The stored form of a slate: what a request needs comes ready made.

The front holds the first ``k`` items as finished JSON (the answer's ``items``) and finished MessagePack (the decision's
``slots``): a request of the usual length copies bytes. The whole list is a value of its own, for every other request.
``stamp`` is that of the catalogue that the titles and filters came from: when it has moved, the list is filtered and
rendered anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from tastemaker.domain import Reason, Scored, Slate, Slot
from tastemaker.slates.catalogue import Catalogue


class Front(Struct, frozen=True, array_like=True, gc=False):
    """The front of a slate as it lies in the online store."""

    made: int
    offset: int  # last event of the user's partition that it knows of
    stamp: int  # of the catalogue
    rung: str
    count: int  # items in ``body`` and ``slots``
    body: bytes  # JSON array
    slots: bytes  # MessagePack array of domain.Slot


class Shown(Struct, frozen=True, omit_defaults=True):
    """An item as the API shows it."""

    item: str
    title: str
    score: float
    source: str
    reasons: tuple[Reason, ...] = ()


_json = msgspec.json.Encoder()
_pack = msgspec.msgpack.Encoder()
decode_front = msgspec.msgpack.Decoder(Front).decode
decode_whole = msgspec.msgpack.Decoder(Slate).decode


def body_of(items: Sequence[Scored], catalogue: Catalogue) -> bytes:
    """The items as the JSON array of an answer."""
    return _json.encode([Shown(s.item, catalogue.title(s.item), s.score, s.source, s.reasons) for s in items])


def slots_of(items: Sequence[Scored]) -> tuple[Slot, ...]:
    """The items as slots of a decision. Nothing was drawn, so there is no propensity."""
    return tuple(
        Slot(s.item, 0, position, s.score, s.source, evidence=tuple(r.item for r in s.reasons if r.item is not None))
        for position, s in enumerate(items)
    )


def store(slate: Slate, rung: str, catalogue: Catalogue, k: int) -> tuple[bytes, bytes]:
    """A slate as (front, whole), its first ``k`` items ready to be sent."""
    first = slate.items[:k]
    slots = _pack.encode(slots_of(first))
    front = Front(slate.made, slate.offset, catalogue.stamp, rung, len(first), body_of(first, catalogue), slots)
    return _pack.encode(front), _pack.encode(slate)
