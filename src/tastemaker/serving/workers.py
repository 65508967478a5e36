"""Several server processes behind one address: they share a listening socket and the stores, and nothing else.

The parent only starts children and watches them. One that dies is started again, later each time it dies young; the others
go on answering meanwhile, since the socket belongs to all of them.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence

from tastemaker import telemetry

YOUNG = 5.0  # seconds: a child that lives shorter has something wrong that a quick restart will not mend
LONGEST = 30.0  # seconds between restarts at most
PATIENCE = 10.0  # seconds that children get to finish their requests
LOOK = 0.1


class Child:
    """One worker process and when it may be started again."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], door: int) -> None:
        self.command, self.environment, self.door = command, environment, door
        self.pause, self.began = 0.0, 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def look(self, now: float) -> None:
        """Starts it, if it does not live and its pause is over."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self.process = None
            self.pause = min(LONGEST, max(0.5, 2 * self.pause)) if now - self.began < YOUNG else 0.0
            telemetry.log.error("worker_died", command=self.command[-2:], exit=code, again_in=self.pause)
            self.began = now
        if self.process is None and now - self.began >= self.pause:
            self.process = subprocess.Popen(self.command, env=self.environment, pass_fds=[self.door])
            self.began = now


def supervise(commands: Sequence[Sequence[str]], environment: Mapping[str, str], door: socket.socket) -> None:
    """Keeps a process for each command alive until this one is told to end (SIGTERM, SIGINT). They inherit ``door``."""
    children = [Child(command, environment, door.fileno()) for command in commands]
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    while not ended:
        for child in children:
            child.look(time.monotonic())
        time.sleep(LOOK)
    stop([child.process for child in children if child.process is not None])


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Asks processes to end, and makes those end that do not."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
