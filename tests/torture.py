"""A platform on servers of its own, under load, whose servers and network can be taken away one by one.

``platform`` starts PostgreSQL, Redis, a Kafka-protocol broker and S3 (all but the broker behind proxies), publishes a small
live model, and runs ``serve``, ``stream`` and ``archive`` as processes. In the end ``whole`` compares what was acknowledged
with what was applied: nothing lost, nothing twice.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import servers
from load import USERS, VIEWERS, Asker, Sender
from processes import Up, Working, running, up, wait_for
from proxy import Proxy
from tastemaker.config import Config, Connect, Log, Patience
from tastemaker.domain import Interaction, ItemChange, ModelCard
from tastemaker.features import states
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.item_knn import ItemKnn
from tastemaker.models.popular import Popular
from tastemaker.registry import live
from tastemaker.storage import Storage, connect, keys
from tastemaker.storage.kv import consumer_of
from tastemaker.storage.log import lag_of

PATIENCE = Patience(connect_ms=500, timeout_ms=400, tries=2, failures=3, pause_ms=400)
TRUTH = Patience(connect_ms=10_000, timeout_ms=10_000, spool_mb=0)  # of those who look at what became of it
PARTITIONS = 4
ITEMS = tuple(f"a{n:02}" for n in range(60))


@dataclass
class Platform:
    """The processes, their servers, and who loads them."""

    home: Path
    config: Config  # past the proxies: for looking at the truth
    base: str
    server: Up
    redis: servers.Redis
    postgres: servers.PostgreSQL
    kafka: servers.Server
    s3: servers.S3
    to_redis: Proxy
    to_postgres: Proxy
    to_s3: Proxy
    environment: dict[str, str]
    streams: list[Working] = field(default_factory=list)
    senders: list[Sender] = field(default_factory=list)
    askers: list[Asker] = field(default_factory=list)

    def acknowledged(self) -> int:
        return sum(len(sender.acknowledged) for sender in self.senders)

    def goes_on(self, events: int = 40, patience: float = 30.0, seconds: float = 1.5) -> None:
        """For so many seconds, and until so many more events have been acknowledged."""
        wanted = self.acknowledged() + events
        time.sleep(seconds)
        wait_for(lambda: self.acknowledged() >= wanted, patience)

    def answers(self, rung: str, count: int = 20, patience: float = 30.0) -> None:
        """Waits until so many answers in a row are of a rung."""
        for asker in self.askers:
            wait_for(lambda asker=asker: asker.streak[0] == rung and asker.streak[1] >= count, patience)  # type: ignore[misc]  # bound

    @contextmanager
    def quiet(self, seconds: float = 2.0) -> Iterator[None]:
        """Nobody sends; when the block begins, nothing has been under way for so many seconds."""
        for sender in self.senders:
            sender.resting.set()
        time.sleep(seconds)
        try:
            yield
        finally:
            for sender in self.senders:
                sender.resting.clear()

    def rest(self) -> None:
        """Ends the load, and checks that every answer was one that is promised."""
        self.silence()
        for client in (*self.senders, *self.askers):
            client.join(60)
        wrong = [wrong for client in (*self.senders, *self.askers) for wrong in client.wrong]
        assert not wrong, f"{len(wrong)} answers that must not be, the first: {wrong[0]}"

    def silence(self) -> None:
        for client in (*self.senders, *self.askers):
            client.ended.set()

    def whole(self, patience: float = 90.0) -> None:
        """Every acknowledged event is applied to its user's state exactly once."""
        self.rest()
        with connect(self.config) as storage:
            wait_for(lambda: self.applied_all(storage), patience, lambda: self.missing(storage))
            time.sleep(0.5)  # what would be applied twice would be by now
            found = histories(storage)
        promised = {item: user for sender in self.senders for user, item in sender.acknowledged}
        for item, user in promised.items():
            assert found[user][item] == 1, f"{item} of {user} was applied {found[user][item]} times"
        twice = {item: count for user in found for item, count in found[user].items() if count != 1}
        assert twice == {}

    def applied_all(self, storage: Storage) -> bool:
        if lag_of(storage.log.ends(), storage.log.committed(consumer_of(storage.kv))) > 0:
            return False
        found = histories(storage)
        return all(found[user][item] for sender in self.senders for user, item in sender.acknowledged)

    def missing(self, storage: Storage) -> str:
        """What was not applied, and what the consumers said of it."""
        ends, done = storage.log.ends(), storage.log.committed(consumer_of(storage.kv))
        found = histories(storage)
        lost = [item for sender in self.senders for user, item in sender.acknowledged if not found[user][item]]
        ids = {record.event.id for number in range(PARTITIONS) for record in storage.log.read(number, 0, 1_000_000)}
        there = [item for item in lost if item in ids]
        said = "\n".join(f"{each.process.poll()}: {each.errors.read_text()[-2000:]}" for each in self.streams)
        return f"the log ends at {ends}, done are {done}; not applied: {lost[:20]}, of which the log has {there[:20]}\n{said}"


def histories(storage: Storage) -> dict[str, Counter[str]]:
    """How often each item stands in each user's history."""
    names = [f"u{n}" for n in range(USERS)]
    packed = storage.kv.get([keys.state(name) for name in names])
    return {
        name: Counter(states.unpack(each).history.items) if each is not None else Counter()
        for name, each in zip(names, packed, strict=True)
    }


def put_version(storage: Storage) -> None:
    """A live item_knn model over items that no sender clicks, and viewers who have taken some of them."""
    rows = [[(7 * viewer + 11 * n) % len(ITEMS) for n in range(12)] for viewer in range(VIEWERS)]
    histories = Histories.of([(sorted(set(row)), [1.0] * len(set(row)), [0] * len(set(row))) for row in rows])
    data = Interactions(tuple(f"v{n}" for n in range(VIEWERS)), Vocabulary(ITEMS), histories)
    for kind, model in (("popular", Popular()), ("item_knn", ItemKnn())):
        storage.models.publish(f"{kind}-1/model", model.fit(data).save)
        card = ModelCard(f"{kind}-1", kind, "candidate", 0, {}, {}, "1", "1", "0", artifact=f"{kind}-1/model")
        storage.tables.models.put(card)
    changes = [ItemChange(f"c-{item}", 1, item, f"Film {item}") for item in ITEMS]
    storage.tables.items.put(changes)
    now = int(time.time() * 1000)
    live.promote(storage, "item_knn-1", now, "popular-1/model")
    storage.log.append(
        [
            Interaction(f"v{v}-{n}", now, f"v{v}", ITEMS[item], "click")
            for v, row in enumerate(rows)
            for n, item in enumerate(row[:5])
        ]
    ).result()


def live_version(base: str) -> str | None:
    """What a server that is ready answers with; None: it is not ready."""
    try:
        with urllib.request.urlopen(f"{base}/ready", timeout=10) as answer:
            return str(json.loads(answer.read())["live"])
    except OSError:
        return None


@contextmanager
def platform(
    folder: Path,
    *,
    streams: int = 1,
    broker: type[servers.Server] = servers.Kafka,
    patience: Patience = PATIENCE,
    askers: int = 2,
) -> Iterator[Platform]:
    """The whole of it, at work and under load."""
    home = folder / "home"
    with ExitStack() as stack:
        redis, postgres = stack.enter_context(servers.Redis()), stack.enter_context(servers.PostgreSQL())
        kafka, s3 = stack.enter_context(broker()), stack.enter_context(servers.S3())
        to_redis, to_postgres, to_s3 = (stack.enter_context(Proxy(server.port)) for server in (redis, postgres, s3))
        import boto3

        environment = servers.s3_environment(f"http://127.0.0.1:{to_s3.port}")
        boto3.client(
            "s3", endpoint_url=s3.url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        ).create_bucket(Bucket="bucket")

        def places(redis_port: int, postgres_port: int, own: str) -> Connect:
            database = f"postgresql://tastemaker@127.0.0.1:{postgres_port}/postgres"
            return Connect(
                home=str(folder / own), log=f"kafka://{kafka.url}/events",
                kv=f"redis://127.0.0.1:{redis_port}/0", kv_durable=database,
                lake="s3://bucket/lake", tables=database, models="s3://bucket/models",
            )  # fmt: skip

        config = Config(
            connect=places(redis.port, postgres.port, "truth"),
            log=Log(partitions=PARTITIONS),
            patience=TRUTH,
        )
        os.environ |= servers.s3_environment(s3.url)
        with connect(config) as storage:
            put_version(storage)
        named = places(to_redis.port, to_postgres.port, "home")
        lines = [f"{name} = {json.dumps(getattr(named, name))}" for name in named.__struct_fields__]
        waits = [f"{name} = {getattr(patience, name)}" for name in patience.__struct_fields__]
        (folder / "tastemaker.toml").write_text(
            "\n".join(["[connect]", *lines, "[log]", f"partitions = {PARTITIONS}", "[patience]", *waits, ""])
        )
        server = stack.enter_context(up(home, process="serve", more=environment))
        made = Platform(home, config, server.base, server, redis, postgres, kafka, s3, to_redis, to_postgres, to_s3, environment)
        for _ in range(streams):
            made.streams.append(stack.enter_context(running(home, "stream", **environment)))
        wait_for(lambda: live_version(server.base) == "item_knn-1", 60)  # what is promised, is promised from here on
        port = int(server.base.rpartition(":")[2])
        made.senders = [Sender(port, n) for n in range(2)]
        made.askers = [Asker(port, n) for n in range(askers)]
        stack.callback(made.silence)
        for client in (*made.senders, *made.askers):
            client.start()
        made.goes_on(20, 60, 0)
        made.answers("personal", patience=60)
        for client in (*made.senders, *made.askers):
            client.longest = 0.0  # the first requests load and compile
        yield made
