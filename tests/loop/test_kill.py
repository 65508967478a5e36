"""``kill -9`` again and again, under load and while versions change: nothing acknowledged is lost, nothing is applied twice.

Writers send events with unique ids and note those that were acknowledged. Readers ask for recommendations and note which
version they name. Two versions recommend disjoint items, so that an answer made of both would be seen.
"""

from __future__ import annotations

import http.client
import random
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import forked
from load import Client
from ports import free_port
from tastemaker.config import Config, Connect
from tastemaker.domain import Decision, Interaction, ModelCard
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.popular import Popular
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.registry import live
from tastemaker.storage import Storage, connect
from tastemaker.streaming.worker import Worker

ROUNDS = 52
USERS = 40
TRENDING = [f"t{n}" for n in range(5)]  # what the writers' users take: trending brings these into the answers of any version
VERSIONS = {"popular-a": "a", "popular-b": "b"}  # version -> first letter of its items


def put_version(storage: Storage, version: str) -> None:
    """A popular model over items that no other version knows."""
    ids = tuple(sorted(f"{VERSIONS[version]}{n}" for n in range(40)))
    row = (list(range(40)), [float(40 - n) for n in range(40)], [0] * 40)
    Popular().fit(Interactions(("u",), Vocabulary(ids), Histories.of([row]))).save(
        storage.config.model_folder / version / "model"
    )
    storage.tables.models.put(ModelCard(version, "popular", "candidate", 0, {}, {}, "1", "1", "0", artifact=f"{version}/model"))


class Writer(Client):
    """Sends events in small batches; an event that was not acknowledged is never sent again."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(port, number)
        self.acknowledged: list[str] = []
        self.sent = 0

    def work(self, connection: http.client.HTTPConnection) -> None:
        now = int(time.time() * 1000)
        ids = [f"w{self.number}-{self.sent + n}" for n in range(4)]
        self.sent += len(ids)
        events = [
            {
                "type": "interaction",
                "id": id,
                "time": now,
                "user": f"u{random.randrange(USERS)}",
                "item": random.choice(TRENDING),
                "kind": "click",
            }
            for id in ids
        ]
        status, receipt, _ = self.ask(connection, "POST", "/v1/events", events)
        assert (status, receipt["accepted"]) == (202, 4)
        self.acknowledged += ids
        time.sleep(0.005)


class Reader(Client):
    """Asks for recommendations, in the usual length and in another one, and notes answers that no version can have made."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(port, number)
        self.versions: Counter[str] = Counter()

    def work(self, connection: http.client.HTTPConnection) -> None:
        user, query = f"u{random.randrange(USERS + 5)}", random.choice(["", "?k=25"])
        status, answer, _ = self.ask(connection, "GET", f"/v1/users/{user}/recommendations{query}")
        own = [item["item"] for item in answer.get("items", []) if item["item"] not in TRENDING]
        letter = VERSIONS.get(answer.get("model"), "none")
        if status != 200 or not own or any(not item.startswith(letter) for item in own):
            self.wrong.append((status, answer))
        self.versions[str(answer.get("model"))] += 1
        time.sleep(0.005)


def disturb(storage: Storage, number: int, ended: threading.Event) -> None:
    """Meanwhile: another version goes live again and again, or slates for all users are published."""
    if number % 13 == 5:
        run_pipeline(storage, storage.config, pipeline("hourly"))
    flips = 0
    while not ended.wait(0.02):
        version = f"popular-{'ab'[(number + flips) % 2]}"
        live.promote(storage, version, flips, f"{version}/model")
        flips += 1


@pytest.mark.slow
def test_fifty_kills_under_load_lose_nothing_repeat_nothing_and_mix_nothing(tmp_path: Path) -> None:
    rng = random.Random(11)
    config = Config(connect=Connect(home=str(tmp_path / "home")))
    port = free_port()
    writers, readers = [Writer(port, n) for n in range(2)], [Reader(port, n) for n in range(2)]
    loaded = killed = 0
    with connect(config) as storage:
        for version in VERSIONS:
            put_version(storage, version)
        live.promote(storage, "popular-a", 0, "popular-a/model")
        for client in (*writers, *readers):
            client.start()
        for number in range(ROUNDS):
            before = sum(len(writer.acknowledged) for writer in writers), sum(reader.count for reader in readers)
            process = forked.start(forked.serve, str(config.home), port)
            ended = threading.Event()
            disturber = threading.Thread(target=disturb, args=(storage, number, ended))
            if number % 3 == 2:
                disturber.start()
            if number % 10 == 4:
                time.sleep(rng.uniform(0.0, 0.6))  # while it is starting
            else:
                end = time.monotonic() + 30
                while sum(len(writer.acknowledged) for writer in writers) == before[0]:
                    assert time.monotonic() < end, "the server did not come up"
                    assert process.is_alive(), process.exitcode
                    time.sleep(0.005)
                time.sleep(rng.uniform(0.0, 0.8))
            process.kill()
            process.join()
            killed += process.exitcode == -9
            process.close()
            ended.set()
            if number % 3 == 2:
                disturber.join()
            after = sum(len(writer.acknowledged) for writer in writers), sum(reader.count for reader in readers)
            loaded += after[0] > before[0] and after[1] > before[1]
        for client in (*writers, *readers):
            client.ended.set()
        for client in (*writers, *readers):
            client.join()
        assert killed == ROUNDS
        assert loaded >= 0.7 * ROUNDS, "most kills came under load"

        ids = Counter(event.id for event in events(storage) if isinstance(event, Interaction))
        acknowledged = [id for writer in writers for id in writer.acknowledged]
        assert len(acknowledged) > 20 * ROUNDS
        assert [id for id in acknowledged if ids[id] != 1] == [], "every acknowledged event is in the log exactly once"
        assert [id for id, count in ids.items() if count != 1] == []
        decisions = Counter(event.id for event in events(storage) if isinstance(event, Decision))
        assert set(decisions.values()) == {1}

        for reader in readers:
            assert reader.wrong == []
        assert set(readers[0].versions + readers[1].versions) == set(VERSIONS)

        drained(storage)
        assert kept(storage) == kept_by_a_clean_replay(storage, tmp_path / "clean")


def events(storage: Storage) -> list[Any]:
    return [record.event for p in range(storage.log.partitions) for record in storage.log.read(p, 0, 10**9)]


def drained(storage: Storage) -> None:
    worker = Worker(storage, storage.config)
    worker.drain()
    worker.stop()


def kept(storage: Storage) -> dict[str, bytes]:
    """States, their marks and counters: all that follows from the log alone."""
    return {key: value for prefix in ("state:", "mark:", "items:") for key, value in storage.kv.scan(prefix)}


def kept_by_a_clean_replay(storage: Storage, home: Path) -> dict[str, bytes]:
    """The same, from a new platform that gets the whole log, each partition in its order, without ever being interrupted."""
    config = replace(storage.config, connect=Connect(home=str(home)))
    shutil.rmtree(home, ignore_errors=True)
    with connect(config) as clean:
        for partition in range(storage.log.partitions):
            records = storage.log.read(partition, 0, 10**9)
            assert [record.offset for record in records] == list(range(len(records)))
            clean.log.append([record.event for record in records]).result()
        assert clean.log.ends() == storage.log.ends()
        drained(clean)
        return kept(clean)
