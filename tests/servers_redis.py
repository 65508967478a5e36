"""Several Redis servers at once: a cluster of three, and a master with a replica and a sentinel."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Self

import redis as client

from ports import free_port
from servers import Redis, unique

SLOTS = 16384


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits for something that servers agree on among themselves."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise RuntimeError("the servers did not come to an agreement in time")
        time.sleep(0.02)


def asked(server: Redis, *command: Any) -> Any:
    """The reply to one command."""
    with client.Redis("127.0.0.1", server.port, socket_timeout=10, protocol=2) as connection:
        try:
            return connection.execute_command(*command)
        except client.RedisError as error:
            raise RuntimeError(f"{command}: {error}: {server.said}") from error


class Cluster:
    """Three servers that share the slots, each a process of ours."""

    def __init__(self) -> None:
        self.servers = [ClusterServer() for _ in range(3)]

    def start(self) -> Self:
        for server in self.servers:
            server.start()
        first, *others = self.servers
        for number, server in enumerate(self.servers):
            asked(server, "CLUSTER", "ADDSLOTSRANGE", number * SLOTS // 3, (number + 1) * SLOTS // 3 - 1)
            asked(server, "CONFIG", "SET", "cluster-require-full-coverage", "no")
            asked(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in others:
            asked(first, "CLUSTER", "MEET", "127.0.0.1", server.port, server.bus)
        until(lambda: all(self.agrees(server) for server in self.servers))
        return self

    def agrees(self, server: Redis) -> bool:
        with client.Redis("127.0.0.1", server.port, socket_timeout=10) as connection:
            found = connection.execute_command("CLUSTER INFO")
        return bool(found["cluster_state"] == "ok" and found["cluster_known_nodes"] == "3")

    def close(self) -> None:
        for server in self.servers:
            server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)


class ClusterServer(Redis):
    """One of a cluster. Its bus has a port of its own, since the usual one, 10000 higher, may not exist."""

    def __init__(self) -> None:
        super().__init__()
        self.bus = free_port()

    def command(self) -> list[str]:
        cluster = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus), "--cluster-node-timeout", "2000"]
        return [*super().command(), *cluster]

    def answers(self) -> bool:
        """A whole answer, by this very process: it listens to clients before it knows whether it gets its bus."""
        assert self.process is not None
        try:
            with client.Redis("127.0.0.1", self.port, socket_timeout=1) as connection:
                found: Any = connection.info("server")
        except client.RedisError:
            return False
        return bool(found["process_id"] == self.process.pid)


class Sentinel(Redis):
    """Watches a master and puts a replica into its place."""

    service = "tastemaker"

    def __init__(self, master: Redis, down_after: int = 500) -> None:
        super().__init__()
        self.configuration = self.folder / "sentinel.conf"
        self.configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor {self.service} 127.0.0.1 {master.port} 1\n"
            f"sentinel down-after-milliseconds {self.service} {down_after}\n"
            f"sentinel failover-timeout {self.service} 3000\n"
        )

    def command(self) -> list[str]:
        return [super().command()[0], str(self.configuration), "--sentinel"]


class Watched:
    """A master, a replica and a sentinel that watches them."""

    def __init__(self) -> None:
        self.master, self.replica = Redis(), Redis()
        self.sentinel = Sentinel(self.master)

    def start(self) -> Self:
        self.master.start()
        self.replica.options = ("--replicaof", f"127.0.0.1 {self.master.port}", "--repl-diskless-sync-delay", "0")
        self.replica.start()
        until(lambda: b"master_link_status:up" in raw_info(self.replica))
        self.sentinel.start()
        until(lambda: len(asked(self.sentinel, "SENTINEL REPLICAS", Sentinel.service)) == 1)
        return self

    @property
    def master_port(self) -> int:
        """Of the one that is master now, as the sentinel sees it."""
        return int(asked(self.sentinel, "SENTINEL GET-MASTER-ADDR-BY-NAME", Sentinel.service)[1])

    def close(self) -> None:
        for server in (self.sentinel, self.replica, self.master):
            server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{Sentinel.service}/0"


def raw_info(server: Redis) -> bytes:
    with client.Redis("127.0.0.1", server.port, socket_timeout=10) as connection:
        connection.set_response_callback("INFO", lambda reply, **_: reply)
        found: bytes = connection.execute_command("INFO", "replication")
    return found


@cache
def shared_cluster() -> Cluster:
    made = Cluster().start()
    atexit.register(made.close)
    return made


@cache
def shared_watched() -> Watched:
    made = Watched().start()
    atexit.register(made.close)
    return made


def cluster() -> str:
    """The URL of a place of its own in the cluster that the tests of this process share."""
    return f"{shared_cluster().url}?prefix={unique()}:"


def sentinel() -> str:
    """The same behind the shared sentinel."""
    return f"{shared_watched().url}?prefix={unique()}:"
