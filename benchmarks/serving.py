"""What a recommendation costs: CPU per request beside a bare ASGI handler, and the latency of a freshly composed slate.

Two servers of the same kind (uvicorn, same settings) run side by side, each pinned to the first core, the load on the
second: ``bare`` answers every request with the same bytes, ``tastemaker`` reads the state's mark and the stored slate,
copies it and logs the decision. They are measured in turns, kept busy all the time (a server that sleeps between requests
pays for its awakenings); the figure is server CPU per request (``/proc/PID/task/*/schedstat``), medians over many short
rounds, with the middle half of the ratios. Then every user's history is moved on by one event without making new slates,
so that each request must compose over the whole catalogue; there the figure is the latency that the client sees, one
request at a time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import click
import numpy as np

from benchmarks.load import closed_loop, cpu_seconds, saturate, until
from benchmarks.report import machine, write_section
from benchmarks.world import ITEMS, START, USERS, prepare, settings
from tastemaker.config import Connect
from tastemaker.domain import Interaction
from tastemaker.storage import connect

ROUNDS, SECONDS, CONNECTIONS = 30, 0.3, 64


async def bare(scope: dict[str, object], _receive: object, send: object) -> None:
    """The least that an ASGI application can do: one constant answer of the usual length."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})  # type: ignore[operator]  # ASGI's send
    await send({"type": "http.response.body", "body": BODY})  # type: ignore[operator]  # ASGI's send


BODY = b"x" * int(os.environ.get("BARE_BYTES", "1500"))
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


def move_on(home: str) -> None:
    """One more event for everybody, applied to the states, without new slates."""
    from tastemaker.slates.sources import Shelf
    from tastemaker.streaming.update import update

    config = settings(Connect(home))
    with connect(config) as storage:
        ends = storage.log.ends()
        events = [Interaction(f"late-{n}", START + 40 * 86_400_000, f"u{n}", f"i{n * 7 % ITEMS}", "click") for n in range(USERS)]
        storage.log.append(events).result()
        for partition, end in enumerate(ends):
            update(storage.log.read(partition, end, USERS), storage.kv, config, Shelf(), refresh=False)


def serve(kind: str, home: str, port: int) -> None:
    """The child: a server of one kind."""
    os.sched_setaffinity(0, {0})
    import uvicorn
    from msgspec.structs import replace

    from tastemaker.serving.app import create_app
    from tastemaker.serving.server import server

    config = settings(Connect(home))
    config = replace(config, serving=replace(config.serving, port=port))
    with connect(config) as storage:
        if kind == "tastemaker":
            server(create_app(storage, config), config).run()
        else:
            made = server(create_app(storage, config), config).config
            uvicorn.Server(
                uvicorn.Config(
                    bare,
                    port=port,
                    loop=made.loop,
                    http=made.http,
                    lifespan="off",
                    access_log=False,
                    proxy_headers=False,
                    server_header=False,
                    date_header=False,
                    log_level="warning",
                )
            ).run()


def start(kind: str, home: str, port: int, size: int = 1500) -> subprocess.Popen[bytes]:
    import socket

    command = [sys.executable, "-m", "benchmarks.serving", "--serve", kind, "--home", home, "--port", str(port)]
    child = subprocess.Popen(command, env=os.environ | {"BARE_BYTES": str(size)})

    def answers() -> bool:
        if child.poll() is not None:
            raise RuntimeError(f"the {kind} server ended with {child.returncode}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(answers, f"starting the {kind} server")
    return child


def paths(users: int = USERS) -> Iterator[str]:
    rng = np.random.default_rng(1)
    order = rng.permutation(users).tolist()
    return itertools.cycle([f"/v1/users/u{user}/recommendations" for user in order])


def measure(home: str) -> dict[str, float]:
    """The whole run."""
    os.sched_setaffinity(0, {1} if (os.cpu_count() or 1) > 1 else {0})
    ports = {"bare": 18_301, "tastemaker": 18_302}
    cost: dict[str, list[float]] = {"bare": [], "tastemaker": []}
    rate: dict[str, list[float]] = {"bare": [], "tastemaker": []}
    ours = start("tastemaker", home, ports["tastemaker"])
    from benchmarks.load import Connection

    async def one() -> int:
        connection = await Connection.open(ports["tastemaker"])
        return len((await connection.get("/v1/users/u1/recommendations"))[1])

    size = asyncio.run(one())
    children = {"tastemaker": ours, "bare": start("bare", home, ports["bare"], size)}
    try:
        for round_ in range(ROUNDS + 1):
            for kind, child in children.items():
                before = cpu_seconds(child.pid)
                answered = saturate(ports[kind], paths(), CONNECTIONS, SECONDS)
                used = cpu_seconds(child.pid) - before
                if round_:  # the first round warms up
                    cost[kind].append(used / answered * 1e6)
                    rate[kind].append(answered / SECONDS)
        ours.terminate()
        ours.wait()
        move_on(home)
        children["tastemaker"] = start("tastemaker", home, ports["tastemaker"])
        asyncio.run(closed_loop(ports["tastemaker"], paths(), 1, 1.0))
        _, latencies = asyncio.run(closed_loop(ports["tastemaker"], paths(), 1, 6.0))
    finally:
        for child in children.values():
            child.terminate()
            child.wait()
    ratios = [a / b for a, b in zip(cost["tastemaker"], cost["bare"], strict=True)]
    return {
        "bytes": float(size),
        "bare_us": statistics.median(cost["bare"]),
        "stored_us": statistics.median(cost["tastemaker"]),
        "ratio": statistics.median(ratios),
        "ratio_low": float(np.quantile(ratios, 0.25)),
        "ratio_high": float(np.quantile(ratios, 0.75)),
        "bare_rps": statistics.median(rate["bare"]),
        "stored_rps": statistics.median(rate["tastemaker"]),
        "composed_p50_ms": float(np.percentile(latencies, 50)),
        "composed_p99_ms": float(np.percentile(latencies, 99)),
        "composed_n": float(len(latencies)),
    }


@click.command()
@click.option("--serve", "kind", hidden=True)
@click.option("--home", hidden=True, default="")
@click.option("--port", hidden=True, default=0)
def main(kind: str | None, home: str, port: int) -> None:
    """Measure what a recommendation costs."""
    if kind:
        serve(kind, home, port)
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(settings(Connect(folder)))
        found = measure(folder)
    text = (
        f"| | CPU per request | × bare | requests/s seen by the client |\n|---|---:|---:|---:|\n"
        f"| bare ASGI handler, constant {found['bytes']:.0f} bytes | {found['bare_us']:.1f} µs | 1 | {found['bare_rps']:,.0f} |\n"
        f"| stored slate, k = 10, decision logged | {found['stored_us']:.1f} µs | **{found['ratio']:.2f}** "
        f"({found['ratio_low']:.2f}–{found['ratio_high']:.2f}) | {found['stored_rps']:,.0f} |\n\n"
        f"A slate composed from a changed history over {ITEMS:,} items (als, 64 factors, reasons included), one request at a "
        f"time: p50 {found['composed_p50_ms']:.2f} ms, **p99 {found['composed_p99_ms']:.2f} ms** "
        f"({found['composed_n']:,.0f} requests).\n\n"
        f"{machine()} {ROUNDS} interleaved rounds of {SECONDS} s, {CONNECTIONS} connections, server on one core, load on the "
        "other."
    )
    print(text)
    write_section("serving", text)


if __name__ == "__main__":
    main()
