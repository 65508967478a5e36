"""A small HTTP/1.1 client over asyncio, and the CPU time of a server: what the serving benchmarks share."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class Connection:
    """One keep-alive connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def get(self, path: str) -> tuple[int, bytes]:
        return await self.send(b"GET %b HTTP/1.1\r\nhost: b\r\n\r\n" % path.encode())

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        head = b"POST %b HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        return await self.send(head % (path.encode(), len(body)) + body)

    async def send(self, request: bytes) -> tuple[int, bytes]:
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await self.reader.readexactly(length)

    def close(self) -> None:
        self.writer.close()


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and its threads have used, from the scheduler's own nanosecond counters."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def saturate(port: int, paths: Iterator[str], connections: int, seconds: float, *, spin: bool = True) -> int:
    """Keeps so many requests under way that the server never sleeps; returns how many were answered.

    A server that sleeps between requests pays for each awakening, which would count as cost of the request. So this loop is
    as bare as it can be: raw sockets, epoll, and just enough of HTTP to see where an answer ends. It does not ``spin`` where
    it shares its core with a server of whom the measured one waits for answers.
    """
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    left: dict[int, int] = {}  # bytes of the answer that are still to come
    answered = 0

    def ask(connection: socket.socket) -> None:
        connection.send(b"GET %b HTTP/1.1\r\nhost: b\r\n\r\n" % next(paths).encode())

    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        sockets[connection.fileno()] = connection
        left[connection.fileno()] = 0
        poll.register(connection, select.EPOLLIN)
        ask(connection)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for number, _ in poll.poll(0 if spin else 1.0):
            connection = sockets[number]
            data = connection.recv(65536)
            if left[number] == 0:
                if not data.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"{data[:200]!r}")
                head = data.index(b"\r\n\r\n") + 4
                start = data.index(b"content-length: ") + 16
                left[number] = head + int(data[start : data.index(b"\r", start)])
            left[number] -= len(data)
            if left[number] == 0:
                answered += 1
                ask(connection)
    poll.close()
    for connection in sockets.values():
        connection.close()
    return answered


async def closed_loop(port: int, paths: Iterator[str], connections: int, seconds: float) -> tuple[int, list[float]]:
    """Keeps ``connections`` requests under way for a time. Returns how many were answered, and their latencies in ms."""
    end = time.perf_counter() + seconds
    latencies: list[float] = []

    async def client() -> None:
        connection = await Connection.open(port)
        while (began := time.perf_counter()) < end:
            status, body = await connection.get(next(paths))
            if status != 200:
                raise RuntimeError(f"{status}: {body[:200]!r}")
            latencies.append((time.perf_counter() - began) * 1000)
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return len(latencies), latencies


def until(ready: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} took more than {seconds:.0f} s")
        time.sleep(0.02)
