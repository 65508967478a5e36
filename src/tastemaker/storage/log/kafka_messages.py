"""What a message of a log on Kafka is: the event's MessagePack under a key that no other message has.

The key is the key of the event, a zero byte and twelve random bytes. It says whom a message is about without decoding it, and
being unique it lets a single message be taken away (``kafka_erasure.py``). The partition is chosen by the event's key alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec
from confluent_kafka import Consumer, Message

from tastemaker.domain import AnyEvent, Record, decode_event
from tastemaker.storage.log import Packed, Unreadable, partition_of
from tastemaker.storage.log.kafka_producer import Outgoing

RANDOM = 12  # bytes behind the zero byte of a message's key
MOST = 10_000  # messages that are taken from the library at once


def keys_of(owners: Sequence[str]) -> list[bytes]:
    """Keys of messages.

    >>> [key[:-12] for key in keys_of(["ann", "bob"])]
    [b'ann\\x00', b'bob\\x00']
    """
    noise = os.urandom(RANDOM * len(owners))
    starts = range(0, len(noise), RANDOM)
    return [owner.encode() + b"\0" + noise[start : start + RANDOM] for owner, start in zip(owners, starts, strict=True)]


def owner_of(key: bytes) -> bytes:
    """The event's key in a message's key; it may itself have zero bytes."""
    return key[: -RANDOM - 1]


def messages_of(events: Sequence[Packed], partitions: int) -> list[Outgoing]:
    """Events as messages, in order."""
    owners = [event.key for event in events]
    where = [partition_of(owner, partitions) for owner in owners]
    return list(zip(where, keys_of(owners), [event.body for event in events], strict=True))


def gather(consumer: Consumer, limit: int, seconds: float) -> list[Message]:
    """What has arrived, at most ``limit``; waits for the first message only, where the library would wait for the last."""
    first = consumer.poll(seconds)
    if first is None:
        return []
    return [first, *consumer.consume(min(limit, MOST) - 1, 0)] if limit > 1 else [first]


def read_event(partition: int, offset: int, value: bytes, unreadable: Unreadable) -> AnyEvent | None:
    """The event of a message's value; None where it is none and ``unreadable`` has taken it."""
    try:
        event: AnyEvent = decode_event(value)
    except msgspec.MsgspecError as error:
        unreadable(partition, offset, value, str(error))
        return None
    return event


def event_of(message: Message, value: bytes, unreadable: Unreadable) -> AnyEvent | None:
    """The event of a message; None where something else stands in the topic and ``unreadable`` has taken it."""
    return read_event(message.partition() or 0, message.offset() or 0, value, unreadable)


def record_of(message: Message, unreadable: Unreadable) -> Record | None:
    """The record of a message; None for one that was taken away, or is no event."""
    value = message.value()
    event = event_of(message, value, unreadable) if value is not None else None
    return Record(message.partition() or 0, message.offset() or 0, event) if event is not None else None
