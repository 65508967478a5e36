"""``tastemaker step``: one step of a run, for a scheduler outside: a container, a pod, another environment, a cron job.

What it leaves behind stands in the runs table, as it does for every runner; one line of JSON on standard output says it, too.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click

from tastemaker.cli.session import opened, steps
from tastemaker.errors import InputError

SKIPPED = 99
"""The exit code of a step that was skipped: what Airflow's operators take for "skip", unless told otherwise."""


@click.command()
@click.argument("pipeline")
@click.argument("name")
@click.option("--end", required=True, help="End of the run's interval, ISO 8601 or epoch milliseconds; it names the run.")
@click.option("--start", help="Its start; default: the end of the last whole run.")
@click.option("--part", help="One part of a step that has parts, as a kind of model of `train`.")
@click.option("--join", is_flag=True, help="Make the step's outcome of its parts, when all are done.")
@click.option("--parts", "list_parts", is_flag=True, help="Only say which parts the step has.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def step(
    context: click.Context,
    pipeline: str,
    name: str,
    end: str,
    start: str | None,
    part: str | None,
    join: bool,
    list_parts: bool,
    quiet: bool,
) -> None:
    """Do one step of a pipeline for an interval: `tastemaker step daily ingest --end 2026-01-31T04:00:00Z`.

    Steps come in the pipeline's order. With the name `close` the run is ended. Exit code 0: done; 99: skipped, since an
    earlier step halted the run.
    """
    import msgspec

    from tastemaker.pipelines.catalog import pipeline as find
    from tastemaker.pipelines.tasks import Task, do_task

    chosen = find(pipeline)
    task = Task(chosen.name, name, moment("end", end), None if start is None else moment("start", start), part or "", join)
    with opened(context) as (storage, config):
        if list_parts:
            parts = chosen.step(name).parts
            found: Any = list(parts.load_names()(config)) if parts else []
            click.echo(msgspec.json.encode(found).decode())
            return
        with steps(quiet) as watch:
            done = do_task(storage, config, task, lambda a, b, note: watch(name, a, b, note))
    click.echo(msgspec.json.encode(done).decode())
    if done["state"] == "skipped":
        sys.exit(SKIPPED)


def moment(field: str, text: str) -> int:
    """Epoch milliseconds of a time as people and schedulers write it; without a zone it is UTC.

    >>> moment("end", "2026-01-31T12:00:00Z"), moment("end", "1769860800000")
    (1769860800000, 1769860800000)
    """
    if text.isdigit():
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(field, text, "give a time as 2026-01-31T12:00:00Z or in epoch milliseconds") from None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
