"""Bare clients that write events' bytes to a log's server: the ceilings that ``ingesting.py`` holds the platform against.

Each writes (key, bytes) in transactions of one batch, as one client of the API does, or of all batches that many clients can
have on the way, as a platform may that puts them together. They work on the core where the platform's process works.
"""

from __future__ import annotations

import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain

import psycopg
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.running import on_the_first, on_the_rest
from tastemaker.storage.log import partition_of

PARTITIONS = 8
SECONDS = 30.0  # an acknowledgement that takes longer is an error
Row = tuple[str, bytes]
Batch = Sequence[Row]


class Bare(ABC):
    """A bare client."""

    @abstractmethod
    def write(self, batches: Sequence[Batch], together: int) -> None:
        """Writes everything; returns when it is durable."""

    def measure(self, batches: Sequence[Batch], together: int) -> tuple[float, float]:
        """Seconds on the clock and of CPU."""
        on_the_first()
        began, used = time.perf_counter(), time.process_time()
        self.write(batches, together)
        seconds = time.perf_counter() - began, time.process_time() - used
        on_the_rest()
        return seconds


def joined(batches: Sequence[Batch], together: int) -> Iterator[list[Row]]:
    """So many batches as one."""
    for start in range(0, len(batches), together):
        yield list(chain.from_iterable(batches[start : start + together]))


class BareSqlite(Bare):
    """Rows in a table, each commit synced."""

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.execute("CREATE TABLE bare (number INTEGER PRIMARY KEY, key TEXT NOT NULL, body BLOB NOT NULL)")

    def write(self, batches: Sequence[Batch], together: int) -> None:
        for rows in joined(batches, together):
            self.connection.execute("BEGIN")
            self.connection.executemany("INSERT INTO bare (key, body) VALUES (?, ?)", rows)
            self.connection.execute("COMMIT")


class BarePostgreSQL(Bare):
    """Rows in a table, copied, each commit synced."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute("CREATE TABLE bare (number bigserial PRIMARY KEY, key text NOT NULL, body bytea NOT NULL)")

    def write(self, batches: Sequence[Batch], together: int) -> None:
        for rows in joined(batches, together):
            with (
                self.connection.transaction(),
                self.connection.cursor() as cursor,
                cursor.copy("COPY bare (key, body) FROM STDIN (FORMAT BINARY)") as copy,
            ):
                copy.set_types(["text", "bytea"])
                for row in rows:
                    copy.write_row(row)


class BareKafka(Bare):
    """An idempotent producer that hears of every message that all replicas have it."""

    def __init__(self, url: str) -> None:
        address, _, self.topic = url.removeprefix("kafka://").partition("/")
        admin = AdminClient({"bootstrap.servers": address})
        for made in admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)]).values():
            made.result(SECONDS)
        on_the_first()  # its threads stay on the core where it was made
        self.producer = Producer({"bootstrap.servers": address, "acks": "all", "enable.idempotence": True, "log_level": 3})
        on_the_rest()
        self.waiting = 0

    def write(self, batches: Sequence[Batch], together: int) -> None:
        """A batch at a time waits for its last message; several together keep as many messages on the way, always."""
        most = together * len(batches[0])
        for batch in batches:
            for key, body in batch:
                self.producer.produce(self.topic, body, key, partition=partition_of(key, PARTITIONS), on_delivery=self.delivered)
            self.waiting += len(batch)
            if together == 1:
                self.producer.flush(SECONDS)  # sends at once, without waiting for more
            while self.waiting > most - len(batch):
                self.producer.poll(SECONDS)
        self.producer.flush(SECONDS)
        if self.waiting:
            raise RuntimeError(f"{self.waiting} messages were not acknowledged within {SECONDS:.0f} s")

    def delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            raise RuntimeError(f"a message was not delivered: {error}")
        self.waiting -= 1
