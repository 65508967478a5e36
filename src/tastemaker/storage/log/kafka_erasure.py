"""Forgets a user in a log that cannot be overwritten.

Two things happen. First a record goes to the topic ``TOPIC-erasures``: this user, up to this offset. Every process that
reads the log knows that topic from its beginning and follows it, and leaves out what it says, so nobody is handed an erased
event from then on (another process: after a fraction of a second). Then each of the user's messages is taken away by
another one without a value under the same key, a tombstone (``kafka_forget.py``). The topic is compacted, so the brokers
remove both from their disks when their cleaner comes by, a day later at most (``max.compaction.lag.ms``). The order to forget
itself is no event of the user's, and stays.
"""

from __future__ import annotations

import threading
from functools import partial

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from tastemaker.domain import Record
from tastemaker.storage.log.batches import KEYS, belongs
from tastemaker.storage.log.kafka_client import EARLIEST, LATEST, Away, Clients
from tastemaker.storage.log.kafka_topic import erasures_of

LISTENS = 0.1  # seconds between looks whether the log was closed
LOADS = 10  # times the patience of an answer that reading the erasures from their beginning may take without any news


class Erasure(msgspec.Struct, frozen=True, array_like=True):
    """Somebody is erased in a partition, below an offset."""

    partition: int
    end: int


_decode = msgspec.msgpack.Decoder(Erasure).decode
encode = msgspec.msgpack.Encoder().encode


class Erasures:
    """Who is erased up to where, as this process knows. A thread follows the topic from the first reader on."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.topic = erasures_of(clients.place.topic)
        self._ends: dict[str, int] = {}
        self._place = 0  # the next offset of the topic
        self._moved = threading.Condition()
        self._consumer: Consumer | None = None
        self._thread: threading.Thread | None = None
        self._closed = self._loaded = False
        self._failure: Exception | None = None

    def __bool__(self) -> bool:
        return bool(self._ends)

    def end_of(self, user: str) -> int:
        """The offset below which a user's events are erased."""
        return self._ends.get(user, 0)

    def hide(self, record: Record) -> bool:
        """Whether nobody may see a record any more."""
        owner = KEYS[type(record.event)](record.event)
        return record.offset < self._ends.get(owner, 0) and belongs(record.event, owner)

    def add(self, user: str, end: int) -> None:
        self._ends[user] = max(end, self.end_of(user))

    def load(self) -> None:
        """Waits until everything that was erased before the first call is known. Call it before reading."""
        if not self._loaded:
            self.follow_to(self._clients.offsets(LATEST, self.topic, [0])[0])
            self._loaded = True

    def follow_to(self, end: int) -> None:
        """Waits until the topic is known up to an offset."""
        with self._moved:
            if self._thread is None and not self._closed:
                self._consumer = self._clients.consumer(self._clients.group("readers"), {})
                self._consumer.assign([TopicPartition(self.topic, 0, self._clients.offsets(EARLIEST, self.topic, [0])[0])])
                self._thread = threading.Thread(target=self._follow, name=f"erasures of {self.topic}", daemon=True)
                self._thread.start()
            while self._place < end:
                moved = self._moved.wait_for(partial(self._is_past, self._place), LOADS * self._clients.seconds)
                if self._closed or not moved:
                    raise self._clients.careful.failure(self._failure or Away(f"{self.topic} cannot be read"))

    def _is_past(self, place: int) -> bool:
        return self._closed or self._place > place

    def _follow(self) -> None:
        consumer = self._consumer
        assert consumer is not None
        while not self._closed:
            message = consumer.poll(LISTENS)
            if message is not None:
                self._learn(message)
        consumer.close()

    def _learn(self, message: Message) -> None:
        error, offset = message.error(), message.offset() or 0
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            self._failure = Away(self._clients.cause(error))  # the library tries again by itself
            return
        key, value = message.key(), message.value()
        if error is None and isinstance(key, bytes) and value is not None:
            self.add(key.decode(), _decode(value).end)
        with self._moved:
            self._place = max(self._place, offset + (error is None))
            self._failure = None
            self._moved.notify_all()

    def close(self) -> None:
        with self._moved:
            self._closed = True
            self._moved.notify_all()
        if self._thread is not None:
            self._thread.join()
