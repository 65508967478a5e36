"""A member of a consumer group on Kafka, or a reader of all partitions that asks nobody.

The broker spreads the partitions over the members. When one comes or goes all partitions move, in the middle of a ``poll``:
they are taken from us, which we may answer by committing, and others are given. A member that the broker did not hear of for
``session.timeout.ms`` is out. The library hears of that late, or not at all when the whole process stood still; so a member
trusts its partitions for a part of that time only, and one that was silent for longer has to join anew (``Conflict``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tastemaker.domain import Record
from tastemaker.errors import Conflict, InputError
from tastemaker.storage.log import Leaving
from tastemaker.storage.log.kafka_client import EARLIEST, Away, Clients, bounded
from tastemaker.storage.log.kafka_erasure import Erasures
from tastemaker.storage.log.kafka_messages import gather
from tastemaker.storage.log.kafka_reader import records_of

T = TypeVar("T")
TIMEOUT = 10_000  # milliseconds of silence after which a member is out
TRUST = 0.7  # the part of it for which a silent member trusts its partitions
JOINS = 3.0  # times it that joining may take, while others are waited for
SLICE = 0.25  # seconds of one wait for messages; what comes wakes it
OUT = frozenset(
    (
        KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID, KafkaError._ASSIGNMENT_LOST, KafkaError._STATE,
    )
)  # fmt: skip


def clock() -> float:
    """Seconds that go on while the process, or the machine, stands still."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class KafkaSubscription:
    """A ``Subscription``."""

    def __init__(self, clients: Clients, erasures: Erasures, group: str, leaving: Leaving | None, alone: bool) -> None:
        self._clients, self._erasures, self._group, self._leaving, self._alone = clients, erasures, group, leaving, alone
        timeout = int(clients.place.settings.get("session.timeout.ms", TIMEOUT))
        self._trusted = TRUST * timeout / 1000
        self._next: dict[int, int] = {}
        self._done: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._early: list[Message] = []  # came while we joined
        self._failure: Exception | None = None  # of a callback
        self._joined = self._lost = self._closed = self._called = self._stuck = False
        self._losses = 0
        self._heard = clock()
        self._consumer = clients.consumer(clients.group(group), member(timeout))
        if alone:
            self._take_all()
        else:
            self._join(JOINS * timeout / 1000)

    @property
    def partitions(self) -> tuple[int, ...]:
        return tuple(sorted(self._next))

    # ── coming and going ────────────────────────────────────────────────────────────────────────────────────────────

    def _take_all(self) -> None:
        self._begin(self._consumer, range(self._clients.partitions))

    def _join(self, seconds: float) -> None:
        """Waits until the group has let us in; where that takes too long, the partitions come during a later ``poll``."""
        self._clients.ends([0])  # says at once when the brokers are away
        self._consumer.subscribe([self._clients.place.topic], on_assign=self._gain, on_revoke=self._give_up, on_lost=self._lose)
        end = clock() + seconds
        while not self._joined and clock() < end:
            self._early += self._library(lambda: gather(self._consumer, 1, SLICE))
            self._raise()
        self._heard = clock()

    def _begin(self, consumer: Consumer, partitions: Sequence[int]) -> None:
        """Behind the last commit or at the beginning; by number, for a consumer takes its time to find the beginning itself."""
        places: dict[int, int] = {}
        if partitions:
            known, starts = self._clients.committed(self._group), self._clients.offsets(EARLIEST)
            places = {partition: max(known[partition], starts[partition]) for partition in partitions}
        topic = self._clients.place.topic
        consumer.assign([TopicPartition(topic, partition, at) for partition, at in places.items()])
        self._next, self._done, self._ends = places, dict(places), {}

    def rewind(self) -> None:
        """See ``Subscription``. What the library has fetched already is thrown away."""
        topic = self._clients.place.topic
        places = [TopicPartition(topic, partition, at) for partition, at in self._done.items()]
        self._library(lambda: self._consumer.assign(places))
        self._next, self._early = dict(self._done), []

    def _gain(self, consumer: Consumer, given: Sequence[TopicPartition]) -> None:
        """Called by the library during a poll."""
        self._joined, self._lost = True, False
        try:
            self._begin(consumer, [each.partition for each in given])
        except Exception as error:  # must not get into the library; the poll raises it
            self._failure = error

    def _give_up(self, _: Consumer, taken: Sequence[TopicPartition]) -> None:
        """Called by the library during a poll: partitions move in peace."""
        partitions = sorted(each.partition for each in taken)
        self._called = True
        try:
            if partitions and self._leaving is not None and not self._closed:
                self._leaving(partitions)
        except Exception as error:  # as above
            self._failure = error
        finally:
            self._called = False
        self._drop(partitions)

    def _lose(self, _: Consumer, taken: Sequence[TopicPartition]) -> None:
        """Called by the library during a poll: we are out, and others may have the partitions already."""
        self._lost = True
        self._losses += 1
        self._drop([each.partition for each in taken])

    def _drop(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            for places in (self._next, self._done, self._ends):
                places.pop(partition, None)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def poll(self, limit: int, timeout: float) -> list[Record]:
        """See ``Subscription``. Raises ``Conflict`` when this member was silent for too long: close it and subscribe again."""
        if limit < 1:
            raise InputError("limit", limit, "ask for at least one record")
        if self._stuck:
            raise self._clients.careful.failure(Away("a commit was not answered, this member has to join anew"))
        self._erasures.load()
        until, losses, patient = time.monotonic() + timeout, self._losses, None
        while True:
            wait = until - time.monotonic()
            records = self._step(limit, max(0.0, min(SLICE, wait)) if patient is None else SLICE)
            if records or self._losses != losses:  # who lost something should see it before it might come back
                return records
            if time.monotonic() < until:
                continue
            if not self._behind():
                return []
            patient = patient or time.monotonic() + 5 * self._clients.seconds
            if time.monotonic() > patient:
                raise self._clients.careful.failure(Away("it has records and does not hand them out"))

    def _step(self, limit: int, seconds: float) -> list[Record]:
        """One look for messages, with what the library calls meanwhile."""
        early, self._early = self._early[:limit], self._early[limit:]
        room, wait = limit - len(early), 0.0 if early else seconds
        messages = early + (self._library(lambda: gather(self._consumer, room, wait)) if room else [])
        self._raise()
        fresh = [message for message in messages if self._count(message)]
        now = clock()
        silent, self._heard = now - self._heard, now
        if not self._alone and silent > self._trusted:
            self._lost = True
            raise Conflict(
                f"{self._clients.place.name}: silent for {silent:.1f} s: the partitions may be another member's by now"
            )
        return records_of(self._clients, fresh, self._erasures)

    def _count(self, message: Message) -> bool:
        """Moves the place behind a message; whether it is one that we have to hand out."""
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise self._clients.unavailable(error)
        if partition is None or offset is None or offset < self._next.get(partition, offset + 1):
            return False  # it was on its way when its partition was taken from us
        self._next[partition] = offset + (error is None)
        return error is None

    def _behind(self) -> bool:
        """Whether the log has more than what was polled, as its brokers say."""
        own = self.partitions
        self._ends = dict(zip(own, self._clients.ends(own), strict=True))
        return any(end > self._next[partition] for partition, end in self._ends.items())

    def _library(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except KafkaException as error:
            raise self._clients.unavailable(error.args[0]) from error

    def _raise(self) -> None:
        """What failed in a callback fails the call that it happened in."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def lag(self) -> int:
        """See ``Subscription``. Asks nobody once records have come: the brokers send their ends along."""
        if any(self._end(partition) < 0 for partition in self._next):
            self._behind()
        return sum(max(0, self._end(partition) - at) for partition, at in self._next.items())

    def _end(self, partition: int) -> int:
        """The end that we know of; negative before the first answer."""
        _, sent = self._consumer.get_watermark_offsets(TopicPartition(self._clients.place.topic, partition), cached=True)
        return max(sent, self._ends.get(partition, -1))

    # ── what is done ────────────────────────────────────────────────────────────────────────────────────────────────

    def holds(self) -> bool:
        return self._alone or (not self._lost and clock() - self._heard <= self._trusted)

    def commit(self) -> None:
        """See ``Subscription``. Raises ``Conflict`` when the partitions are not ours any more."""
        moved = {partition: at for partition, at in self._next.items() if at > self._done[partition]}
        if not moved:
            return
        if self._alone:
            self._clients.commit(self._group, moved)
        else:
            if not self.holds():
                raise self._out("silent for too long")
            self._commit(moved)
        self._done |= moved

    def _commit(self, positions: Mapping[int, int]) -> None:
        """The library waits for a coordinator that is away for the better part of a minute, and does nothing else meanwhile.

        So we ask first whether it is there; if it goes just then, this member is stuck, and has to be closed.
        """
        self._clients.committed(self._group)
        offsets = [TopicPartition(self._clients.place.topic, partition, at) for partition, at in positions.items()]
        # Inside a call of the library's, no other thread is served.
        seconds = None if self._called else 3 * self._clients.seconds
        try:
            self._clients.commit_with(self._consumer, offsets, seconds)
        except Away as error:
            self._stuck = True
            raise self._clients.careful.failure(error) from error
        except KafkaException as error:
            code = error.args[0]
            raise self._out(code.str()) if code.code() in OUT else self._clients.unavailable(code) from error

    def _out(self, why: str) -> Conflict:
        self._lost = True
        return Conflict(f"{self._clients.place.name}: this member is out of its group ({why}): its partitions may be another's")

    def close(self) -> None:
        """Leaves the group; what was not committed comes again."""
        if not self._closed:
            self._closed = True
            bounded(self._consumer.close, 3 * self._clients.seconds)  # a broker that is away notices by itself
            self._drop(self.partitions)


def member(timeout: int) -> dict[str, object]:
    """Settings of a member that is out after ``timeout`` milliseconds."""
    return {
        "partition.assignment.strategy": "range",
        "session.timeout.ms": timeout,
        "heartbeat.interval.ms": max(100, timeout // 5),
        "max.poll.interval.ms": 3 * timeout,
    }
