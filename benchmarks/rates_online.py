"""The online half of the rates: the worker's function and ``tastemaker serve`` over Redis before PostgreSQL, and Kafka."""

from __future__ import annotations

import asyncio
import shutil
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

import servers
from benchmarks import rates_bytes
from benchmarks.load import Connection, cpu_seconds, saturate
from benchmarks.rates_offline import Found, cpu
from benchmarks.rates_world import FACTORS, event, settings, user
from benchmarks.running import FIRST, on_the_first, on_the_rest, running
from benchmarks.world import START
from tastemaker.config import Config, Connect
from tastemaker.domain import AnyEvent, Record, encode_json
from tastemaker.serving.current import Current
from tastemaker.slates.sources import Shelf
from tastemaker.storage import Storage, connect
from tastemaker.storage.archive import archive
from tastemaker.storage.log import partition_of
from tastemaker.streaming.update import update

SECONDS, CONNECTIONS = 0.1, 32  # of a round: so short that each user's slate is shown about once
DECISIONS = 20_000  # that are read and archived
POSTED, BATCH = 300, 10  # requests of a round, events of a request


class Online:
    """The worker's function and the API over servers."""

    def __init__(self, config: Config, world: tuple[int, int, int], found: Found, rounds: int) -> None:
        self.config, self.world, self.found, self.rounds = config, world, found, rounds
        self.kept: list[AnyEvent] = []
        self.redis, self.postgresql = servers.shared(servers.Redis), servers.shared(servers.PostgreSQL)
        self.place = replace(
            config.connect,
            home=f"{config.connect.home}-online",
            kv=servers.redis(),
            kv_durable=servers.postgresql(),
            log=servers.kafka(),
        )

    def redis_seconds(self) -> float:
        assert self.redis.process is not None
        return cpu_seconds(self.redis.process.pid)

    def postgresql_seconds(self) -> float:
        """Of all of its processes: each connection has one, and others write behind them."""
        assert self.postgresql.process is not None
        return sum(map(cpu_seconds, servers.children_of(self.postgresql.process.pid)))

    def measure(self) -> None:
        shutil.copytree(self.config.connect.home, self.place.home)
        with connect(self.config) as storage:
            values = dict(storage.kv.scan(""))
            current = Current(storage, self.config)
            current.look()
        with connect(settings(self.place)) as online:
            for block in blocks(list(values.items()), 1024):
                online.kv.fill(dict(block))
            self.requests()  # before anything makes states newer than their slates
            self.kept = rates_bytes.decisions_of(online, DECISIONS)
        self.decisions()
        with connect(settings(replace(self.place, log=self.config.connect.log))) as online:
            on_the_first()
            self.updates(online, current.now.shelf, current.now.bundle.version)
            on_the_rest()
        self.events()

    def updates(self, online: Storage, shelf: Shelf, version: str) -> None:
        """One event of each of some users, without slates and with."""
        score = statistics.median(self.found["one_score"]) * self.world[1] * FACTORS
        for round_ in range(self.rounds + 1):
            for refresh, count in ((False, 2_000), (True, 200)):
                records = self.later(2 * round_ + refresh, min(count, self.world[0]))
                redis, postgresql = self.redis_seconds(), self.postgresql_seconds()
                with cpu() as spent:
                    done = update(records, online.kv, self.config, shelf, version, refresh=refresh)
                redis, postgresql = self.redis_seconds() - redis, self.postgresql_seconds() - postgresql
                if (done.records, done.slates) != (len(records), len(records) * refresh):
                    raise RuntimeError(f"{len(records)} events, and {done}")
                if round_ and refresh:
                    self.found["refreshed"].append(spent[0] / len(records) - score)
                    self.found["redis_event"].append(redis / len(records))
                    self.found["postgres_event"].append(postgresql / len(records))
                elif round_:
                    self.found["state"].append(spent[0] / len(records))

    def later(self, number: int, count: int) -> list[Record]:
        """A click of each of some users, behind all others in time and log."""
        random = np.random.default_rng(number)
        people = random.permutation(self.world[0])[:count].tolist()
        found = []
        for n, who in enumerate(people):
            made = event(10**9 + number * 10**6 + n, who, int(random.integers(self.world[1])), START + 40 * 86_400_000 + number)
            found.append(Record(partition_of(made.user, 8), 10**6 * (number + 1) + n, made))
        return found

    def requests(self) -> None:
        """Stored slates, and the decisions that they leave."""
        people = np.random.default_rng(1).permutation(self.world[0]).tolist()
        with running(self.place, "serve", cores=FIRST) as (child, port):
            asked = endless([f"/v1/users/{user(who)}/recommendations" for who in people])

            async def one() -> float:
                connection = await Connection.open(port)
                return float(len((await connection.get(next(asked)))[1]))

            self.found["answer_bytes"] += [asyncio.run(one()) for _ in range(20)]
            for round_ in range(self.rounds + 1):
                ours, server = cpu_seconds(child.pid), self.redis_seconds()
                answered = saturate(port, asked, CONNECTIONS, SECONDS, spin=False)
                ours, server = cpu_seconds(child.pid) - ours, self.redis_seconds() - server
                if round_:
                    self.found["request"].append(ours / answered)
                    self.found["redis_request"].append(server / answered)

    def decisions(self) -> None:
        """Reading decisions in a worker, and moving them into the lake: from files, since the tests' broker answers clients
        that wait at once, and keeps them busy.
        """
        with connect(settings(Connect(f"{self.place.home}-decisions"))) as files:
            for block in blocks(self.kept, 2_000):
                files.log.append(block).result()
            for partition, end in enumerate(files.log.ends()):
                with cpu() as spent:
                    records = files.log.read(partition, 0, end)
                    update(records, files.kv, self.config, Shelf())
                if partition and records:  # the first one warms up
                    self.found["read"].append(spent[0] / len(records))
            with cpu() as spent:
                rows = archive(files.log, files.lake)
            self.found["archived_decision"].append(spent[0] / rows["decisions"])
            self.found["lake_decision"].append(rates_bytes.lake_bytes(files, "decisions"))

    def events(self) -> None:
        """Events in batches of ten, over sixteen connections."""
        place = replace(self.place, log=servers.kafka())
        with running(place, "serve", cores=FIRST) as (child, port):
            for round_ in range(self.rounds + 1):
                bodies = [encode_json(batch) for batch in blocks(self.clicks(round_, POSTED * BATCH), BATCH)]
                before = cpu_seconds(child.pid)
                asyncio.run(post(port, bodies))
                used = cpu_seconds(child.pid) - before
                self.found["ingested"] += [used / POSTED / BATCH] if round_ else []

    def clicks(self, round_: int, count: int) -> list[AnyEvent]:
        return [event(round_ * count + n, n * 7919 % self.world[0], n * 104_729 % self.world[1], START + n) for n in range(count)]


def blocks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def endless(values: Sequence[str]) -> Iterator[str]:
    while True:
        yield from values


async def post(port: int, bodies: Sequence[bytes]) -> None:
    """Sends every body; each is taken, or it is an error."""
    left = iter(bodies)

    async def client() -> None:
        connection = await Connection.open(port)
        for body in left:
            status, answer = await connection.post("/v1/events", body)
            if status != 202 or not answer.startswith(b'{"accepted":%d,' % BATCH):
                raise RuntimeError(f"{status}: {answer[:300]!r}")
        connection.close()

    await asyncio.gather(*(client() for _ in range(16)))
