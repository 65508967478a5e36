"""Reads the URL of a log on Kafka.

    kafka://host1:port,host2:port/topic?security.protocol=SASL_SSL&sasl.mechanism=PLAIN

User and password may stand before the hosts, as in other URLs (``kafka://user:password@host:port/topic``), or in the query.
Every setting of librdkafka may stand in the query, but those on which the promises of the log rest. What is secret among
them never gets into a message: ``Place.name`` has neither query nor password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from tastemaker.config import hide
from tastemaker.errors import ConfigError

TOPIC = re.compile(r"[A-Za-z0-9._-]{1,230}")  # Kafka allows 249 characters; "-erasures" needs room
BROKER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
PASSWORDS = re.compile(r"password|secret|token|\.pem$|sasl\.jaas")
OURS = frozenset(
    (
        "acks", "allow.auto.create.topics", "auto.offset.reset", "bootstrap.servers", "enable.auto.commit",
        "enable.auto.offset.store", "enable.idempotence", "enable.partition.eof", "group.id", "isolation.level",
        "max.poll.interval.ms", "message.timeout.ms", "metadata.broker.list", "partition.assignment.strategy", "partitioner",
        "request.required.acks", "transactional.id",
    )
)  # fmt: skip
SHORT = "write kafka://host:port,host:port/topic"


@dataclass(frozen=True)
class Place:
    """Where the log is: brokers, topic and further settings of the client; ``name`` is what may be shown."""

    brokers: str
    topic: str
    settings: dict[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        return f"kafka://{self.brokers}/{self.topic}"

    def clean(self, text: str) -> str:
        """A text without the secrets of the settings, whoever wrote it."""
        for setting, value in self.settings.items():
            if value and PASSWORDS.search(setting):
                text = text.replace(value, "***")
        return text


def parse(url: str) -> Place:
    """The place that a URL names. Raises ``ConfigError``.

    >>> parse("kafka://me:hush@one:9092,two:9092/events?security.protocol=SASL_SSL").name
    'kafka://one:9092,two:9092/events'
    """
    head, _, query = url.removeprefix("kafka://").partition("?")
    authority, _, topic = head.partition("/")
    account, _, brokers = authority.rpartition("@")
    settings = account_of(account) | settings_of(url, query)
    if not brokers or not all(BROKER.fullmatch(broker) for broker in brokers.split(",")):
        raise ConfigError(f"connect.log = {hide(url)!r}: {brokers!r} names no brokers: {SHORT}")
    if not TOPIC.fullmatch(topic) or topic in (".", ".."):
        raise ConfigError(
            f"connect.log = {hide(url)!r}: {topic!r} is no topic (letters, digits, dots, dashes, underscores): {SHORT}"
        )
    return Place(brokers, topic, settings)


def account_of(text: str) -> dict[str, str]:
    """``user:password`` as settings."""
    if not text:
        return {}
    user, _, password = text.partition(":")
    return {"sasl.username": unquote(user), "sasl.password": unquote(password)}


def settings_of(url: str, query: str) -> dict[str, str]:
    """The settings of a query. A plus sign is itself: passwords have some."""
    settings: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        name = unquote(name)
        if not equals:
            raise ConfigError(f"connect.log = {hide(url)!r}: {name!r} has no value: write {name}=VALUE")
        if name in OURS:
            raise ConfigError(f"connect.log: the setting {name} is not yours to choose, the log rests on it: leave it out")
        settings[name] = unquote(value)
    return settings
