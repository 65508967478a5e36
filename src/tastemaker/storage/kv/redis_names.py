"""How keys are called on a Redis server: behind a prefix, and in a cluster so that one user's keys lie together.

A cluster spreads keys over its servers by a hash of what stands between ``{`` and ``}``. The last component of a key, which is
the user where a key has one, is put between them: ``state:u1`` becomes ``state:{u1}``, ``slate:v7:u1`` becomes
``slate:v7:{u1}``, and both have the same hash. Braces and percent signs of the key itself are escaped, so every name leads
back to its key.
"""

from __future__ import annotations

import re
from typing import Protocol

from tastemaker.errors import InputError

GLOB = re.compile(rb"[*?\[\]\\^-]")
ESCAPED = {"%": "%25", "{": "%7B", "}": "%7D"}
SPECIAL, ESCAPES = re.compile("[%{}]"), re.compile("%25|%7B|%7D")
BACK = {escape: character for character, escape in ESCAPED.items()}
EMPTY = "%"  # between the braces: an empty last component, which a cluster would not take for a tag


class Names(Protocol):
    """Keys to names and back."""

    def encode(self, key: str) -> bytes:
        """The name of a key; raises ``InputError`` for an empty one."""

    def decode(self, name: bytes) -> str | None:
        """The key of a name; None for a name that is none of ours."""

    def pattern(self, prefix: str) -> bytes:
        """A glob pattern that finds all names of keys under a prefix, and maybe others."""


class Plain:
    """Keys as they are, for a server that holds all of them."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.encode()

    def encode(self, key: str) -> bytes:
        if not key:
            raise empty()
        return self.prefix + key.encode()

    def decode(self, name: bytes) -> str | None:
        if not name.startswith(self.prefix):
            return None
        return text_of(name[len(self.prefix) :])

    def pattern(self, prefix: str) -> bytes:
        return glob(self.prefix + prefix.encode()) + b"*"


class Tagged:
    """Keys whose last component is their hash tag, for a cluster."""

    def __init__(self, prefix: str) -> None:
        self.prefix = escape(prefix)

    def encode(self, key: str) -> bytes:
        """See ``Names``.

        >>> Tagged("").encode("slate:v7:u1"), Tagged("shop:").encode("live"), Tagged("").encode("state:a{b}")
        (b'slate:v7:{u1}', b'shop:{live}', b'state:{a%7Bb%7D}')
        """
        if not key:
            raise empty()
        head, colon, tail = key.rpartition(":")
        return f"{self.prefix}{escape(head)}{colon}{{{escape(tail) or EMPTY}}}".encode()

    def decode(self, name: bytes) -> str | None:
        text = text_of(name)
        if text is None or not text.startswith(self.prefix) or not text.endswith("}"):
            return None
        head, brace, tail = text[len(self.prefix) : -1].partition("{")
        return unescape(head) + ("" if tail == EMPTY else unescape(tail)) if brace else None

    def pattern(self, prefix: str) -> bytes:
        """What follows the last colon of the prefix may begin a tag or not: those that do not fit are left to ``decode``."""
        head, colon, _ = prefix.rpartition(":")
        return glob(f"{self.prefix}{escape(head)}{colon}".encode()) + b"*"


def empty() -> InputError:
    return InputError("key", "", "a key needs at least one character")


def escape(text: str) -> str:
    return SPECIAL.sub(lambda found: ESCAPED[found[0]], text)


def unescape(text: str) -> str:
    return ESCAPES.sub(lambda found: BACK[found[0]], text)


def glob(name: bytes) -> bytes:
    r"""A name with whatever means something in a pattern escaped.

    >>> glob(b"a*[b]")
    b'a\\*\\[b\\]'
    """
    return GLOB.sub(rb"\\\g<0>", name)


def text_of(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None
