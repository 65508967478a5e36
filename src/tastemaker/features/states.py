"""User states as bytes: the last applied offset first, so that a request can ask "anything new?" without decoding the rest."""

from __future__ import annotations

import struct

import msgspec

from tastemaker.domain import UserState

_offset = struct.Struct(">q")
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(UserState).decode


def pack(state: UserState) -> bytes:
    """The state's bytes: 8 of the offset, then MessagePack."""
    return _offset.pack(state.offset) + _pack(state)


def unpack(data: bytes) -> UserState:
    """The state.

    >>> unpack(pack(UserState("u", 3, offset=7))).offset
    7
    """
    return _unpack(memoryview(data)[_offset.size :])


def offset_of(data: bytes) -> int:
    """The last applied offset alone.

    >>> offset_of(pack(UserState("u", 3, offset=7)))
    7
    """
    found: int = _offset.unpack_from(data)[0]
    return found
