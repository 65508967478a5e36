"""A log on Kafka read by Spark's own connector (``spark-sql-kafka-0-10``), where its classes are there.

The connector hands out messages as they lie in the topic; ``KafkaLog.taken`` makes records of them as every other reader does:
without what was taken away or erased, and what is no event goes to the dead letters. A partition of the topic is one task.

The connector is a Java client: what the log's URL says in librdkafka's words is said again in its own. Where a setting has no
counterpart here, the log is read by our source (``source.py``) all the same, which speaks librdkafka.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import Record
from tastemaker.errors import ConfigError
from tastemaker.storage.log import EventLog
from tastemaker.storage.spark import has_class
from tastemaker.streaming.spark.task import Row

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from tastemaker.storage.log.kafka_url import Place

PROVIDER = "org.apache.spark.sql.kafka010.KafkaSourceProvider"
ROWS = ("partition", "offset", "CAST(value AS BINARY) AS body")
SAME = ("security.protocol", "sasl.mechanism", "ssl.endpoint.identification.algorithm", "client.id")
ACCOUNT = ("sasl.username", "sasl.password")
LOGIN = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


def by_connector(session: SparkSession, config: Config, starts: Sequence[int]) -> DataFrame | None:
    """The topic as rows of (partition, offset, body), from offsets on where there is no checkpoint; None: read it otherwise."""
    if not config.url("log").startswith("kafka:") or not config.streaming.connector or not has_class(session, PROVIDER):
        return None
    from tastemaker.storage.log.kafka_url import parse

    try:
        chosen = options(parse(config.url("log")), starts, config.streaming.trigger_records)
    except ConfigError as error:
        telemetry.log.warning("spark_connector", error=str(error))
        return None
    return session.readStream.format("kafka").options(**chosen).load().selectExpr(*ROWS)


def options(place: Place, starts: Sequence[int], limit: int) -> dict[str, str]:
    """The connector's options. Raises ``ConfigError`` for a setting of the URL that it has no word for."""
    return {
        "kafka.bootstrap.servers": place.brokers,
        "kafka.isolation.level": "read_committed",
        "assign": json.dumps({place.topic: list(range(len(starts)))}),
        "startingOffsets": json.dumps({place.topic: {str(partition): start for partition, start in enumerate(starts)}}),
        "maxOffsetsPerTrigger": str(limit),
        "failOnDataLoss": "false",  # what a time limit took is in the lake; workers of ours pass it by, too
        **{f"kafka.{name}": value for name, value in spoken(place.settings).items()},
    }


def spoken(settings: Mapping[str, str]) -> dict[str, str]:
    """librdkafka's settings in the words of Kafka's own client.

    >>> spoken({"sasl.mechanisms": "PLAIN", "sasl.username": "me", "sasl.password": 'a"b'})["sasl.jaas.config"]
    'org.apache.kafka.common.security.plain.PlainLoginModule required username="me" password="a\\\\"b";'
    """
    left = {("sasl.mechanism" if name == "sasl.mechanisms" else name): value for name, value in settings.items()}
    found = {name: left.pop(name) for name in SAME if name in left}
    if "ssl.ca.location" in left:
        found |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": left.pop("ssl.ca.location")}
    if "sasl.username" in left and found.get("sasl.mechanism") in LOGIN:
        user, password = (quoted(left.pop(name, "")) for name in ACCOUNT)
        found["sasl.jaas.config"] = f"{LOGIN[found['sasl.mechanism']]} required username={user} password={password};"
    if left:
        raise ConfigError(
            f"connect.log: Spark's connector is not told {', '.join(sorted(left))}: the log is read by tastemaker's own source"
        )
    return found


def quoted(text: str) -> str:
    """A value of a JAAS line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def taken(log: EventLog, rows: Sequence[Row]) -> list[Record]:
    """The records of messages that the connector has read."""
    from tastemaker.storage.log.kafka import KafkaLog

    assert isinstance(log, KafkaLog), log
    return log.taken(rows)
