"""Starts what tests talk to over HTTP: the platform's own server, and a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from tastemaker.config import Config
from tastemaker.domain import Decision, Event
from tastemaker.serving.app import create_app
from tastemaker.serving.decisions import GATHER
from tastemaker.serving.hot import Hot
from tastemaker.serving.server import serving
from tastemaker.storage import Storage
from tastemaker.streaming.worker import Worker

if TYPE_CHECKING:
    from playwright.sync_api import Browser

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True)
class Api:
    """A running server, a client of it, and what lies behind."""

    client: httpx.Client
    base: str
    app: Hot
    storage: Storage

    def ask(self, user: str, **query: object) -> dict[str, Any]:
        """A user's recommendations; anything but 200 fails the test."""
        answer = self.client.get(
            f"/v1/users/{quote(user, safe='')}/recommendations", params={k: str(v) for k, v in query.items()}
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def api(storage: Storage, config: Config, worker: Worker | None = None) -> Iterator[Api]:
    """The platform's server over open stores, on a free port; with the nearline worker at work if one is given."""
    app = create_app(storage, config)
    if worker is not None:
        worker.start()
    try:
        with serving(app, config) as base, httpx.Client(base_url=base, timeout=60, verify=False) as client:
            yield Api(client, base, app, storage)
    finally:
        if worker is not None:
            worker.stop()


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def logged(storage: Storage) -> list[Event]:
    """Every event of the log, partition by partition; decisions gather for a moment before they get there."""
    time.sleep(3 * GATHER)
    storage.log.flush()
    ends = storage.log.ends()
    return [record.event for partition, end in enumerate(ends) for record in storage.log.read(partition, 0, max(end, 1))]


def decisions(storage: Storage) -> list[Decision]:
    return [event for event in logged(storage) if isinstance(event, Decision)]


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium. Where there is none the test is skipped, but on a CI machine it fails."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(path), args=list(QUIET))
        try:
            yield opened
        finally:
            opened.close()


def chromium() -> Path:
    """The browser's program: ``$CHROMIUM`` or /usr/bin/chromium; on a CI machine it is installed when it is missing."""
    path = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
    on_ci = bool(os.environ.get("CI"))
    if not path.exists() and on_ci and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", "-qq", *command], check=True, stdout=subprocess.DEVNULL)
    if path.exists():
        return path
    reason = f"there is no browser at {path}: install Debian's chromium, or name one in CHROMIUM"
    if on_ci:
        pytest.fail(reason)
    pytest.skip(reason)
