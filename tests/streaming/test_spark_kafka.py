"""Messages as Spark's own connector hands them out become the records that every other reader of the log sees.

The connector itself is a Java library that is not part of these tests: what it does with the options is its own promise.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

import servers
from tastemaker.config import Config, Connect, Log, Patience
from tastemaker.domain import Interaction, Record
from tastemaker.errors import ConfigError
from tastemaker.storage import connect
from tastemaker.storage.log.kafka_url import parse
from tastemaker.streaming.spark.kafka import options, spoken, taken

SLOW = Patience(connect_ms=10_000, timeout_ms=10_000, spool_mb=0)
Row = tuple[int, int, bytes | None]


def messages(url: str, ends: list[int]) -> list[Row]:
    """What lies in a topic, read by a client that knows nothing of us."""
    place = parse(url)
    consumer = Consumer({"bootstrap.servers": place.brokers, "group.id": "raw", "enable.auto.commit": False})
    consumer.assign([TopicPartition(place.topic, number, OFFSET_BEGINNING) for number in range(len(ends))])
    rows: list[Row] = []
    until = time.monotonic() + 60
    while len(rows) < sum(ends) and time.monotonic() < until:
        rows += [
            (message.partition() or 0, message.offset() or 0, message.value())
            for message in consumer.consume(1000, 0.5)
            if message.error() is None
        ]
    consumer.close()
    return sorted(rows, key=lambda row: row[:2])


def test_messages_become_the_records_that_the_log_itself_hands_out(tmp_path: Path) -> None:
    config = Config(connect=Connect(home=str(tmp_path / "home"), log=servers.kafka()), log=Log(partitions=3), patience=SLOW)
    place = parse(config.connect.log)
    with connect(config) as storage:
        events = [Interaction(f"e{n}", n, f"u{n % 9}", f"i{n}", "click") for n in range(90)]
        storage.log.append(events).result()
        assert storage.log.erase("u4") == 10
        producer = Producer({"bootstrap.servers": place.brokers})
        producer.produce(place.topic, b"\xff no event", b"somebody else's", partition=1)
        assert producer.flush(10) == 0

        rows = messages(config.connect.log, storage.log.ends())
        assert len(rows) == 90 + 10 + 1, "events, tombstones and the stranger's message"
        expected = [record for partition in range(3) for record in storage.log.read(partition, 0, 1000)]
        before = storage.tables.dead_letters.count()
        assert taken(storage.log, rows) == expected
        assert len(expected) == 80
        assert all(isinstance(record, Record) for record in expected)
        assert (before, storage.tables.dead_letters.count()) == (1, 1), "the same bytes at the same place are one dead letter"


def test_the_connector_is_told_what_the_url_says(tmp_path: Path) -> None:
    url = "kafka://me:it%22s@one:9092,two:9092/events?security.protocol=SASL_SSL&sasl.mechanism=SCRAM-SHA-512&ssl.ca.location=ca.pem"
    found = options(parse(url), [5, 0], 1000)
    assert found["kafka.bootstrap.servers"] == "one:9092,two:9092"
    assert json.loads(found["assign"]) == {"events": [0, 1]}
    assert json.loads(found["startingOffsets"]) == {"events": {"0": 5, "1": 0}}
    assert found["maxOffsetsPerTrigger"] == "1000"
    assert found["kafka.isolation.level"] == "read_committed"
    assert found["kafka.security.protocol"] == "SASL_SSL"
    assert found["kafka.sasl.jaas.config"].endswith('ScramLoginModule required username="me" password="it\\"s";')
    assert (found["kafka.ssl.truststore.type"], found["kafka.ssl.truststore.location"]) == ("PEM", "ca.pem")
    assert spoken({}) == {}


def test_a_setting_that_the_connector_has_no_word_for_is_named() -> None:
    with pytest.raises(ConfigError, match=r"is not told sasl.oauthbearer.config, ssl.key.location"):
        spoken({"ssl.key.location": "key.pem", "sasl.oauthbearer.config": "x", "security.protocol": "SSL"})
    with pytest.raises(ConfigError, match=r"sasl\.password, sasl\.username"):
        spoken({"sasl.username": "me", "sasl.password": "hush", "sasl.mechanism": "OAUTHBEARER"})
