"""``tastemaker run`` and ``tastemaker runs``."""

from __future__ import annotations

import json
import os
import signal
import threading
from datetime import UTC, datetime

import click
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.session import console, opened, steps
from tastemaker.domain import Run
from tastemaker.errors import NotFound


@click.command()
@click.argument("name", required=False)
@click.option("--schedule", is_flag=True, help="Run every pipeline when it is due (see [schedule]), until Ctrl-C.")
@click.option("--fresh", is_flag=True, help="Begin anew, also when the last run did not come to its end.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def run(context: click.Context, name: str | None, schedule: bool, fresh: bool, quiet: bool) -> None:
    """Run a pipeline: daily, hourly, evaluate or maintain.

    A run that was interrupted goes on with the step where it stopped.
    """
    if (name is None) != schedule:
        raise click.UsageError("name a pipeline, such as daily or hourly, or say --schedule")
    if name is None:
        keep_time(context)
        return
    from tastemaker.pipelines.catalog import pipeline
    from tastemaker.pipelines.local import run_pipeline

    chosen = pipeline(name)
    with opened(context) as (storage, config):
        with steps(quiet) as watch:
            done = run_pipeline(storage, config, chosen, fresh=fresh, watch=watch)
        if not quiet:
            show(done)


def keep_time(context: click.Context) -> None:
    """Runs pipelines when they are due, each in a process of its own."""
    from tastemaker.pipelines.schedule import Schedule

    file = context.find_root().obj
    with opened(context) as (storage, config):
        timer = Schedule(storage, config, os.environ if file is None else {**os.environ, "TASTEMAKER_CONFIG": file})
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        timer.start()
        console.print("[bold]tastemaker[/] runs pipelines when they are due   Ctrl-C ends", soft_wrap=True)
        ended.wait()
        timer.stop()


@click.command()
@click.argument("id", required=False)
@click.option("--limit", default=10, show_default=True, help="How many runs.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def runs(context: click.Context, id: str | None, limit: int, as_json: bool) -> None:
    """Show the last runs, or one run with its steps and their summaries."""
    import msgspec

    with opened(context) as (storage, _):
        if id is not None:
            found = storage.tables.runs.get(id)
            if found is None:
                raise NotFound(f"run {id!r} does not exist; `tastemaker runs` lists them")
            if as_json:
                click.echo(msgspec.json.encode(found))
                return
            show(found)
            for name, step in found.steps.items():
                text = json.dumps(step.get("summary") or step.get("error") or {}, indent=2)
                console.print(f"[bold]{name}[/] {escape(text)}", soft_wrap=True)
            return
        last = storage.tables.runs.last(limit=limit)
    if as_json:
        click.echo(msgspec.json.encode(last))
        return
    if not last:
        console.print("no runs yet: tastemaker run daily")
    for found in last:
        show(found)


def show(run: Run) -> None:
    """A run as one line and its steps."""
    seconds = f"{(run.ended - run.began) / 1000:.1f} s" if run.ended else "…"
    console.print(
        f"[bold]{run.id}[/] {run.state} {seconds}  began {datetime.fromtimestamp(run.began / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
    )
    table = Table(box=None, padding=(0, 2), show_header=False)
    for name, step in run.steps.items():
        ended, began = step.get("ended"), step.get("began")
        took = f"{(ended - began) / 1000:.2f} s" if ended and began else ""
        word = step.get("reason") or step.get("error") or step.get("halt") or ""
        table.add_row("", name, step["state"], took, escape(word))
    console.print(table)
