"""The event log on Kafka, and on whatever speaks its protocol.

One message for each event (``kafka_messages.py``), in the partition that its key has in every log of ours. Appends go through
an idempotent producer and are acknowledged when all replicas that are in sync have them (``kafka_producer.py``). Groups are
the brokers' own (``kafka_subscription.py``), named ``TOPIC.GROUP``. Offsets may have gaps, and what is erased is hidden at
once and removed from the disks later (``kafka_erasure.py``).

Where things are: ``kafka_url.py`` reads the URL, ``kafka_client.py`` asks and knows what errors mean, ``kafka_topic.py`` makes
the topics, ``kafka_reader.py`` reads stretches. This file keeps the port.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from tastemaker.config import Patience
from tastemaker.domain import AnyEvent, Record
from tastemaker.errors import InputError
from tastemaker.storage.inspection import Inspection
from tastemaker.storage.log import Leaving, Packed, Position, Unreadable, check_partition, kafka_topic
from tastemaker.storage.log.batches import pack
from tastemaker.storage.log.kafka_client import EARLIEST, Clients
from tastemaker.storage.log.kafka_erasure import Erasures
from tastemaker.storage.log.kafka_forget import forget
from tastemaker.storage.log.kafka_messages import messages_of
from tastemaker.storage.log.kafka_producer import Sender
from tastemaker.storage.log.kafka_reader import Readers, records_among, records_of
from tastemaker.storage.log.kafka_subscription import KafkaSubscription
from tastemaker.storage.log.kafka_url import parse


def open_log(url: str, partitions: int, patience: Patience | None = None) -> KafkaLog:
    """Opens a URL as ``kafka_url.py`` describes them, and makes the topics where there are none.

    Raises ``ConfigError`` when they were made with another number of partitions, ``Unavailable`` when the brokers are away.
    """
    clients = Clients(parse(url), patience or Patience(), partitions)
    kafka_topic.prepare(clients)
    return KafkaLog(clients)


class KafkaLog:
    """An ``EventLog``."""

    def __init__(self, clients: Clients) -> None:
        self.partitions = clients.partitions
        self._clients = clients
        self._sender = Sender(clients)
        self._readers = Readers(clients)
        self._erasures = Erasures(clients)
        self._subscriptions: weakref.WeakSet[KafkaSubscription] = weakref.WeakSet()

    @property
    def unreadable(self) -> Unreadable:
        return self._clients.unreadable

    @unreadable.setter
    def unreadable(self, call: Unreadable) -> None:
        self._clients.unreadable = call

    def append(self, events: Sequence[AnyEvent], *, checked: bool = False) -> Future[list[Position]]:
        """See ``EventLog``. A future that failed with ``Unavailable`` may stand for events that the log has all the same."""
        try:
            packed = pack(events, checked=checked)
        except InputError as error:
            failed: Future[list[Position]] = Future()
            failed.set_exception(error)
            return failed
        return self.append_packed(packed)

    def append_packed(self, events: Sequence[Packed]) -> Future[list[Position]]:
        return self._sender.send(self._clients.place.topic, messages_of(events, self.partitions))

    def read(self, partition: int, start: int, limit: int) -> list[Record]:
        check_partition(partition, self.partitions)
        self._readers.check()
        self._erasures.load()
        [end] = self._clients.ends([partition])
        records: list[Record] = []
        if start < end:
            with self._readers.at(partition, start) as reader:
                while reader.place[1] < end and len(records) < limit:
                    records += records_of(self._clients, reader.some(limit - len(records)), self._erasures)
        return records

    def taken(self, rows: Sequence[tuple[int, int, bytes | None]]) -> list[Record]:
        """The records of messages that another client has read (partition, offset, value), as ``read`` would hand them out."""
        self._readers.check()
        self._erasures.load()
        return records_among(self._clients, rows, self._erasures)

    def ends(self) -> list[int]:
        return self._clients.ends()

    def starts(self) -> list[int]:
        return self._clients.offsets(EARLIEST)

    def subscribe(self, group: str, *, leaving: Leaving | None = None, alone: bool = False) -> KafkaSubscription:
        self._readers.check()
        subscription = KafkaSubscription(self._clients, self._erasures, group, leaving, alone)
        self._subscriptions.add(subscription)
        return subscription

    def committed(self, group: str) -> list[int]:
        return self._clients.committed(group)

    def commit(self, group: str, positions: Mapping[int, int]) -> None:
        self._clients.commit(group, positions)

    def erase(self, user: str) -> int:
        return forget(self._clients, self._readers, self._sender, self._erasures, user)

    def inspect(self) -> Inspection:
        """See ``Inspectable``."""
        return kafka_topic.inspect(self._clients)

    def flush(self) -> None:
        self._sender.flush()

    def close(self) -> None:
        self._sender.close()
        for subscription in list(self._subscriptions):
            subscription.close()
        self._readers.close()
        self._erasures.close()
        self._clients.close()
