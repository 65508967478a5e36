"""How many events a second the HTTP API takes, each durable in the log before it is acknowledged.

    python -m benchmarks.ingesting [--on sqlite] [--on kafka] [--on postgresql] [--quick]

``tastemaker serve`` is one process on one core. Clients on the other send batches of 100 clicks and wait for the 202: one that
sends the next batch when the last one is acknowledged, then 16 of them. Given are events a second on the clock, and events
per second of CPU that the server process used, all of its threads together: what one core could take if the log, the clients
and the disk were free.

Beside it, what writes the bytes of the same events to the same kind of server with nothing around it (``bare_logs.py``): a
batch at a time, and as much at a time as 16 clients can have on the way.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import click

import servers
from benchmarks.bare_logs import Bare, BareKafka, BarePostgreSQL, BareSqlite, Row
from benchmarks.load import Connection, cpu_seconds
from benchmarks.report import machine, sync_milliseconds, write_section
from benchmarks.running import FIRST, QUICK, on_the_rest, ratios, running, spread
from benchmarks.world import START, settings
from tastemaker.config import Connect
from tastemaker.domain import Interaction, encode_event, encode_json
from tastemaker.storage import connect

ROUNDS, SIZE = 15, 100  # events of a batch
BATCHES = {1: 100, 16: 400}  # of a round, by the number of connections
USERS, ITEMS = 5_000, 20_000


@dataclass(frozen=True)
class Kind:
    """A log, and the bare client that writes to the same kind of place."""

    name: str
    places: Callable[[str], Connect]
    bare: Callable[[str], Bare]


KINDS = {
    "sqlite": Kind("SQLite file", lambda home: Connect(home=f"{home}/sqlite"), lambda home: BareSqlite(f"{home}/bare.db")),
    "kafka": Kind("Kafka", lambda home: Connect(home=f"{home}/kafka", log=servers.kafka()), lambda _: BareKafka(servers.kafka())),
    "postgresql": Kind(
        "PostgreSQL",
        lambda home: Connect(home=f"{home}/postgresql", log=servers.postgresql()),
        lambda _: BarePostgreSQL(servers.postgresql()),
    ),
}


def batches(name: str, count: int) -> list[list[Interaction]]:
    """Clicks with ids that were never there before."""
    numbers = range(count * SIZE)
    events = [
        Interaction(f"{name}-{n}", START + n, f"u{n * 7919 % USERS}", f"i{n * 104_729 % ITEMS}", "click", position=n % 10)
        for n in numbers
    ]
    return [events[start : start + SIZE] for start in range(0, len(events), SIZE)]


async def send(port: int, bodies: Sequence[bytes], connections: int) -> float:
    """Posts every body over so many connections; seconds until the last one is acknowledged."""
    left = iter(bodies)
    opened = [await Connection.open(port) for _ in range(connections)]

    async def client(connection: Connection) -> None:
        for body in left:
            status, answer = await connection.post("/v1/events", body)
            if status != 202 or not answer.startswith(b'{"accepted":%d,' % SIZE):
                raise RuntimeError(f"{status}: {answer[:300]!r}")

    began = time.perf_counter()
    await asyncio.gather(*map(client, opened))
    seconds = time.perf_counter() - began
    for connection in opened:
        connection.close()
    return seconds


Speeds = dict[tuple[str, int], dict[str, list[float]]]  # (kind, connections) -> what was measured -> rounds


def measure(home: str, names: Sequence[str], rounds: int, counts: dict[int, int]) -> Speeds:
    found: Speeds = defaultdict(lambda: defaultdict(list))
    on_the_rest()
    places = {name: KINDS[name].places(home) for name in names}
    bares = {}
    for name in names:
        bares[name] = KINDS[name].bare(home)
    sent = dict.fromkeys(names, 0)
    with ExitStack() as stack:
        processes = {name: stack.enter_context(running(place, "serve", cores=FIRST)) for name, place in places.items()}
        for round_ in range(rounds + 1):
            for name, (child, port) in processes.items():
                for connections, count in counts.items():
                    events = batches(f"{round_}-{connections}", count)
                    bodies = [encode_json(batch) for batch in events]
                    before = cpu_seconds(child.pid)
                    seconds = asyncio.run(send(port, bodies, connections))
                    used = cpu_seconds(child.pid) - before
                    sent[name] += count * SIZE
                    note(found[name, connections], "ours", count * SIZE, seconds, used, round_)
                    seconds, used = bares[name].measure([rows(batch) for batch in events], connections)
                    note(found[name, connections], "bare", count * SIZE, seconds, used, round_)
    for name, place in places.items():
        with connect(settings(place)) as storage:
            if sum(storage.log.ends()) != sent[name]:
                raise RuntimeError(f"{name}: {sent[name]} events were acknowledged, {sum(storage.log.ends())} are there")
    return found


def rows(batch: Sequence[Interaction]) -> list[Row]:
    return [(event.user, encode_event(event)) for event in batch]


def note(found: dict[str, list[float]], who: str, events: int, seconds: float, used: float, round_: int) -> None:
    """Keeps what a round showed; the first one warms up."""
    if round_:
        found[who].append(events / seconds)
        found[f"{who} a core"].append(events / used)


def table(found: Speeds) -> str:
    lines = [
        "| log | clients | events/s | events per CPU second | bare: events/s | bare: per CPU second | events/s × bare |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (name, connections), speeds in found.items():
        ours, core, bare, bare_core = (
            f"{statistics.median(speeds[what]):,.0f}" for what in ("ours", "ours a core", "bare", "bare a core")
        )
        share = spread(ratios(speeds["ours"], speeds["bare"]))
        lines.append(f"| {KINDS[name].name} | {connections} | {ours} | **{core}** | {bare} | {bare_core} | {share} |")
    return "\n".join(lines)


@click.command()
@click.option("--on", "names", type=click.Choice(list(KINDS)), multiple=True, help="Which logs; all unless one is named.")
@QUICK
def main(names: tuple[str, ...], quick: bool) -> None:
    """Measure how fast events are taken."""
    rounds, counts = (1, {1: 2, 16: 16}) if quick else (ROUNDS, BATCHES)
    with tempfile.TemporaryDirectory() as home:
        found = measure(home, names or list(KINDS), rounds, counts)
        sync = sync_milliseconds(home)
    text = (
        f"{table(found)}\n\n"
        f"Batches of {SIZE} clicks, {rounds} interleaved rounds of {counts[1]} batches from one client and {counts[16]} from 16. "
        "The server process, or the bare client, has one core; clients and the log's server share the other. SQLite and "
        f"PostgreSQL sync each commit, 4 kB in {sync:.2f} ms here; Kafka's acknowledgement is its broker's own. At the end "
        f"the log held exactly the acknowledged events. {machine()}"
    )
    print(text)
    if not quick and not names:
        write_section("ingesting", text)


if __name__ == "__main__":
    main()
