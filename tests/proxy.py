"""A TCP proxy that can be told to be a bad network: late, silent, or cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Self

CHUNK = 65_536


class Proxy:
    """Stands before a port of loopback; clients connect to ``port``. A mode takes effect at once, also on open connections.

    ``delay(s)`` holds each piece back for so many seconds, ``silence()`` swallows everything and keeps connections open, as a
    network that drops packets; ``cut()`` resets all connections and refuses new ones; ``mend()`` lets everything pass.
    """

    def __init__(self, target: int) -> None:
        self.target, self.port = target, 0
        self._late = 0.0
        self._silent = self._cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"proxy of {target}", daemon=True)

    def delay(self, seconds: float) -> None:
        self._late = seconds

    def silence(self) -> None:
        self._silent = True

    def cut(self) -> None:
        self._cut = True
        self._loop.call_soon_threadsafe(self._reset)

    def mend(self) -> None:
        """What was swallowed stays lost, so connections that missed something are reset: their clients must not wait for ever."""
        if self._silent:
            self._loop.call_soon_threadsafe(self._reset)
        self._late, self._silent, self._cut = 0.0, False, False

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._open.wait(10):
            raise RuntimeError("the proxy did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._open.set()
        self._loop.run_forever()
        self._reset()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _reset(self) -> None:
        for writer in list(self._writers):
            connection = writer.get_extra_info("socket")
            if connection is not None:  # closing with a linger of 0 sends RST instead of FIN
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self._cut:
            self._reset()
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(back)
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            for each in (writer, back):
                each.transport.abort()
                self._writers.discard(each)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self._late:
                    await asyncio.sleep(self._late)
                if self._silent:
                    continue
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
