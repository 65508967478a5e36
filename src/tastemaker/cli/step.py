"""``tastemaker step``: one step of a run, for a scheduler outside: a container, a pod, another environment, a cron job.

What it leaves behind stands in the runs table, as it does for every runner; one line of JSON on standard output says it, too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from tastemaker.cli.session import opened, steps
from tastemaker.pipelines.answers import answer
from tastemaker.pipelines.catalog import pipeline as find
from tastemaker.pipelines.task_command import SKIPPED
from tastemaker.pipelines.tasks import Task, do_task, moment


@click.command()
@click.argument("pipeline")
@click.argument("name")
@click.option("--end", required=True, help="End of the run's interval, ISO 8601 or epoch milliseconds; it names the run.")
@click.option("--start", default="", help="Its start; default, and empty: the end of the last whole run.")
@click.option("--part", default="", help="One part of a step that has parts, as a kind of model of `train`.")
@click.option("--join", is_flag=True, help="Make the step's outcome of its parts, when all are done.")
@click.option("--parts", "names", is_flag=True, help="Only say which parts the step has.")
@click.option("--models", multiple=True, help="Only these kinds of `train.models`; may be given several times.")
@click.option("--force", is_flag=True, help="Make anew what an earlier try has finished; versions in use are refused.")
@click.option("--tries", default=1, show_default=True, help="Which try this is; it is noted with the step.")
@click.option("--failed", default="", help="Do nothing but note that the step was given up, with this reason; raises the alert.")
@click.option(
    "--answer",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the answer into this file, too. What no retry can heal is an answer then: exit code 0, state `refused`.",
)
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def step(
    context: click.Context,
    pipeline: str,
    name: str,
    end: str,
    start: str,
    part: str,
    join: bool,
    names: bool,
    models: tuple[str, ...],
    force: bool,
    tries: int,
    failed: str,
    file: Path | None,
    quiet: bool,
) -> None:
    """Do one step of a pipeline for an interval: `tastemaker step daily ingest --end 2026-01-31T04:00:00Z`.

    Steps come in the pipeline's order. With the name `close` the run is ended. Exit code 0: done; 99: skipped, since an
    earlier step halted the run.
    """
    begin = moment("start", start) if start else None
    task = Task(
        find(pipeline).name, name, moment("end", end), begin, part, join, tries, models, force, names=names, failed=failed
    )
    with opened(context) as (storage, config), steps(quiet) as watch:
        do = do_task if file is None else answer
        done = do(storage, config, task, lambda a, b, note: watch(name, a, b, note))
    shown = done["parts"] if names and "parts" in done else done
    text = msgspec.json.encode(shown)
    if file is not None:
        file.write_bytes(text)
    click.echo(text.decode())
    if isinstance(done, dict) and done.get("state") == "skipped":
        sys.exit(SKIPPED)
