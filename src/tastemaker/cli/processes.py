"""``tastemaker serve``, ``stream`` and ``archive``: what ``tastemaker up`` does in one process, as processes of their own.

They share nothing but the stores, so each may run as often as the load asks for, on any machine.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from tastemaker.cli.session import console, opened
from tastemaker.config import Config

if TYPE_CHECKING:
    from tastemaker.storage import Storage
    from tastemaker.streaming.spark.stream import Stream
    from tastemaker.streaming.worker import Worker

METRICS = click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Answer /health and /metrics on this port; 0 takes any free one."
)


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Server processes; one a core.")
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="Each worker answers /health and /metrics on a port of its own, from this one on: its numbers are its own.",
)
@click.option("--door", type=int, hidden=True, help="The number of an inherited listening socket.")
@click.pass_context
def serve(context: click.Context, workers: int, metrics_port: int | None, door: int | None) -> None:
    """Serve the API, and nothing else: events go to the log, answers come from the stores. Ctrl-C ends it."""
    from tastemaker.serving.server import listening, refuse_open_door

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the web server raises the signal again once it has ended
    if door is not None:
        with opened(context) as (storage, config), socket.socket(fileno=door) as inherited:
            run(storage, config, inherited, metrics_port)
        return
    with opened(context) as (storage, config):
        refuse_open_door(storage, config)
        with listening(config) as own:
            base = f"http://{config.serving.host}:{own.getsockname()[1]}"
            console.print(
                f"[bold]tastemaker[/] serves {base}   docs {base}/docs   {workers} worker(s)   Ctrl-C ends", soft_wrap=True
            )
            if workers == 1:
                run(storage, config, own, metrics_port)
                return
            storage.close()
            keep(context, own, workers, metrics_port)


def run(storage: Storage, config: Config, door: socket.socket, metrics_port: int | None) -> None:
    """The server in this process, until it is told to end."""
    from tastemaker.monitoring.endpoint import endpoint
    from tastemaker.monitoring.runs import RunMetrics
    from tastemaker.serving.app import create_app
    from tastemaker.serving.server import server

    runs = RunMetrics(storage)
    with endpoint(metrics_port, dict, before=runs.refresh):
        server(create_app(storage, config, runs=runs), config).run([door])


def keep(context: click.Context, door: socket.socket, workers: int, metrics_port: int | None) -> None:
    """Several server processes behind one socket."""
    from tastemaker.serving.workers import supervise

    file: str | None = context.find_root().obj
    base = [sys.executable, "-m", "tastemaker", *(() if file is None else ("--config", file)), "serve"]
    ports = [() if metrics_port is None else ("--metrics-port", str(metrics_port + number)) for number in range(workers)]
    supervise([[*base, *port, "--door", str(door.fileno())] for port in ports], os.environ, door)


@click.command()
@click.option(
    "--engine",
    type=click.Choice(["worker", "spark"]),
    help="What applies them; `streaming.engine` of the configuration if not given.",
)
@click.option("--once", is_flag=True, help="Apply what is there, and end.")
@METRICS
@click.pass_context
def stream(context: click.Context, engine: str | None, once: bool, metrics_port: int | None) -> None:
    """Apply events to states, slates and counters as they come.

    As many workers may run as the log has partitions: they share them, and take over those of one that ends. With the engine
    spark, one command is the driver of a stream that uses all of Spark's machines.
    """
    from tastemaker.monitoring.endpoint import endpoint
    from tastemaker.streaming.experiments import Follower

    with opened(context) as (storage, config):
        follower = Follower(storage, config)
        driver = driver_of(engine or config.streaming.engine, storage, config)
        on_end(driver.end)
        try:
            if once:
                console.print(f"{driver.drain()} events applied")
                return
            with endpoint(metrics_port, driver.condition) as port:
                console.print(f"[bold]tastemaker[/] applies events{told(port)}   Ctrl-C ends", soft_wrap=True)
                follower.start()
                driver.run()
        finally:
            follower.stop()
            driver.leave()


def driver_of(engine: str, storage: Storage, config: Config) -> Worker | Stream:
    """What applies events."""
    if engine == "spark":
        from tastemaker.streaming.spark.stream import Stream

        return Stream(storage, config)
    from tastemaker.streaming.worker import Worker

    return Worker(storage, config)


@click.command()
@click.option("--every", default=30.0, show_default=True, help="Seconds between looks at the log.")
@click.option("--once", is_flag=True, help="Archive what is there, and end.")
@METRICS
@click.pass_context
def archive(context: click.Context, every: float, once: bool, metrics_port: int | None) -> None:
    """Move events from the log into the lake as they come. Pipelines do it too, before they read the lake."""
    from tastemaker.monitoring.endpoint import endpoint
    from tastemaker.pipelines.archiving import Archiver

    if not every > 0:
        raise click.BadParameter("give seconds above 0", param_hint="--every")
    with opened(context) as (storage, _):
        archiver = Archiver(storage)
        if once:
            console.print(f"{archiver.once()} rows archived")
            return
        ended = threading.Event()
        on_end(ended.set)
        with endpoint(metrics_port, archiver.condition) as port:
            console.print(f"[bold]tastemaker[/] archives events{told(port)}   Ctrl-C ends", soft_wrap=True)
            archiver.run(every, ended)


def on_end(end: Callable[[], None]) -> None:
    """Calls ``end`` when the process is asked to end; asked twice, it ends at once."""

    def asked(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        end()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)


def told(port: int | None) -> str:
    return f"   metrics http://127.0.0.1:{port}/metrics" if port is not None else ""
