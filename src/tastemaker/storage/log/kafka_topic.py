"""The topics of a log on Kafka: made when missing, checked when not.

``TOPIC`` holds the events. It is kept for ever (``retention.ms=-1``) and compacted: every message has a key of its own, so
compaction removes nothing but what was erased (``kafka_erasure.py``). ``TOPIC-erasures`` says who was erased. As many copies
are made as the brokers make by default (``default.replication.factor``), and an append is acknowledged by all that are in
sync (``min.insync.replicas`` says how many these must be).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # documented there, but not listed among its exports
    ConfigResource,
    NewTopic,
)

from tastemaker.errors import StorageError
from tastemaker.storage.inspection import Inspection
from tastemaker.storage.log import check_partitions
from tastemaker.storage.log.kafka_client import Clients

DAY = 86_400_000
KEPT = {"cleanup.policy": "compact", "retention.ms": "-1", "min.compaction.lag.ms": "0"}
SETTINGS = KEPT | {"max.compaction.lag.ms": str(DAY)}
SHOWS = 10.0  # seconds until a new topic must be known to the broker we ask


def erasures_of(topic: str) -> str:
    return f"{topic}-erasures"


def prepare(clients: Clients) -> None:
    """Makes the topics where they are missing. Raises ``ConfigError`` for another number of partitions."""
    topic = clients.place.topic
    found = partitions_of(clients, topic) or create(clients, topic, clients.partitions, SETTINGS)
    check_partitions(clients.partitions, found, clients.place.name)
    erasures = erasures_of(topic)
    if not partitions_of(clients, erasures):
        create(clients, erasures, 1, KEPT)


def partitions_of(clients: Clients, topic: str) -> int:
    """How many partitions a topic has; 0 when there is no such topic."""

    def question() -> int:
        found = clients.asker().list_topics(topic, timeout=clients.seconds).topics.get(topic)
        if found is None or (found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART):
            return 0
        if found.error is not None:
            raise KafkaException(found.error)
        return len(found.partitions)

    return clients.ask(question)


def create(clients: Clients, topic: str, partitions: int, settings: Mapping[str, str]) -> int:
    """Makes a topic, or finds that somebody else did, and waits until it shows. Returns its number of partitions."""
    wanted = NewTopic(topic, partitions, -1, config=dict(settings))

    def work() -> None:
        [made] = clients.admin.create_topics([wanted], request_timeout=clients.seconds).values()
        try:
            made.result(clients.late)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    clients.ask(work)
    end = time.monotonic() + SHOWS
    while not (found := partitions_of(clients, topic)):
        if time.monotonic() > end:
            raise StorageError(f"{clients.place.name}: the topic {topic} was made, but does not show: see the brokers' logs")
        time.sleep(0.05)
    return found


def inspect(clients: Clients) -> Inspection:
    """Looks at the cluster and at the settings of the topic that keep events and let erased ones go."""
    nodes = clients.ask(lambda: clients.asker().list_topics(timeout=clients.seconds).brokers)
    return Inspection(f"Kafka, {len(nodes)} broker{'s' * (len(nodes) != 1)}", None, problems(settings_of(clients)))


def settings_of(clients: Clients) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, clients.place.topic)

    def question() -> dict[str, str]:
        [found] = clients.admin.describe_configs([resource], request_timeout=clients.seconds).values()
        return {name: entry.value for name, entry in found.result(clients.late).items()}

    return clients.ask(question)


def problems(settings: Mapping[str, str]) -> tuple[str, ...]:
    """What is wrong with a topic's settings.

    >>> problems({"cleanup.policy": "compact", "retention.ms": "-1"})
    ()
    >>> problems({"cleanup.policy": "delete", "retention.ms": "604800000"})[0]
    'retention.ms = 604800000: events vanish after that time: set it to -1'
    """
    found = []
    policy = settings.get("cleanup.policy", "compact").split(",")
    for name, bound in {"retention.ms": "after that time", "retention.bytes": "beyond that size"}.items():
        if "delete" in policy and (value := settings.get(name, "-1")) != "-1":
            found.append(f"{name} = {value}: events vanish {bound}: set it to -1")
    if "compact" not in policy:
        found.append(f"cleanup.policy = {','.join(policy)}: what is erased stays on the brokers' disks: set it to compact")
    return tuple(found)
