"""How long until a click shows: from the acknowledgement of an event to the first answer that reflects it.

    python -m benchmarks.freshness [--on files|cluster] [--quick]

The platform runs over a made-up catalogue with a live als model: on files as one process (``tastemaker up``); on a cluster,
which is Kafka, Redis before PostgreSQL and S3, as ``tastemaker serve`` and ``tastemaker stream``. Events arrive at a steady
rate from an open loop (the next one does not wait for the last one's effect); each clicks the user's first recommendation,
and the user is asked again until the item is gone from an answer of the rung ``personal``. The figure is the time from the
202 to that answer's arrival.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np

import profiles
from benchmarks.load import Connection, until
from benchmarks.report import machine, write_section
from benchmarks.running import CORES, QUICK, running
from benchmarks.world import ITEMS, PER_USER, SMALL, USERS, prepare, settings
from tastemaker.config import Config
from tastemaker.storage import connect
from tastemaker.storage.kv import consumer_of
from tastemaker.storage.log import lag_of

PATIENCE = 20.0


@dataclass(frozen=True)
class Place:
    """Where the platform lives and what it has to bear."""

    section: str  # of the report
    processes: tuple[tuple[str, ...], ...]  # the first one serves
    rate: int  # clicks a second
    warm: int  # the same while it warms up
    seconds: int
    pause: float  # between two questions about the same user
    slower: float  # the same as a share of the time that the click has waited: else the asking would be most of the load
    told: str
    world: tuple[int, int, int] = (USERS, ITEMS, PER_USER)  # users, items, clicks of each


PLACES = {
    "files": Place("freshness", (("up", "--no-schedule"),), 50, 50, 30, 0.002, 0.0, "Everything embedded in `tastemaker up`"),
    "cluster": Place(
        "freshness-cluster",
        (("serve",), ("stream",)),
        200,
        20,
        20,
        0.050,  # each question is a decision in the log, too: asked more often, the asking would be most of the load
        0.1,
        "`tastemaker serve` and `tastemaker stream` over Kafka, Redis before PostgreSQL, and S3",
        # Fewer clicks of old: the test's broker writes all of its messages to a file again every second.
        (USERS, ITEMS, 15),
    ),
}


async def one(port: int, place: Place, user: str, number: int, began: float, found: list[float]) -> None:
    """Waits for its moment, clicks, and asks until the click shows."""
    await asyncio.sleep(max(0.0, began - time.perf_counter()))
    connection = await Connection.open(port)
    _, body = await connection.get(f"/v1/users/{user}/recommendations")
    answer = json.loads(body)
    item = answer["items"][0]["item"]
    event = {
        "type": "interaction",
        "id": f"fresh-{number}",
        "user": user,
        "item": item,
        "kind": "click",
        "decision": answer["decision"],
    }
    status, receipt = await connection.post("/v1/events", json.dumps(event).encode())
    acknowledged = time.perf_counter()
    if status != 202:
        raise RuntimeError(f"{status}: {receipt!r}")
    while time.perf_counter() - acknowledged < PATIENCE:
        _, body = await connection.get(f"/v1/users/{user}/recommendations")
        answer = json.loads(body)
        if answer["rung"] == "personal" and all(shown["item"] != item for shown in answer["items"]):
            found.append((time.perf_counter() - acknowledged) * 1000)
            connection.close()
            return
        await asyncio.sleep(max(place.pause, place.slower * (time.perf_counter() - acknowledged)))
    raise TimeoutError(f"the click of {user} on {item} did not show within {PATIENCE} s")


async def stream(port: int, place: Place, users: int, seconds: int, first: int, seed: int) -> list[float]:
    """``place.rate`` clicks a second, each of another user; events are numbered from ``first``."""
    found: list[float] = []
    start = time.perf_counter() + 0.5
    order = np.random.default_rng(seed).permutation(users).tolist()
    await asyncio.gather(
        *(one(port, place, f"u{order[n % users]}", first + n, start + n / place.rate, found) for n in range(place.rate * seconds))
    )
    return found


@contextmanager
def platform(config: Config, place: Place) -> Iterator[int]:
    """The platform at work, behind no event; its port."""
    with ExitStack() as stack, connect(config) as storage:
        children = [stack.enter_context(running(config.connect, *each, cores=set(CORES))) for each in place.processes]
        until(
            lambda: lag_of(storage.log.ends(), storage.log.committed(consumer_of(storage.kv))) == 0,
            "applying what is in the log",
        )
        yield children[0][1]


def measure(name: str, quick: bool) -> str:
    """The report of one place."""
    place = PLACES[name]
    world, warm, seconds = (SMALL, 1, 1) if quick else (place.world, 3, place.seconds)
    with tempfile.TemporaryDirectory() as home:
        config = settings(profiles.PROFILES[name](Path(home)))
        prepare(config, *world)
        with platform(config, place) as port:
            asyncio.run(stream(port, replace(place, rate=place.warm), world[0], warm, 0, seed=2))  # warms up
            found = asyncio.run(stream(port, place, world[0], seconds, 10_000, seed=3))
    p50, p95, p99 = np.percentile(found, [50, 95, 99])
    return (
        f"| clicks | at | p50 | p95 | p99 | longest |\n|---:|---:|---:|---:|---:|---:|\n"
        f"| {len(found):,} | {place.rate}/s | {p50:.1f} ms | {p95:.1f} ms | **{p99:.1f} ms** | {max(found):.1f} ms |\n\n"
        f"{place.told}, als over {world[1]:,} items; client, servers and platform share the machine; a user is asked again "
        f"after {place.pause * 1000:.0f} ms{', or a tenth of the time waited' if place.slower else ''}. {machine()}"
    )


@click.command()
@click.option("--on", "names", type=click.Choice(list(PLACES)), multiple=True, help="Where; both unless one is named.")
@QUICK
def main(names: tuple[str, ...], quick: bool) -> None:
    """Measure the time from a click to its effect."""
    for name in names or PLACES:
        text = measure(name, quick)
        print(text, flush=True)
        if not quick:
            write_section(PLACES[name].section, text)


if __name__ == "__main__":
    main()
