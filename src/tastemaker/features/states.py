"""User states as bytes, and their mark: the last applied offset alone, so that a request can ask "anything new?" cheaply."""

from __future__ import annotations

import struct

import msgspec

from tastemaker.domain import UserState

_mark = struct.Struct(">q")
pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(UserState).decode


def mark(state: UserState) -> bytes:
    """The state's offset.

    >>> offset_of(mark(UserState("u", 3, offset=7)))
    7
    """
    return _mark.pack(state.offset)


def offset_of(mark: bytes) -> int:
    """The last applied offset."""
    found: int = _mark.unpack(mark)[0]
    return found
