"""How fast slates are published: ``kv.fill`` into every online store, beside bare clients that write the same bytes.

    python -m benchmarks.publishing [--quick]

The slates are real ones: an als model over 20,000 items composed them, 100 items with their reasons, encoded as front and
whole. They are written in the blocks that publishing writes (``publish.block``), to keys that were never there before, by one
thread. The bare clients: redis-py, a pipeline of SETs for each block, and psycopg, a COPY for each block into a table like
ours. Each round writes other users; every store gets the same ones, one after the other.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import click
import psycopg
import redis
from msgspec.structs import replace

import servers
from benchmarks.report import machine, sync_milliseconds, write_section
from benchmarks.running import QUICK, on_the_first, on_the_rest, online_stores, spread
from benchmarks.world import SMALL, prepare, settings
from tastemaker.config import Config, Connect
from tastemaker.serving.current import Current
from tastemaker.slates.stored import decode_front, decode_whole, store
from tastemaker.storage import connect, keys
from tastemaker.storage.kv import KeyValue

ROUNDS, USERS = 5, 4_000  # users of a round
BARE = {"Redis": "redis-py", "PostgreSQL": "psycopg", "Redis before PostgreSQL": "psycopg"}
Block = dict[str, bytes]
Write = Callable[[Mapping[str, bytes]], None]


def encoded(config: Config, users: int) -> list[tuple[str, bytes, bytes]]:
    """So many users' slates as (user, front, whole): those of the world, and again under other names."""
    with connect(config) as storage:
        current = Current(storage, config)
        current.look()
        now = current.now
        fronts = dict(storage.kv.scan(now.prefix))
        known = [(decode_whole(value), key.rpartition(":")[2]) for key, value in storage.kv.scan(f"whole:{now.bundle.version}:")]
        found = []
        for number in range(users):
            slate, name = known[number % len(known)]
            rung, user = decode_front(fronts[now.prefix + name]).rung, f"user-{number}"
            made = store(replace(slate, user=user), rung, now.catalogue, config.serving.k, config.rewards.version)
            found.append((user, *made))
    return found


def blocks(slates: list[tuple[str, bytes, bytes]], round_: int, config: Config) -> Iterator[Block]:
    """What publishing a version of its own for each round writes."""
    version = f"als-{round_}"
    for start in range(0, len(slates), config.publish.block):
        block: Block = {}
        for user, front, whole in slates[start : start + config.publish.block]:
            block[keys.slate(version, user)], block[keys.whole(version, user)] = front, whole
        yield block


def bare_redis(url: str) -> Write:
    client = redis.Redis.from_url(url, protocol=2)

    def write(block: Mapping[str, bytes]) -> None:
        with client.pipeline(transaction=False) as pipe:
            for key, value in block.items():
                pipe.set(key, value)
            pipe.execute()

    return write


def bare_copy(url: str) -> Write:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("CREATE TABLE bare (key bytea PRIMARY KEY, value bytea NOT NULL)")

    def write(block: Mapping[str, bytes]) -> None:
        with (
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy("COPY bare (key, value) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(["bytea", "bytea"])
            for key, value in block.items():
                copy.write_row((key.encode(), value))

    return write


def timed(write: Write, written: Sequence[Block]) -> float:
    began = time.perf_counter()
    for block in written:
        write(block)
    return time.perf_counter() - began


def check(kv: KeyValue, block: Block) -> None:
    """Raises where a store does not hold what was written."""
    if kv.get(list(block)) != list(block.values()):
        raise RuntimeError(f"{kv!r} does not hold what was written")


def measure(home: str, rounds: int, users: int) -> tuple[dict[str, list[float]], int]:
    """Seconds of each round by writer, and the bytes of a round."""
    config = settings(Connect(f"{home}/world"))
    prepare(config, *SMALL if users < USERS else ())
    slates = encoded(config, users)
    found: defaultdict[str, list[float]] = defaultdict(list)
    on_the_rest()
    places = online_stores(home)
    bare = {"redis-py": bare_redis(servers.redis()), "psycopg": bare_copy(servers.postgresql())}
    on_the_first()
    with ExitStack() as stack:
        stores = {name: stack.enter_context(connect(settings(place))).kv for name, place in places.items()}
        writers = bare | {name: kv.fill for name, kv in stores.items()}
        for round_ in range(rounds + 1):
            written = list(blocks(slates, round_, config))
            for name, write in writers.items():
                seconds = timed(write, written)
                if round_:  # the first one warms up
                    found[name].append(seconds)
            for kv in stores.values():
                check(kv, written[-1])
        size = sum(len(key) + len(value) for block in written for key, value in block.items())
    return found, size


def table(found: Mapping[str, list[float]], users: int, size: int) -> str:
    lines = ["| written by | slates/s | MB/s | × its bare client |", "|---|---:|---:|---:|"]
    for name, seconds in found.items():
        median = statistics.median(seconds)
        against = BARE.get(name)
        share = f"**{spread([b / a for a, b in zip(seconds, found[against], strict=True)])}** of {against}" if against else ""
        lines.append(f"| {name} | {users / median:,.0f} | {size / median / 1e6:,.0f} | {share} |")
    return "\n".join(lines)


@click.command()
@QUICK
def main(quick: bool) -> None:
    """Measure how fast slates are published."""
    rounds, users = (1, 64) if quick else (ROUNDS, USERS)
    with tempfile.TemporaryDirectory() as home:
        found, size = measure(home, rounds, users)
        sync = sync_milliseconds(home)
    text = (
        f"{table(found, users, size)}\n\n"
        f"{users:,} slates of 100 items in each of {rounds} interleaved rounds, {size / users / 1000:.1f} kB each (front and "
        f"whole), in blocks of 1,024. The writer is one thread on one core, the servers have the other. LMDB and PostgreSQL sync "
        f"their commits, 4 kB in {sync:.2f} ms here. {machine()}"
    )
    print(text)
    if not quick:
        write_section("publishing", text)


if __name__ == "__main__":
    main()
