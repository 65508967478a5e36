"""Ports for servers that tests start.

A port that the system hands out is taken by somebody else's connection as easily as it was handed out: before the server
listens, and while a test has killed it and wants it back at the same place. These lie below the range that connections are
made from, and each process of a test run has a thousand of its own.
"""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import suppress

FIRST, BLOCKS, SIZE = 20_000, 12, 1000
_next = itertools.count()


def free_port() -> int:
    """One that nobody listens at; not the same again for a long time."""
    begin = FIRST + os.getpid() % BLOCKS * SIZE
    for _ in range(SIZE):
        port = begin + next(_next) % SIZE
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError(f"no port between {begin} and {begin + SIZE} is free")
