"""How long until a click shows: from the acknowledgement of an event to the first answer that reflects it.

``tastemaker up`` runs as its own process over a made-up catalogue with a live als model. Events arrive at a steady rate from
an open loop (the next one does not wait for the last one's effect); each clicks the user's first recommendation, and the
user is asked again until the item is gone from an answer of the rung ``personal``. The figure is the time from the 202 to
that answer's arrival.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

import click
import numpy as np

from benchmarks.load import Connection, until
from benchmarks.report import machine, write_section
from benchmarks.serving import prepare

RATE, SECONDS, USERS = 50, 30, 1_500
PORT = 18_311
PAUSE = 0.002  # between two questions about the same user
PATIENCE = 5.0


async def one(user: str, number: int, began: float, found: list[float]) -> None:
    """Waits for its moment, clicks, and asks until the click shows."""
    await asyncio.sleep(max(0.0, began - time.perf_counter()))
    connection = await Connection.open(PORT)
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
        await asyncio.sleep(PAUSE)
    raise TimeoutError(f"the click of {user} on {item} did not show within {PATIENCE} s")


async def stream(seconds: int, first: int, seed: int) -> list[float]:
    """``RATE`` clicks a second, each of another user; events are numbered from ``first``."""
    found: list[float] = []
    start = time.perf_counter() + 0.5
    order = np.random.default_rng(seed).permutation(USERS).tolist()
    await asyncio.gather(*(one(f"u{order[n % USERS]}", first + n, start + n / RATE, found) for n in range(RATE * seconds)))
    return found


def ready() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/ready", timeout=1) as answer:
            state = json.load(answer)
    except OSError:
        return False
    return bool(state["ready"] and state["live"] and state["nearline"]["lag"] == 0)


@click.command()
def main() -> None:
    """Measure the time from a click to its effect."""
    with tempfile.TemporaryDirectory() as home:
        prepare(home)
        environ = os.environ | {"TASTEMAKER_CONNECT__HOME": home, "TASTEMAKER_SERVING__PORT": str(PORT)}
        child = subprocess.Popen([sys.executable, "-m", "tastemaker", "up", "--no-schedule"], env=environ)
        try:
            until(ready, "starting tastemaker up")
            asyncio.run(stream(3, 0, seed=2))  # warms up
            found = asyncio.run(stream(SECONDS, 10_000, seed=3))
        finally:
            child.terminate()
            child.wait()
    p50, p95, p99 = np.percentile(found, [50, 95, 99])
    text = (
        f"| clicks | at | p50 | p95 | p99 | longest |\n|---:|---:|---:|---:|---:|---:|\n"
        f"| {len(found):,} | {RATE}/s | {p50:.1f} ms | {p95:.1f} ms | **{p99:.1f} ms** | {max(found):.1f} ms |\n\n"
        "Everything embedded in one process (`tastemaker up`), als over 20,000 items; client and server share the machine. "
        f"{machine()}"
    )
    print(text)
    write_section("freshness", text)


if __name__ == "__main__":
    main()
