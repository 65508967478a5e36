"""How many events a second one nearline worker applies, with new slates and without, on every online store.

    python -m benchmarks.nearline [--quick]

``streaming.update`` runs in this process on one core: read the users' states, fold the events in, compose each user's next
100 recommendations over 20,000 items where slates are refreshed, and write everything in one put. Each event is another
user's. Beside it a bare redis-py client reads and writes the very keys and bytes that the update read and wrote: a pipeline of
one MGET and one MSET. Stores take the same events in turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import click
import numpy as np
import redis

import servers
from benchmarks.report import machine, write_section
from benchmarks.running import QUICK, on_the_first, on_the_rest, online_stores, ratios, spread
from benchmarks.world import ITEMS, SMALL, START, USERS, prepare, settings
from tastemaker.config import Config, Connect
from tastemaker.domain import Interaction, Record
from tastemaker.serving.current import Current, Now
from tastemaker.storage import connect, keys
from tastemaker.storage.kv import KeyValue
from tastemaker.storage.log import partition_of
from tastemaker.streaming.update import update

ROUNDS = 9
BATCHES = {False: 2_000, True: 200}  # records of a round, without slates and with
LATER = 40 * 86_400_000  # milliseconds after the world's beginning: behind all that happened in it
FAR = 1_000_000  # offsets that no state has seen
Found = dict[bool, dict[str, list[float]]]
BARE = "bare redis-py, the same keys and bytes"


def batch(number: int, count: int, users: int, items: int, partitions: int) -> list[Record]:
    """One click of each of ``count`` users, later in the log than all before it."""
    rng = np.random.default_rng(number)
    chosen = rng.permutation(users)[:count].tolist()
    clicked = rng.integers(0, items, count).tolist()
    return [
        Record(
            partition_of(f"u{user}", partitions),
            FAR * (number + 1) + n,
            Interaction(f"late-{number}-{n}", START + LATER + number, f"u{user}", f"i{item}", "click"),
        )
        for n, (user, item) in enumerate(zip(chosen, clicked, strict=True))
    ]


class Bare:
    """redis-py alone."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url, protocol=2)

    def seconds(self, kv: KeyValue, records: Sequence[Record], version: str) -> float:
        """What the update of ``records`` read and wrote, once more; ``kv`` is a store that it has written."""
        users = [record.event.user for record in records if isinstance(record.event, Interaction)]
        reads = [keys.state(user) for user in users]
        written = [key for user in users for key in (keys.state(user), keys.mark(user))]
        if version:
            written += [key for user in users for key in (keys.slate(version, user), keys.whole(version, user))]
        values = kv.get(written)
        self.client.mset({key: value for key, value in zip(written, values, strict=True) if value is not None})
        began = time.perf_counter()
        with self.client.pipeline(transaction=False) as pipe:
            pipe.mget(reads)
            pipe.mset({key: value for key, value in zip(written, values, strict=True) if value is not None})
            pipe.execute()
        return time.perf_counter() - began


def measure(
    home: str, rounds: int, world: tuple[int, int, int], batches: Mapping[bool, int]
) -> dict[bool, dict[str, list[float]]]:
    """Events a second in each round, by store, without slates and with."""
    config = settings(Connect(f"{home}/world"))
    prepare(config, *world)
    with connect(config) as storage:
        current = Current(storage, config)
        current.look()
        now, partitions = current.now, storage.log.partitions
        states = {key: value for prefix in ("state:", "mark:") for key, value in storage.kv.scan(prefix)}
    on_the_rest()
    places = online_stores(home)
    bare = Bare(servers.redis())
    on_the_first()
    found: Found = {refresh: defaultdict(list) for refresh in batches}
    with ExitStack() as stack:
        stores = {name: stack.enter_context(connect(settings(place))).kv for name, place in places.items()}
        for kv in stores.values():
            kv.put(states)
        for round_ in range(rounds + 1):
            for refresh, count in batches.items():
                records = batch(2 * round_ + refresh, count, world[0], world[1], partitions)
                speeds = {name: once(kv, records, config, now, refresh) for name, kv in stores.items()}
                speeds[BARE] = count / bare.seconds(stores["Redis"], records, now.bundle.version if refresh else "")
                for name, speed in speeds.items():
                    found[refresh][name] += [speed] if round_ else []  # the first round warms up
    return found


def once(kv: KeyValue, records: Sequence[Record], config: Config, now: Now, refresh: bool) -> float:
    """Events a second of one update."""
    began = time.perf_counter()
    done = update(records, kv, config, now.shelf, now.bundle.version, refresh=refresh)
    seconds = time.perf_counter() - began
    if (done.records, done.slates) != (len(records), len(records) * refresh):
        raise RuntimeError(f"{len(records)} events, and {done}")
    return len(records) / seconds


def table(found: Found) -> str:
    lines = [
        "| online store | events/s, states alone | × bare client | events/s, with new slates | × bare client |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in found[False]:
        cells = []
        for refresh in (False, True):
            speeds = found[refresh]
            cells.append(f"{statistics.median(speeds[name]):,.0f}")
            cells.append("1" if name == BARE else spread(ratios(speeds[name], speeds[BARE]), 3))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@QUICK
def main(quick: bool) -> None:
    """Measure what the nearline plane does in a second."""
    rounds, world, batches = (ROUNDS, (USERS, ITEMS, 60), BATCHES) if not quick else (1, SMALL, {False: 100, True: 20})
    with tempfile.TemporaryDirectory() as home:
        found = measure(home, rounds, world, batches)
    text = (
        f"{table(found)}\n\n"
        f"Batches of {batches[False]:,} events, {batches[True]:,} where slates are refreshed, each of another user with about "
        f"50 events behind him; {rounds} rounds, interleaved. The worker has one core, the servers the other; als over "
        f"{world[1]:,} items. {machine()}"
    )
    print(text)
    if not quick:
        write_section("nearline", text)


if __name__ == "__main__":
    main()
