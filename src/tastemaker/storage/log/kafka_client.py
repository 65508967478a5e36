"""Clients of a Kafka cluster: how they are set up, how they are asked, and what their errors mean.

Every question has a time limit and goes through ``Careful`` (``resilience.py``). An error that means "not there, not now"
becomes ``Unavailable``, another one ``StorageError``; both name the place without its passwords, and what the client
library said of its connections last, which is the cause more often than the error itself.

Offsets are asked for through consumers that read nothing. The administrative client would do, but in librdkafka a question
of that kind whose answer comes after its time limit ends the whole process; so it is used only to make
topics and to look at them, when a broker has just answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tastemaker.config import Patience
from tastemaker.errors import ConfigError, InputError, StorageError
from tastemaker.storage.log import Unreadable, refuse
from tastemaker.storage.log.kafka_url import Place
from tastemaker.storage.resilience import Careful

T = TypeVar("T")
REMEDY = "see that its brokers run and let us in (connect.log)"
EARLIEST, LATEST = OFFSET_BEGINNING, OFFSET_END  # which of a partition's two ends
FRESH = 10.0  # seconds for which what the library said of its connections explains an error
AWAY = frozenset(
    (
        KafkaError.BROKER_NOT_AVAILABLE, KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.KAFKA_STORAGE_ERROR, KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION, KafkaError.NOT_CONTROLLER, KafkaError.NOT_COORDINATOR, KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.REQUEST_TIMED_OUT,
        KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._ALL_BROKERS_DOWN,
        KafkaError._AUTHENTICATION, KafkaError._DESTROY, KafkaError._FATAL, KafkaError._MSG_TIMED_OUT, KafkaError._NOENT,
        KafkaError._PURGE_INFLIGHT, KafkaError._PURGE_QUEUE, KafkaError._QUEUE_FULL, KafkaError._RESOLVE, KafkaError._RETRY,
        KafkaError._SSL, KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._TRANSPORT, KafkaError._UNKNOWN_PARTITION,
        KafkaError._WAIT_COORD,
    )
)  # fmt: skip
TOO_LARGE = frozenset((KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE))


class Away(Exception):
    """A server that is not there, not now."""


class Clients:
    """What all parts of a log share: the place, patience, the breaker of questions, an administrative client."""

    def __init__(self, place: Place, patience: Patience, partitions: int) -> None:
        self.place, self.patience, self.partitions = place, patience, partitions
        self.seconds = patience.timeout_ms / 1000
        self.careful = Careful(place.name, patience, (Away,), REMEDY)
        self.unreadable: Unreadable = refuse(place.name)
        self._said: tuple[float, str] = (0.0, "")
        self._askers: dict[str, Consumer] = {}
        self._lock = threading.Lock()

    # ── making clients ──────────────────────────────────────────────────────────────────────────────────────────────

    def settings(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a client: what all need, what the URL says, what this one needs."""
        return {
            "bootstrap.servers": self.place.brokers,
            "client.id": "tastemaker",
            "log_level": 2,  # the library would write to stderr; what matters comes as errors
            "error_cb": self._note,
            "socket.timeout.ms": max(10, round(self.patience.timeout_ms)),
            "socket.connection.setup.timeout.ms": max(1000, round(self.patience.connect_ms)),
            "socket.keepalive.enable": True,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            **self.place.settings,
            **own,
        }

    def _note(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # which never says why
            self._said = time.monotonic(), error.str()

    def make(self, kind: Callable[[dict[str, Any]], T], own: Mapping[str, Any]) -> T:
        """A client. Raises ``ConfigError`` for a setting that the library does not take."""
        try:
            return kind(self.settings(own))
        except KafkaException as error:
            said = self.place.clean(error.args[0].str())
            raise ConfigError(f"connect.log = {self.place.name!r}: {said}: mend the setting in the URL's query") from None

    def consumer(self, group: str, own: Mapping[str, Any]) -> Consumer:
        base = {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,  # also where the last offsets are not records: then the end is known all the same
            "allow.auto.create.topics": False,
            "fetch.queue.backoff.ms": 20,
            "queued.max.messages.kbytes": 16 << 10,
        }
        return self.make(Consumer, {**base, **own})

    def producer(self, own: Mapping[str, Any]) -> Producer:
        return self.make(Producer, own)

    def asker(self, group: str = "questions") -> Consumer:
        """A consumer that only asks, one for each group: it never becomes a member."""
        with self._lock:
            if group not in self._askers:
                self._askers[group] = self.consumer(self.group(group), {})
            return self._askers[group]

    def close(self) -> None:
        with self._lock:
            askers, self._askers = list(self._askers.values()), {}
        for asker in askers:
            bounded(asker.close, self.seconds)

    @cached_property
    def admin(self) -> AdminClient:
        return self.make(AdminClient, {})

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, work: Callable[[], T]) -> T:
        """Does what may be done twice. Raises ``Unavailable`` or ``StorageError``."""

        def once() -> T:
            try:
                return work()
            except KafkaException as error:
                raise self.told(error.args[0]) from error

        return self.careful.call(once)

    def told(self, error: KafkaError) -> Away | StorageError | InputError:
        """What an error of the library means."""
        if error.code() in TOO_LARGE:
            return InputError("events", "an event", f"larger than {self.place.name} takes: see message.max.bytes, there and here")
        if error.retriable() or error.fatal() or error.code() in AWAY:
            return Away(self.cause(error))
        return StorageError(f"{self.place.name}: {self.cause(error)}: see the brokers' logs, and what this user may do there")

    def unavailable(self, error: KafkaError) -> StorageError | InputError:
        """The same for those who do not ask through ``ask``."""
        told = self.told(error)
        return self.careful.failure(told) if isinstance(told, Away) else told

    def cause(self, error: KafkaError) -> str:
        when, said = self._said
        text = error.str()
        if said and said != text and time.monotonic() - when < FRESH:
            text = f"{text} ({said})"
        return self.place.clean(text)

    # ── questions that several parts have ───────────────────────────────────────────────────────────────────────────

    def offsets(self, end: int, topic: str = "", partitions: Sequence[int] | None = None) -> list[int]:
        """Offsets of partitions, all of them unless named: of the beginnings (``EARLIEST``) or the ends (``LATEST``)."""
        name = topic or self.place.topic
        wanted = range(self.partitions) if partitions is None else partitions
        if not wanted:
            return []

        def question() -> list[int]:
            """One request for each broker: "the offset at the time" takes the two ends for times, as the protocol does."""
            asked = [TopicPartition(name, partition, end) for partition in wanted]
            found = self.asker().offsets_for_times(asked, timeout=self.seconds)
            raise_first(found)
            if any(each.offset < 0 for each in found):  # so it may say that a broker did not answer
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return [each.offset for each in found]

        return self.ask(question)

    def ends(self, partitions: Sequence[int] | None = None) -> list[int]:
        return self.offsets(LATEST, partitions=partitions)

    @property
    def late(self) -> float:
        """Seconds after which the library itself must have given up."""
        return self.seconds + 5.0

    def group(self, name: str) -> str:
        """A group's id. Groups belong to the whole cluster, and ours to one log."""
        return f"{self.place.topic}.{name}"

    def committed(self, group: str) -> list[int]:
        everything = [TopicPartition(self.place.topic, partition) for partition in range(self.partitions)]

        def question() -> list[int]:
            answer = self.asker(group).committed(everything, timeout=self.seconds)
            raise_first(answer)
            known = {each.partition: each.offset for each in answer}
            return [max(0, known.get(partition, 0)) for partition in range(self.partitions)]

        return self.ask(question)

    def commit(self, group: str, positions: Mapping[int, int]) -> None:
        """Sets a group's next offsets where it has no members; never takes one back."""
        known = self.committed(group)
        further = [
            TopicPartition(self.place.topic, partition, offset)
            for partition, offset in positions.items()
            if offset > known[partition]
        ]
        if further:
            self.ask(lambda: self._commit(group, further))

    def _commit(self, group: str, offsets: list[TopicPartition]) -> None:
        try:
            self.commit_with(self.asker(group), offsets, 3 * self.seconds)
        except Away:
            with self._lock:
                self._askers.pop(group, None)  # it answers nobody until its commit is over
            raise

    def commit_with(self, consumer: Consumer, offsets: list[TopicPartition], seconds: float | None) -> None:
        """Commits, in a thread if it may take so many seconds only. Raises ``Away`` when they are over."""
        failures: list[KafkaException] = []

        def work() -> None:
            try:
                raise_first(consumer.commit(offsets=offsets, asynchronous=False) or [])
            except KafkaException as error:
                failures.append(error)

        if seconds is None:
            work()
        elif not bounded(work, seconds):
            raise Away("a commit was not answered")
        for failure in failures:
            raise failure


def raise_first(answer: Sequence[TopicPartition]) -> None:
    """Raises what went wrong with a partition, if something did."""
    for each in answer:
        if each.error is not None:
            raise KafkaException(each.error)


def bounded(work: Callable[[], object], seconds: float) -> bool:
    """Does something in a thread and waits for it; whether it came to an end."""
    thread = threading.Thread(target=work, name="kafka", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
