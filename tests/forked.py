"""Processes that begin quickly: forked from a server that has imported the platform already.

Starting an interpreter and importing everything takes seconds, and tests that kill processes need many of them. A forked
child is a process like any other: it opens its own stores, and it can be killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tastemaker.cli import main
from tastemaker.config import Config
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.storage import connect

MODULES = [
    "ibis.backends.duckdb",
    "deltalake",
    "pyarrow.dataset",
    "tastemaker.cli.up",
    "tastemaker.models.als",
    "tastemaker.models.popular",
    "tastemaker.pipelines.steps.gate",
    "tastemaker.pipelines.steps.features",
    "tastemaker.pipelines.steps.freshen",
    "tastemaker.pipelines.steps.monitor",
    "tastemaker.pipelines.steps.publish",
    "tastemaker.storage.lake",
    "tastemaker.storage.kv.lmdb",
    "tastemaker.storage.log.sqlite",
    "tastemaker.storage.tables.migrations",
]


def start(function: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Begins a process; the function must be importable by its name."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    process = context.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def code_of(process: ForkServerProcess, patience: float = 120.0) -> int:
    """Waits for the end of a process; its exit code, negative where a signal ended it."""
    process.join(patience)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"the process did not end within {patience} s")
    code: int = process.exitcode
    process.close()
    return code


def run_until(config: Config, name: str, now: int, step: str, call: int) -> None:
    """Runs a pipeline and kills itself, as ``kill -9`` does, at the step's progress report number ``call``, from 0."""
    calls = 0

    def watch(current: str, done: int, total: int, note: str) -> None:
        nonlocal calls
        if current == step:
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1

    with connect(config) as storage:
        run_pipeline(storage, config, pipeline(name), now=now, watch=watch)


def run_whole(config: Config, name: str, now: int, words: Path) -> None:
    """Runs a pipeline and writes the name of each step into a file when it begins."""

    def watch(current: str, done: int, total: int, note: str) -> None:
        with words.open("a") as file:
            file.write(f"{current} {note}\n")

    with connect(config) as storage:
        run_pipeline(storage, config, pipeline(name), now=now, watch=watch)


def serve(home: str, port: int) -> None:
    """``tastemaker up --no-schedule``, in this process."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.environ["TASTEMAKER_CONNECT__HOME"] = f'"{home}"'
    os.environ["TASTEMAKER_SERVING__PORT"] = str(port)
    main(["up", "--no-schedule"])
