"""Takes a user's messages away: the record that hides them from every reader, then a tombstone for each.

Ended in between, it can be done again: what is hidden already is not counted, and gets its tombstone.
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Message

from tastemaker.storage.log import partition_of
from tastemaker.storage.log.batches import belongs
from tastemaker.storage.log.kafka_client import LATEST, Clients
from tastemaker.storage.log.kafka_erasure import Erasure, Erasures, encode
from tastemaker.storage.log.kafka_messages import event_of, owner_of
from tastemaker.storage.log.kafka_producer import Outgoing, Sender
from tastemaker.storage.log.kafka_reader import Readers

AT_ONCE = 10_000


def pass_by(*_: object) -> None:
    """What cannot be read under a user's key is the user's all the same."""


class Traces:
    """A user's messages in the part of the log that was looked at: how many could be seen, and keys without a tombstone."""

    def __init__(self, user: str, hidden: int) -> None:
        self._user, self._owner, self._hidden = user, user.encode(), hidden
        self.count = 0
        self.keys: dict[bytes, None] = {}

    def look(self, messages: Sequence[Message]) -> None:
        for message in messages:
            key, value = message.key(), message.value()
            if not isinstance(key, bytes) or owner_of(key) != self._owner:
                continue
            if value is None:
                self.keys.pop(key, None)
            elif (event := event_of(message, value, pass_by)) is None or belongs(event, self._user):
                self.keys[key] = None
                self.count += (message.offset() or 0) >= self._hidden


def forget(clients: Clients, readers: Readers, sender: Sender, erasures: Erasures, user: str) -> int:
    """See ``EventLog.erase``. Reads the user's partition from its beginning."""
    erasures.follow_to(clients.offsets(LATEST, erasures.topic, [0])[0])
    partition = partition_of(user, clients.partitions)
    [end] = clients.ends([partition])
    traces = Traces(user, erasures.end_of(user))
    with readers.at(partition, 0) as reader:
        while reader.place[1] < end:
            traces.look([message for message in reader.some(AT_ONCE) if (message.offset() or 0) < end])
    if traces.count:
        sender.send(erasures.topic, [(0, user.encode(), encode(Erasure(partition, end)))]).result()
        erasures.add(user, end)
    keys = list(traces.keys)
    for start in range(0, len(keys), AT_ONCE):
        tombstones: list[Outgoing] = [(partition, key, None) for key in keys[start : start + AT_ONCE]]
        sender.send(clients.place.topic, tombstones).result()
    return traces.count
