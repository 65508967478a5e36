"""A server with one small model, a folder for commands, and what both have kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tastemaker.cli.up import platform
from tastemaker.config import Config, Connect, Serving
from tastemaker.domain import ItemChange, ModelCard
from tastemaker.models import create
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.registry import live
from tastemaker.serving.decisions import GATHER
from tastemaker.serving.server import serving
from tastemaker.storage import Storage, connect


@dataclass(frozen=True)
class Found:
    """What came of it: status of HTTP or exit code, and every text of the answer."""

    status: int
    text: str


@dataclass(frozen=True)
class World:
    """Where wrong things are done."""

    base: str
    config: Config
    storage: Storage
    folder: Path

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> Found:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        answer = httpx.request(method, self.base + path, content=content, headers={"x-api-key": key} if key else {}, timeout=30)
        return Found(answer.status_code, " ".join(words(answer.json())))

    def run(self, *arguments: str, **environment: str) -> Found:
        """A command with a home of its own, so that it does not meet the server."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TASTEMAKER_")}
        environ |= {"TASTEMAKER_CONNECT__HOME": str(self.folder / "home"), "COLUMNS": "400"}
        environ |= {f"TASTEMAKER_{name}": value for name, value in environment.items()}
        command = [sys.executable, "-m", "tastemaker", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=300, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return Found(done.returncode, done.stdout + done.stderr)

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, "utf-8")
        return name

    def kept(self) -> tuple[int, int]:
        """How much input was taken, and how much is in quarantine, by the server and by commands."""
        time.sleep(2 * GATHER)  # decisions are logged a little after their answers
        self.storage.log.flush()
        imports = self.folder / "home" / "imports"
        taken = [json.loads(file.read_bytes())["imported"] for file in imports.glob("*.json")]
        refused = [*(self.config.home / "quarantine").glob("*"), *imports.glob("*.jsonl")]
        return sum(self.storage.log.ends()) + sum(taken), sum(len(file.read_bytes().splitlines()) for file in refused)


Wrong = Callable[[World], Found]


def words(tree: Any) -> Iterator[str]:
    """The texts of an answer; a refused event reads "field: remedy"."""
    if isinstance(tree, dict) and "remedy" in tree and "index" in tree:
        yield f"{tree.get('field')}: {tree['remedy']}"
    elif isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from words(value)
    else:
        yield str(tree)


def put_model(storage: Storage, config: Config, version: str) -> None:
    """A small popular model with its card."""
    data = Interactions(("u",), Vocabulary(("i1", "i2")), Histories.of([([0, 1, 1], [1.0] * 3, [1, 2, 3])]), 3)
    create("popular").fit(data).save(config.model_folder / version / "model")
    storage.tables.models.put(ModelCard(version, "popular", "candidate", 1, {}, {}, "1", "", "", artifact=f"{version}/model"))


@contextmanager
def served(home: Path) -> Iterator[tuple[str, Config, Storage]]:
    """The server, with two items and a live model."""
    config = Config(connect=Connect(home=str(home)), serving=Serving(port=0, rate=1.0, deadline_ms=5000.0))
    with connect(config) as storage:
        put_model(storage, config, "good")
        live.promote(storage, "good", 1, "good/model")
        storage.tables.items.put([ItemChange("c1", 1, "i1", "One", ("Drama",)), ItemChange("c2", 1, "i2", "Two", ("Drama",))])
        with platform(storage, config, schedule=False) as (app, _), serving(app, config) as base:
            yield base, config, storage
