"""Reads stretches of a log on Kafka, and turns messages into records.

A consumer that was used stays where it is, and goes on from there when the next stretch begins where the last one ended; else
it is moved, which costs some milliseconds. Offsets may have gaps: what was erased, and marks of transactions. So the end of
a stretch is known by the offset that was reached, never by the number of messages.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tastemaker.domain import Record
from tastemaker.errors import StorageError
from tastemaker.storage.log.kafka_client import Away, Clients
from tastemaker.storage.log.kafka_erasure import Erasures
from tastemaker.storage.log.kafka_messages import gather, read_event, record_of

IDLE = 4  # consumers kept for the next reader
PATIENT = 5  # times the patience of an answer: a consumer that was moved has to find its way first


def records_of(clients: Clients, messages: Sequence[Message], erasures: Erasures) -> list[Record]:
    """The events of messages, without what was taken away or erased."""
    unreadable = clients.unreadable
    found = [record for message in messages if (record := record_of(message, unreadable)) is not None]
    return [record for record in found if not erasures.hide(record)] if erasures else found


def records_among(clients: Clients, rows: Iterable[tuple[int, int, bytes | None]], erasures: Erasures) -> list[Record]:
    """The same for messages that another client has read: partition, offset and value of each."""
    unreadable = clients.unreadable
    read = ((p, offset, read_event(p, offset, value, unreadable)) for p, offset, value in rows if value is not None)
    found = [Record(partition, offset, event) for partition, offset, event in read if event is not None]
    return [record for record in found if not erasures.hide(record)] if erasures else found


class Reader:
    """A consumer and the place where it stands."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._consumer = clients.consumer(clients.group("readers"), {})
        self.place = (-1, 0)  # partition and next offset

    def seek(self, partition: int, start: int) -> None:
        if self.place != (partition, start):
            self._consumer.assign([TopicPartition(self._clients.place.topic, partition, start)])
            self.place = partition, start

    def some(self, limit: int) -> list[Message]:
        """The next messages; raises when the broker gives neither messages nor an end."""
        found = gather(self._consumer, limit, PATIENT * self._clients.seconds)
        if not found:
            raise self._clients.careful.failure(Away("it has records and does not hand them out"))
        partition, messages = self.place[0], []
        for message in found:
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() != KafkaError._PARTITION_EOF:
                raise self._clients.unavailable(error)
            offset = message.offset() or 0
            self.place = partition, max(self.place[1], offset + (error is None))
        return messages

    def close(self) -> None:
        self._consumer.close()


class Readers:
    """The consumers of this process that read stretches. Thread safe."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._idle: deque[Reader] = deque()
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def at(self, partition: int, start: int) -> Iterator[Reader]:
        """A reader that stands at an offset."""
        reader = self._take((partition, start))
        try:
            reader.seek(partition, start)
            yield reader
        except KafkaException as error:
            reader.close()
            raise self._clients.unavailable(error.args[0]) from error
        except BaseException:
            reader.close()
            raise
        self._put_back(reader)

    def check(self) -> None:
        """Raises ``StorageError`` after ``close``."""
        if self._closed:
            raise StorageError(f"{self._clients.place.name} is closed: open it again to read it")

    def _take(self, place: tuple[int, int]) -> Reader:
        """One that stands there already, or any."""
        with self._lock:
            self.check()
            fitting = next((reader for reader in self._idle if reader.place == place), None)
            if fitting is not None:
                self._idle.remove(fitting)
                return fitting
            if len(self._idle) >= IDLE:
                return self._idle.popleft()
        return Reader(self._clients)

    def _put_back(self, reader: Reader) -> None:
        with self._lock:
            keep = not self._closed and len(self._idle) < IDLE
            if keep:
                self._idle.append(reader)
        if not keep:
            reader.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
        while self._idle:
            self._idle.popleft().close()
