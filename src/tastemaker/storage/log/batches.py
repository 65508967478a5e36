"""Record batches: many events of one partition in one value, as brokers keep them.

A value per event would cost more in bookkeeping than the event itself. A batch is a MessagePack array of events, an erased
one being nil, behind one byte that names the codec: 0 plain, 1 LZ4 (followed by the plain size, four bytes little endian),
which pays off above a few kilobytes; Zstandard packs tighter, but costs a server a tenth of its requests. Batches are
checked before they are written: what is in the log can be read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple, TypeVar

import msgspec
import pyarrow as pa

from tastemaker.domain import EVENTS, AnyEvent, Erase, Event, Exposure, Record, decode_events, encode_event, key_of
from tastemaker.errors import InputError
from tastemaker.storage.log import Packed, partition_of

T = TypeVar("T")

ROWS = 4096  # events of a batch: bounds what reading one event costs
BYTES = 4 << 20
COMPRESS_FROM = 4096

PLAIN, LZ4 = b"\x00", b"\x01"
encode_list = msgspec.msgpack.Encoder().encode
decode_list = msgspec.msgpack.Decoder(list[AnyEvent | None]).decode


# key_of asks an event for its fields one by one; by type it is three times faster, and a test holds both equal.
class Keys(dict[type[Event], Callable[[Event], str]]):
    """A kind of event -> how to read its key; a stricter kind made from one of ours is read like it."""

    def __missing__(self, kind: type[Event]) -> Callable[[Event], str]:
        base = next((base for base in kind.__mro__ if base in EVENTS), None)
        if base is None:
            raise KeyError(f"{kind.__name__} is no kind of event")
        self[kind] = self[base]
        return self[kind]


KEYS = Keys(
    {kind: attrgetter("unit" if kind is Exposure else "user" if "user" in kind.__struct_fields__ else "item") for kind in EVENTS}
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive events of one partition, encoded, without the array's header."""

    partition: int
    count: int
    body: bytes


class Prepared(NamedTuple):
    """An append, ready to be written: the partition of each event, and the pieces in order."""

    where: list[int]
    pieces: list[Piece]


def header(count: int) -> bytes:
    """The head of a MessagePack array.

    >>> header(3), header(300)
    (b'\\x93', b'\\xdc\\x01,')
    """
    if count < 16:
        return bytes([0x90 | count])
    return struct.pack(">BH", 0xDC, count) if count < 65536 else struct.pack(">BI", 0xDD, count)


def prepare(events: Sequence[AnyEvent], partitions: int, *, checked: bool = False) -> Prepared:
    """Sorts an append's events into partitions and encodes them.

    Raises ``InputError`` naming the event that could not be read again: a struct made in code is checked by nobody before.
    """
    try:
        where = [partition_of(KEYS[type(event)](event), partitions) for event in events]
        pieces = []
        for partition, part in parts(where, events):
            packed = encode_list(part)
            if not checked:
                decode_events(packed)
            pieces.append(Piece(partition, len(part), packed[len(header(len(part))) :]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise first_fault(events, error) from error
    return Prepared(where, pieces)


def prepare_packed(events: Sequence[Packed], partitions: int) -> Prepared:
    """The same for events that are encoded already."""
    where = [partition_of(event.key, partitions) for event in events]
    bodies = [event.body for event in events]
    return Prepared(where, [Piece(partition, len(part), b"".join(part)) for partition, part in parts(where, bodies)])


def pack(events: Sequence[AnyEvent], *, checked: bool = False) -> list[Packed]:
    """Events encoded one by one, for a log that keeps them so; checked as ``prepare`` does it, with the same errors."""
    try:
        packed = [Packed(KEYS[type(event)](event), encode_event(event)) for event in events]
        if not checked:
            decode_events(header(len(packed)) + b"".join([event.body for event in packed]))
            for event in packed:
                event.key.encode()
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise first_fault(events, error) from error
    return packed


def parts(where: Sequence[int], rows: Sequence[T]) -> Iterator[tuple[int, list[T]]]:
    """Rows by partition, in order, at most ``ROWS`` at a time."""
    groups: dict[int, list[T]] = {}
    for partition, row in zip(where, rows, strict=True):
        groups.setdefault(partition, []).append(row)
    for partition, group in groups.items():
        for start in range(0, len(group), ROWS):
            yield partition, group[start : start + ROWS]


def first_fault(events: Sequence[AnyEvent], error: Exception) -> InputError:
    """Which event it was, and why: slow, for the path that seldom runs."""
    for index, event in enumerate(events):
        try:
            key_of(event).encode()
            decode_events(header(1) + encode_event(event))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as reason:
            return InputError(f"events[{index}]", event, f"not an event that can be stored: {reason}")
    return InputError("events", f"{len(events)} events", f"cannot be stored: {error}")


def assemble(pieces: Sequence[Piece]) -> list[tuple[int, bytes]]:
    """Pieces of one partition as batches: (number of events, payload)."""
    batches: list[tuple[int, bytes]] = []
    count, size, bodies = 0, 0, list[bytes]()
    for piece in pieces:
        if count and (count + piece.count > ROWS or size + len(piece.body) > BYTES):
            batches.append((count, compress(header(count) + b"".join(bodies))))
            count, size, bodies = 0, 0, []
        count, size = count + piece.count, size + len(piece.body)
        bodies.append(piece.body)
    if count:
        batches.append((count, compress(header(count) + b"".join(bodies))))
    return batches


def compress(body: bytes) -> bytes:
    if len(body) < COMPRESS_FROM:
        return PLAIN + body
    packed: bytes = pa.compress(body, codec="lz4_raw", asbytes=True)
    return LZ4 + struct.pack("<I", len(body)) + packed


def decompress(payload: bytes) -> bytes:
    if payload[:1] == PLAIN:
        return payload[1:]
    (size,) = struct.unpack_from("<I", payload, 1)
    body: bytes = pa.decompress(payload[5:], decompressed_size=size, codec="lz4_raw", asbytes=True)
    return body


def unpack(payload: bytes) -> list[AnyEvent | None]:
    """The events of a batch, None where one was erased."""
    return decode_list(decompress(payload))


def cut(rows: Iterable[tuple[int, list[AnyEvent | None]]], partition: int, start: int, limit: int) -> tuple[list[Record], int]:
    """Records from offset ``start`` on out of batches in order, each behind the offset of its first event.

    Also the offset behind the last event looked at: erased ones are passed by. Takes no more rows than it needs.
    """
    records: list[Record] = []
    position = start
    for first, events in rows:
        position = max(position, first)  # what was before may be gone
        while len(records) < limit and position < first + len(events):
            low = position - first
            part = events[low : low + limit - len(records)]
            records += [Record(partition, offset, event) for offset, event in enumerate(part, position) if event is not None]
            position += len(part)
        if len(records) >= limit:
            break
    return records, position


def without(payload: bytes, user: str) -> tuple[bytes, int] | None:
    """The batch without a user's events and how many they were; None when the user is not in it."""
    body = decompress(payload)
    if user.encode() not in body:  # spares decoding nearly every batch
        return None
    events = decode_list(body)
    kept = [None if event is not None and belongs(event, user) else event for event in events]
    erased = kept.count(None) - events.count(None)
    return (compress(encode_list(kept)), erased) if erased else None


def blank(count: int) -> bytes:
    """A batch of so many events, all of them gone."""
    return compress(encode_list([None] * count))


def belongs(event: AnyEvent, user: str) -> bool:
    """Whether erasing the user takes the event; the order to erase stays."""
    owner = event.unit if isinstance(event, Exposure) else getattr(event, "user", None)
    return owner == user and not isinstance(event, Erase)
