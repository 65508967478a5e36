"""What a recommendation costs where the online store is a server: requests a second, and CPU of the process that answers.

    python -m benchmarks.serving_remote [--quick]

``tastemaker serve`` runs once over each online store, each on the first core, only one of them asked at a time; clients and
the stores' servers share the other core. The answer is a stored slate, as in ``serving.py``, and so is the bare ASGI handler
beside it. What reading alone costs is measured in the same rounds: redis-py with 64 MGETs in a pipeline, and redis.asyncio
one MGET after the other, both for the keys of such a request and on the core of the server process.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import click
import redis
import redis.asyncio
import uvloop
from msgspec.structs import replace

from benchmarks.load import Connection, cpu_seconds, saturate
from benchmarks.report import machine, write_section
from benchmarks.running import FIRST, QUICK, on_the_first, on_the_rest, online_stores, ratios, running, spread
from benchmarks.serving import CONNECTIONS, paths, start
from benchmarks.world import ITEMS, PER_USER, SMALL, USERS, prepare, settings
from tastemaker.config import Connect, Serving
from tastemaker.registry.live import read
from tastemaker.storage import connect, keys

ROUNDS, SECONDS = 15, 0.4
BARE_PORT = 18_321
BARE, PIPELINED, ONE_BY_ONE = (
    "bare ASGI handler",
    "MGET alone, redis-py, 64 in a pipeline",
    "MGET alone, redis.asyncio, one by one",
)
Found = dict[str, dict[str, list[float]]]  # name -> "us" and "rate" -> rounds


def published(home: str, world: tuple[int, int, int]) -> tuple[dict[str, Connect], list[tuple[str, str]]]:
    """A world in every online store, each with a home of its own; and the keys that a request for each user reads."""
    origin = settings(Connect(f"{home}/origin"))
    prepare(origin, *world)
    with connect(origin) as storage:
        values = dict(storage.kv.scan(""))
        live = read(storage.kv)
        assert live is not None
    places = {}
    for number, (name, place) in enumerate(online_stores(home).items()):
        own = shutil.copytree(f"{home}/origin", f"{home}/{number}")
        places[name] = replace(place, home=str(own))
        with connect(settings(places[name])) as storage:
            storage.kv.put(values)
    return places, [(keys.mark(f"u{n}"), keys.slate(live.version, f"u{n}")) for n in range(world[0])]


class Reading:
    """Bare clients of Redis."""

    def __init__(self, url: str, names: list[tuple[str, str]]) -> None:
        self.url, self.names = url, itertools.cycle(names)
        self.client = redis.Redis.from_url(url, protocol=2)

    def pipelined(self, seconds: float) -> int:
        count = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            with self.client.pipeline(transaction=False) as pipe:
                for _ in range(CONNECTIONS):
                    pipe.mget(next(self.names))
                found = pipe.execute()
            assert all(front is not None for _, front in found)
            count += len(found)
        return count

    def one_by_one(self, seconds: float) -> int:
        async def ask() -> int:
            async with redis.asyncio.Redis.from_url(self.url, protocol=2) as client:
                await client.ping()
                count = 0
                end = time.perf_counter() + seconds
                while time.perf_counter() < end:
                    await client.mget(next(self.names))
                    count += 1
                return count

        return uvloop.run(ask())


@contextmanager
def on_its_core() -> Iterator[dict[str, float]]:
    """Bare clients work where the server process does; the CPU time that they use meanwhile."""
    on_the_first()
    used = {"before": time.process_time()}
    yield used
    used["seconds"] = time.process_time() - used["before"]
    on_the_rest()


def measure(home: str, rounds: int, seconds: float, world: tuple[int, int, int]) -> tuple[Found, int, dict[str, float]]:
    """CPU of each request in microseconds and requests a second in each round; the bytes of an answer; ``fallen`` by store."""
    on_the_rest()
    places, names = published(home, world)
    found: Found = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        servers_ = {name: stack.enter_context(running(place, "serve", cores=FIRST)) for name, place in places.items()}
        doors = {name: (child.pid, port) for name, (child, port) in servers_.items()}
        size = max([asyncio.run(length(port)) for _, port in doors.values()])  # each has started once it answers
        bare = start("bare", home, BARE_PORT, size)
        stack.callback(bare.wait)
        stack.callback(bare.terminate)
        doors = {BARE: (bare.pid, BARE_PORT)} | doors
        reading = Reading(places["Redis"].kv, names)
        for round_ in range(rounds + 1):
            for name, (pid, port) in doors.items():
                before = cpu_seconds(pid)
                answered = saturate(port, paths(world[0]), CONNECTIONS, seconds, spin=False)
                note(found[name], answered, seconds, cpu_seconds(pid) - before, round_)
            for name, ask in ((PIPELINED, reading.pipelined), (ONE_BY_ONE, reading.one_by_one)):
                with on_its_core() as used:
                    answered = ask(seconds)
                note(found[name], answered, seconds, used["seconds"], round_)
        lost = {name: asyncio.run(fallen(doors[name][1])) for name in places}
    return found, size, lost


def note(found: dict[str, list[float]], answered: int, seconds: float, used: float, round_: int) -> None:
    """Keeps what a round showed; the first one warms up."""
    if round_:
        found["us"].append(used / answered * 1e6)
        found["rate"].append(answered / seconds)


async def length(port: int) -> int:
    """Bytes of an answer, which is of the rung that this measures."""
    connection = await Connection.open(port)
    _, body = await connection.get("/v1/users/u1/recommendations")
    connection.close()
    if b'"rung":"personal"' not in body:
        raise RuntimeError(f"no stored slate: {body[:300]!r}")
    return len(body)


async def fallen(port: int) -> float:
    """The share of all answers that were not the stored slate, as the server counts them."""
    connection = await Connection.open(port)
    _, body = await connection.get("/metrics")
    connection.close()
    rungs = {
        rung: float(count) for rung, count in re.findall(r'tastemaker_recommendations_total{rung="(\w+)"} (\S+)', body.decode())
    }
    return 1 - rungs["personal"] / sum(rungs.values())


def table(found: Found) -> str:
    lines = ["| | CPU per request | × bare | requests/s |", "|---|---:|---:|---:|"]
    for name, rounds in found.items():
        share = "1" if name == BARE else spread(ratios(rounds["us"], found[BARE]["us"]))
        lines.append(
            f"| {name} | {statistics.median(rounds['us']):.1f} µs | {share} | {statistics.median(rounds['rate']):,.0f} |"
        )
    return "\n".join(lines)


@click.command()
@QUICK
def main(quick: bool) -> None:
    """Measure what a recommendation costs over servers."""
    rounds, seconds, world = (1, 0.1, SMALL) if quick else (ROUNDS, SECONDS, (USERS, ITEMS, PER_USER))
    with tempfile.TemporaryDirectory() as home:
        found, size, lost = measure(home, rounds, seconds, world)
    text = (
        f"{table(found)}\n\n"
        f"Stored slates, k = 10, {size:,} bytes, decisions logged, {CONNECTIONS} connections; {rounds} interleaved rounds of "
        f"{seconds} s. The answering process has one core; the client and the stores' servers share the other, and bound "
        f"requests/s. Answers that were not the stored slate, since the store took longer than the deadline of "
        f"{Serving().deadline_ms:.0f} ms: at most {max(lost.values()):.3%}. {machine()}"
    )
    print(text)
    if not quick:
        write_section("serving-remote", text)


if __name__ == "__main__":
    main()
