"""Commands and servers as people run them: processes with a home of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INTERRUPTED = (130, -signal.SIGINT)  # a shell shows 130 for both: ended after the interrupt, or by it


@dataclass(frozen=True)
class Done:
    """What a command left: exit code and output."""

    code: int
    out: str
    err: str


def environment(home: Path, **more: str) -> dict[str, str]:
    """Variables of a command whose stores are in ``home``; wide, so that no table is wrapped."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TASTEMAKER_")}
    return {**clean, "TASTEMAKER_CONNECT__HOME": f'"{home}"', "COLUMNS": "400", **more}


def command(home: Path, *arguments: str, text: str = "", **more: str) -> Done:
    """Runs ``tastemaker`` with arguments and waits for its end."""
    done = subprocess.run(
        [sys.executable, "-m", "tastemaker", *arguments],
        input=text,
        capture_output=True,
        text=True,
        env=environment(home, **more),
        cwd=home.parent,
        check=False,
        timeout=300,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Working:
    """A process that works, the line that it began with, and the file of its errors."""

    process: subprocess.Popen[str]
    line: str
    errors: Path


class Up:
    """A server process, its address, and how it was started."""

    def __init__(
        self, process: subprocess.Popen[str], base: str, command: list[str], environment: dict[str, str], errors: Path
    ) -> None:
        self.process, self.base, self.command, self.environment, self.errors = process, base, command, environment, errors

    def call(self, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(urllib.request.Request(self.base + path, data), timeout=30) as answer:
            return json.load(answer)

    def end(self, number: signal.Signals) -> tuple[int, float, str]:
        """Sends a signal; the exit code, seconds until the end, and what was said on stderr."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return self.process.returncode, time.monotonic() - began, self.errors.read_text()


@contextmanager
def up(
    home: Path, *arguments: str, file: Path | None = None, process: str = "up", more: Mapping[str, str] | None = None
) -> Iterator[Up]:
    """Starts a server (``up``, or ``serve``) on a free port, with a configuration file if one is given; waits for its address."""
    before = () if file is None else ("--config", str(file))
    there = environment(home, TASTEMAKER_SERVING__PORT="0", **(more or {}))
    command = [sys.executable, "-m", "tastemaker", *before, process, *arguments]
    with working(command, there, home.parent) as (child, line, errors):
        found = re.search(r"serves (http://127.0.0.1:[1-9]\d*) ", line)
        assert found, line + errors.read_text()
        yield Up(child, found[1], command, there, errors)


@contextmanager
def running(home: Path, *arguments: str, **more: str) -> Iterator[Working]:
    """A command that works until it is told to end; waits for its first line."""
    with working([sys.executable, "-m", "tastemaker", *arguments], environment(home, **more), home.parent) as (
        child,
        line,
        errors,
    ):
        assert "tastemaker" in line, line + errors.read_text()
        yield Working(child, line, errors)


@contextmanager
def working(command: list[str], there: dict[str, str], folder: Path) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """A process, its first line, and the file of its errors: nobody reads a pipe while it works, and a full one would stop it."""
    handle, name = tempfile.mkstemp(prefix="errors-", dir=folder)
    with os.fdopen(handle, "wb") as errors:
        child = subprocess.Popen(command, env=there, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True)
    with child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline(), Path(name)
        finally:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(20)
                except subprocess.TimeoutExpired:
                    child.kill()


def wait_for(condition: Callable[[], bool], patience: float = 60.0, why: Callable[[], str] = lambda: "waited in vain") -> None:
    """Waits until a function says yes; what is ``why`` is said when it does not."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, why()
        time.sleep(0.02)
