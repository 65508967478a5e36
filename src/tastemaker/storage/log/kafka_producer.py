"""Sends messages to Kafka and tells each caller when his are kept by all brokers that are in sync.

The producer is idempotent: what it sends again because an answer was lost is not stored twice, and messages of a partition
keep their order. A thread takes the delivery reports and settles the futures. When messages fail because the brokers are
away, those that wait behind them are failed at once, too: nobody waits for one time limit after the other, and nothing later
can overtake what was refused.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tastemaker.errors import InputError, StorageError, Unavailable
from tastemaker.storage.log import Position
from tastemaker.storage.log.kafka_client import Away, Clients
from tastemaker.storage.resilience import Careful

REPORTS = 0.1  # seconds for which the thread waits for reports before it looks whether it should end
SETTINGS = {"enable.idempotence": True, "acks": "all", "compression.type": "lz4", "queue.buffering.max.messages": 1_000_000}
LINGER = 2.0  # milliseconds that messages wait for others
TRIES = 3  # times the patience of an answer until a message fails


Refusal = StorageError | InputError
Outgoing = tuple[int, bytes, bytes | None]
"""A message on its way: partition, key, and a value, or None to take away what was under the key."""


class Delivery:
    """The messages of one call, and the future of their positions."""

    def __init__(self, count: int, told: Callable[[KafkaError], Refusal]) -> None:
        self.future: Future[list[Position]] = Future()
        self.future.set_running_or_notify_cancel()  # who stops waiting does not stop the messages
        self._positions: list[Position] = [(-1, -1)] * count
        self._told = told
        self._landed = itertools.count(1)  # one step of it cannot be interrupted, and is faster than a lock
        self._error: Refusal | None = None

    def report(self, index: int, error: KafkaError | None, message: Message) -> None:
        """A message arrived, or never will."""
        if error is None:
            self._positions[index] = message.partition(), message.offset()  # type: ignore[assignment]  # known of one that arrived
        else:
            self._error = self._error or self._told(error)
        if next(self._landed) == len(self._positions):
            self._settle()

    def refuse(self, count: int, error: Refusal) -> None:
        """The last messages were never sent."""
        self._error = self._error or error
        if any(next(self._landed) == len(self._positions) for _ in range(count)):
            self._settle()

    def _settle(self) -> None:
        if self._error is not None:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(self._positions)


class Sender:
    """The producer of one log in this process. Thread safe."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._careful = Careful(clients.place.name, clients.patience, (Away,), clients.careful.remedy)
        self.seconds = TRIES * clients.seconds
        self._lock = threading.Lock()
        self._open: set[Future[list[Position]]] = set()
        self._closed = False
        self._failing = self._fatal = False
        self._producer = self._make()
        clients.ask(lambda: self._producer.list_topics(clients.place.topic, clients.seconds))  # so that it connects now
        self._thread = threading.Thread(target=self._run, name=f"reports of {clients.place.name}", daemon=True)
        self._thread.start()

    def _make(self) -> Producer:
        milliseconds = max(1, round(self._clients.patience.timeout_ms))
        limits = {"message.timeout.ms": TRIES * milliseconds, "request.timeout.ms": milliseconds, "linger.ms": LINGER}
        return self._clients.producer({**SETTINGS, **limits})

    def send(self, topic: str, messages: Sequence[Outgoing]) -> Future[list[Position]]:
        """Sends messages in this order; see ``EventLog.append``. Never waits."""
        delivery = Delivery(len(messages), self._told)
        future = delivery.future
        if not messages:
            future.set_result([])
            return future
        with self._lock:  # one call's messages stay together, also when the producer is replaced
            if self._closed:
                future.set_exception(StorageError(f"{self._clients.place.name} is closed: open it again to write to it"))
                return future
            try:
                self._careful.enter()
            except Unavailable as error:
                future.set_exception(error)
                return future
            self._open.add(future)
            refused = self._produce(topic, messages, delivery)
        if refused is not None:  # outside the lock: whoever waits for the future may send again
            delivery.refuse(*refused)
        future.add_done_callback(self._settled)
        return future

    def _produce(self, topic: str, messages: Sequence[Outgoing], delivery: Delivery) -> tuple[int, Refusal] | None:
        """Hands messages to the library; how many it did not take, and why."""
        produce, report = self._producer.produce, delivery.report
        for index, (partition, key, value) in enumerate(messages):
            try:
                produce(topic, value, key, partition, on_delivery=partial(report, index))
            except BufferError:
                error: Refusal = self._careful.failure(Away("the queue of messages that wait for the brokers is full"))
            except KafkaException as problem:
                error = self._told(problem.args[0])
            else:
                continue
            return len(messages) - index, error
        return None

    def _settled(self, future: Future[list[Position]]) -> None:
        self._open.discard(future)
        if future.exception() is None:
            self._careful.breaker.succeeded()

    def _told(self, error: KafkaError) -> Refusal:
        told = self._clients.told(error)
        self._fatal |= error.fatal() or error.code() == KafkaError._FATAL
        if not isinstance(told, Away):
            return told
        if error.code() != KafkaError._PURGE_QUEUE:
            self._failing = True
            self._careful.breaker.failed()
        return self._careful.failure(told)

    def _run(self) -> None:
        while not self._closed:
            self._producer.poll(REPORTS)
            if self._fatal:
                self._replace()
            elif self._failing:
                self._failing = False
                self._producer.purge(in_queue=True, in_flight=False)

    def _replace(self) -> None:
        """A producer that met an error which it cannot get over is of no use any more; what it held fails."""
        with self._lock:
            old, self._producer = self._producer, self._make()
            self._fatal = self._failing = False
        old.purge()
        old.flush(REPORTS)

    def flush(self) -> None:
        """Waits until everything sent so far arrived or failed. Raises ``Unavailable`` when that takes too long."""
        waiting = list(self._open)
        if waiting:
            self._producer.flush(self.seconds)
            if wait(waiting, self._clients.late).not_done:
                raise self._careful.failure(Away("what was sent neither arrived nor failed"))

    def close(self) -> None:
        """Waits for what is under way, as long as a message may take; then everything left fails."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._producer.flush(self.seconds):
            self._producer.purge()
            self._producer.flush(self._clients.seconds)
        self._thread.join()
        wait(list(self._open), self._clients.seconds)
