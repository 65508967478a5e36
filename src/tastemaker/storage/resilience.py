"""Timeouts, retries and circuit breakers: how every adapter of a server treats its server, in one place.

A call that fails because the server is away raises ``Unavailable``. Work beside requests is tried again with pauses that grow
and are drawn at random, so that many processes do not come back at the same moment. After some failures in a row the breaker
opens: calls fail at once instead of waiting for another timeout, and after a pause one call is let through to see whether the
server is back. Requests never try twice: they have a ladder to go down.

Timeouts themselves belong into the client of each server; ``Patience`` (section ``[patience]``) holds their lengths.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tastemaker.config import Patience
from tastemaker.errors import Unavailable

T = TypeVar("T")
FIRST = 0.05  # seconds before the second try at most; doubles with each
LONGEST = 2.0


class Breaker:
    """Closed (calls pass), open (calls fail at once) or half open (one call tries). Thread safe."""

    def __init__(self, failures: int, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures, self._pause, self._clock = failures, pause, clock
        self._lock = threading.Lock()
        self._count = 0
        self._until = 0.0  # open until then

    @property
    def open(self) -> bool:
        """Whether calls would fail at once."""
        return self._count >= self._failures and self._clock() < self._until

    def enter(self) -> bool:
        """Asks to call. While the server is being left alone the answer is no; after the pause one caller gets a yes."""
        if self._count < self._failures:
            return True
        with self._lock:
            now = self._clock()
            if self._count >= self._failures and now < self._until:
                return False
            self._until = now + self._pause  # the others wait for what this one finds
            return True

    def succeeded(self) -> None:
        self._count = 0

    def failed(self) -> None:
        with self._lock:
            self._count += 1
            if self._count >= self._failures:
                self._until = self._clock() + self._pause * random.uniform(0.75, 1.25)


class Careful:
    """Calls of one server. ``away`` are its client's errors that mean: not there, not now."""

    def __init__(self, what: str, patience: Patience, away: tuple[type[Exception], ...], remedy: str) -> None:
        self.what, self.patience, self.away, self.remedy = what, patience, away, remedy
        self.breaker = Breaker(patience.failures, patience.pause_ms / 1000)

    def call(self, work: Callable[[], T], *, repeat: bool = True) -> T:
        """Runs ``work``, which must be harmless to run twice when it may ``repeat``. Raises ``Unavailable``."""
        tries = self.patience.tries if repeat else 1
        for attempt in range(tries):
            self.enter()
            try:
                done = work()
            except self.away as error:
                self.breaker.failed()
                if attempt == tries - 1:
                    raise self.failure(error) from error
                time.sleep(pause_before(attempt))
            else:
                self.breaker.succeeded()
                return done
        raise AssertionError("the last attempt returns or raises")

    async def soon(self, work: Callable[[], Awaitable[T]]) -> T:
        """Awaits ``work`` once: for requests."""
        self.enter()
        try:
            done = await work()
        except self.away as error:
            self.breaker.failed()
            raise self.failure(error) from error
        self.breaker.succeeded()
        return done

    def failure(self, error: Exception) -> Unavailable:
        cause = " ".join(str(error).split()) or type(error).__name__  # on one line, whatever the client says
        return Unavailable(f"{self.what}: {cause}: {self.remedy}")

    def enter(self) -> None:
        """Asks the breaker; raises ``Unavailable`` while the server is left alone."""
        if not self.breaker.enter():
            raise Unavailable(
                f"{self.what}: it failed {self.patience.failures} times and is left alone for a moment: {self.remedy}"
            )


def pause_before(attempt: int) -> float:
    """Seconds between try ``attempt`` (from 0) and the next: anything up to a bound that doubles ("full jitter")."""
    return random.uniform(0.0, min(LONGEST, FIRST * 2**attempt))
