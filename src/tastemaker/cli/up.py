"""``tastemaker up``: API, nearline worker and schedule in one process."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from tastemaker.cli.session import console, opened
from tastemaker.config import Config
from tastemaker.errors import ConfigError
from tastemaker.pipelines.schedule import Schedule
from tastemaker.registry import experiments
from tastemaker.registry.live import restore
from tastemaker.serving.app import create_app
from tastemaker.serving.hot import Hot
from tastemaker.serving.server import listening, refuse_open_door, server
from tastemaker.storage import Storage
from tastemaker.streaming.experiments import Follower
from tastemaker.streaming.worker import Worker


@contextmanager
def platform(storage: Storage, config: Config, *, schedule: bool = True, file: str | None = None) -> Iterator[tuple[Hot, Worker]]:
    """Worker and schedule at work for as long as the block lasts, and the application that answers.

    ``file`` is the configuration file that scheduled runs must read, too; None: the usual one.
    """
    refuse_open_door(storage, config)
    if config.streaming.engine != "worker":
        raise ConfigError(
            f"streaming.engine = {config.streaming.engine!r}: `up` has a worker of its own, and two would write the same states: "
            "run `tastemaker serve`, `tastemaker stream` and `tastemaker run --schedule` as processes of their own"
        )
    restore(storage, int(time.time() * 1000))
    experiments.restore(storage)
    worker = Worker(storage, config)
    follower = Follower(storage, config)
    timer = Schedule(storage, config, os.environ if file is None else {**os.environ, "TASTEMAKER_CONFIG": file})

    worker.start()
    follower.start()
    if schedule:
        timer.start()
    try:
        yield create_app(storage, config, worker.condition), worker
    finally:
        if schedule:
            timer.stop()
        follower.stop()
        worker.stop()


@click.command()
@click.option("--schedule/--no-schedule", default=True, help="Run the pipelines when they are due.")
@click.pass_context
def up(context: click.Context, schedule: bool) -> None:
    """Serve the API, apply events, and run the pipelines on time: everything in one process. Ctrl-C ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the web server raises the signal again once it has ended
    file = context.find_root().obj
    with (
        opened(context) as (storage, config),
        listening(config) as door,
        platform(storage, config, schedule=schedule, file=file) as (app, _),
    ):
        base = f"http://{config.serving.host}:{door.getsockname()[1]}"
        console.print(
            f"[bold]tastemaker[/] serves {base}   docs {base}/docs   metrics {base}/metrics   Ctrl-C ends", soft_wrap=True
        )
        server(app, config).run([door])
