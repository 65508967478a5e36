"""Where bytes live: the only package that knows a server exists.

Five ports, each chosen by a URL of the configuration and loaded when it is asked for:

    log      events in order, kept for good      storage/log/      sqlite://
    kv       states, slates, the live pointer    storage/kv/       lmdb://, with kv_durable behind it if there is one
    lake     events as Delta tables              storage/lake.py   file://
    tables   items, users, models, runs          storage/tables/   sqlite://
    models   what was trained, as files          storage/artifacts.py   a folder

``connect(config)`` opens them on first use. An adapter's name is its URL's scheme: nothing above this package changes
when a file becomes a server.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tastemaker import telemetry
from tastemaker.config import Config, hide
from tastemaker.errors import MissingExtra, UnknownScheme, did_you_mean
from tastemaker.storage import kv, log

if TYPE_CHECKING:
    from tastemaker.storage.artifacts import Artifacts
    from tastemaker.storage.kv import Dated, KeyValue
    from tastemaker.storage.lake import Lake
    from tastemaker.storage.log import EventLog
    from tastemaker.storage.tables import Tables

LAKES = dict.fromkeys(("file", "s3"), "tastemaker.storage.lake:open_lake")
MODELS = dict.fromkeys(("file", "s3"), "tastemaker.storage.artifacts:open_artifacts")
TABLES = dict.fromkeys(
    ("sqlite", "postgresql", "postgresql+psycopg", "mysql", "mysql+pymysql", "mariadb+pymysql"),
    "tastemaker.storage.tables:open_tables",
)
EXTRAS = {"postgresql": "postgres", "mariadb": "mysql", "rediss": "redis"}  # scheme -> extra, where they differ


class Storage:
    """The stores of a configuration, opened on first use. Use it as a context manager."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @cached_property
    def log(self) -> EventLog:
        url, partitions, patience = self.config.url("log"), self.config.log.partitions, self.config.patience
        opener: log.Opener = resolve(url, log.SCHEMES, "connect.log")

        def opened() -> EventLog:
            made = opener(url, partitions, patience)
            if isinstance(made, log.Open):
                made.unreadable = self._set_aside
            return made

        if url.startswith("sqlite:") or not patience.spool_mb:
            return opened()
        from tastemaker.storage.log.spool import Spooled

        name = str(hide(url.partition("?")[0]))
        return Spooled(opened, name, partitions, self.config.home / "spool", patience)

    def _set_aside(self, partition: int, offset: int, body: bytes, why: str) -> None:
        """What stands in the log and is no event goes to the dead letters; several readers may find it."""
        telemetry.log.error("dead_letter", partition=partition, offset=offset, error=why)
        self.tables.dead_letters.put_unreadable("log", partition, offset, body, why)

    @cached_property
    def kv(self) -> KeyValue:
        if not self.config.connect.kv_durable:
            opened: KeyValue = self._open("kv", kv.SCHEMES)
            return opened
        from tastemaker.storage.kv.cached import Cached

        return Cached(self._open("kv", kv.SCHEMES), self.kv_durable)

    @cached_property
    def kv_durable(self) -> Dated:
        """What stands behind the cache, if the configuration names it."""
        opened: Dated = self._open("kv_durable", kv.DURABLE)
        return opened

    @cached_property
    def lake(self) -> Lake:
        opened: Lake = self._open("lake", LAKES)
        return opened

    @cached_property
    def tables(self) -> Tables:
        opened: Tables = self._open("tables", TABLES)
        return opened

    @cached_property
    def models(self) -> Artifacts:
        url = self.config.url("models")
        url = url if "://" in url else f"file:///{url}"  # a plain folder will do
        opener = resolve(url, MODELS, "connect.models")
        opened: Artifacts = opener(url, self.config.home / "cache" / "models", self.config.patience)
        return opened

    def _open(self, name: str, schemes: Mapping[str, str], *more: object) -> Any:
        url = self.config.url(name)
        return resolve(url, schemes, f"connect.{name}")(url, *more, self.config.patience)

    def close(self) -> None:
        for name in ("log", "kv", "kv_durable", "lake", "tables", "models"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    def __enter__(self) -> Storage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(config: Config) -> Storage:
    """The stores that a configuration names."""
    return Storage(config)


def resolve(url: str, schemes: Mapping[str, str], key: str) -> Callable[..., Any]:
    """The opener of a URL's adapter, imported only now."""
    scheme = url.partition("://")[0]
    if scheme not in schemes:
        raise UnknownScheme(f"{key} = {hide(url)!r}: no adapter for {scheme}://; {did_you_mean(scheme, schemes)}")
    module, _, name = schemes[scheme].partition(":")
    try:
        opener: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("tastemaker"):
            raise
        raise MissingExtra(extra_of(scheme), f"{key} = {hide(url)!r}") from error
    return opener


def extra_of(scheme: str) -> str:
    """The extra that brings an adapter's package.

    >>> extra_of("rediss+cluster"), extra_of("postgresql+psycopg"), extra_of("kafka")
    ('redis', 'postgres', 'kafka')
    """
    server = scheme.partition("+")[0]
    return EXTRAS.get(server, server)
