"""How tests wait for a Redis store that comes back."""

from __future__ import annotations

import asyncio
import time

from tastemaker.config import Patience
from tastemaker.errors import Unavailable
from tastemaker.storage.kv.redis import RedisKeyValue

BRISK = Patience(connect_ms=300, timeout_ms=300, tries=2, failures=3, pause_ms=100)


def readable(kv: RedisKeyValue) -> bool:
    try:
        return kv.get(["a"]) == [b"1"]
    except Unavailable:
        return False


async def fetchable(kv: RedisKeyValue, seconds: float = 10.0) -> bool:
    """Whether a loop gets an answer in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            return await kv.fetch(["a"]) == [b"1"]
        except Unavailable:
            await asyncio.sleep(0.02)
    return False


def writable(kv: RedisKeyValue) -> bool:
    """Whether it takes the value that the others look for."""
    try:
        kv.put({"a": b"1"})
    except Unavailable:
        return False
    return True
