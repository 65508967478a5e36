"""Whether the stores of a configuration are there and fit: version, latency, clock, and what is wrong with the remedy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tastemaker.config import Config, hide
from tastemaker.errors import TastemakerError
from tastemaker.storage import Storage
from tastemaker.storage.inspection import Inspectable

TRIES = 5
SLOW = 0.25  # seconds of a question and its answer, above which requests would miss their deadline
SKEW = 1.0  # seconds between our clock and a server's, above which times in events and leases go wrong


@dataclass(frozen=True)
class Checked:
    """One store. ``latency`` and ``skew`` are in seconds; None where nobody can tell."""

    name: str
    url: str
    version: str = ""
    latency: float | None = None
    skew: float | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def check(storage: Storage, config: Config) -> Iterator[Checked]:
    """Looks at each store in turn; a store that is away is a finding like any other."""
    stores: dict[str, Callable[[], Any]] = {
        "log": lambda: storage.log,
        "kv": lambda: storage.kv,
        "lake": lambda: storage.lake,
        "tables": lambda: storage.tables,
        "models": lambda: storage.models,
    }
    for name, opened in stores.items():
        yield from look(name, config.url(name), opened)
    if config.connect.kv_durable:
        yield from look("kv_durable", config.url("kv_durable"), lambda: storage.kv_durable)


def look(name: str, url: str, opened: Callable[[], Any]) -> Iterator[Checked]:
    shown = str(hide(url))
    try:
        store = opened()
        if not isinstance(store, Inspectable):
            raise TypeError(f"connect.{name}: {type(store).__name__} cannot be inspected")
        found, spans, skews = store.inspect(), [], []  # the first look opens connections, and does not count
        for _ in range(TRIES):
            began, moment = time.perf_counter(), time.time()
            found = store.inspect()
            spans.append(time.perf_counter() - began)
            if found.clock is not None:
                skews.append(found.clock - (moment + spans[-1] / 2))
    except (TastemakerError, OSError) as error:
        yield Checked(name, shown, problems=(str(error),))
        return
    latency = statistics.median(spans)
    skew = statistics.median(skews) if skews else None
    problems = [*found.problems]
    if latency > SLOW:
        problems.append(f"an answer takes {latency * 1000:.0f} ms: put the server nearer, or give it more room to work")
    if skew is not None and abs(skew) > SKEW:
        problems.append(f"its clock differs from ours by {skew:+.1f} s: let both follow a time server (NTP)")
    yield Checked(name, shown, found.version, latency, skew, tuple(problems), found.notes)
