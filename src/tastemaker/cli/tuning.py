"""``tastemaker tune``: what was tried, whether it is better than what is configured, and the table to paste."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.session import bar, console
from tastemaker.config import FILE, PREFIX, Config, load
from tastemaker.config.writing import block, check_writable, write_model
from tastemaker.domain import Interval
from tastemaker.errors import ConfigError

if TYPE_CHECKING:
    from tastemaker.pipelines.tuning.search import Found
    from tastemaker.pipelines.tuning.task import Task

TRIALS = 30


@click.command()
@click.argument("model")
@click.option("--trials", type=click.IntRange(min=1), help=f"Trials in all, earlier ones included; {TRIALS} unless --minutes.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Begin no trial after so many minutes.")
@click.option("--write", is_flag=True, help="Write the best values into the configuration file instead of printing them.")
@click.option("--fresh", is_flag=True, help="Forget what earlier searches on the same data have tried.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def tune(
    context: click.Context, model: str, trials: int | None, minutes: float | None, write: bool, fresh: bool, quiet: bool
) -> None:
    """Search better hyper-parameters for a model, on the newest events of the training period.

    The test events stay unseen. A search that was stopped goes on where it was, as long as the data are the same.
    """
    from tastemaker.pipelines.tuning import search as tuning
    from tastemaker.pipelines.tuning.task import folder_of, task_of
    from tastemaker.storage import connect

    tuning.check_extra()
    file, config, origins = settled(context.find_root().obj, write)
    with connect(config) as storage:
        task = task_of(storage, config, model)
    if trials is None and minutes is None:
        trials = TRIALS
    with bar(f"tuning {model}", quiet) as show:
        seconds = None if minutes is None else minutes * 60
        found = tuning.search(task, trials=trials, seconds=seconds, fresh=fresh, watch=show)
    report = folder_of(task) / "search.html"
    from tastemaker.pipelines.tuning.report import write_report

    write_report(report, task, found)
    show_found(task, found)
    console.print(f"plots: {escape(str(report))}", soft_wrap=True)
    if found.interrupted:
        raise click.Abort
    hand_over(task, found, file if write else None, origins)


def settled(given: str | None, write: bool) -> tuple[Path, Config, dict[str, str]]:
    """The configuration file, what it says, and where each value came from. One that ``--write`` is to make says nothing yet."""
    named = given or os.environ.get(PREFIX + "CONFIG")
    file = Path(named or FILE)
    if write and not named and not file.exists():
        raise ConfigError(
            f"--write: there is no {FILE} here to write to; name the file to make: tastemaker --config {FILE} tune …"
        )
    if write:
        check_writable(file)
    missing = write and not file.exists()
    config, origins = load(os.devnull if missing else given)
    return file, config, origins


def show_found(task: Task, found: Found) -> None:
    """The best trial beside what is configured, and whether the difference is more than noise."""
    from tastemaker.pipelines.tuning.report import shown

    metric, best = task.config.evaluate.metric, found.best
    table = Table("", "now", f"best (trial {best.number + 1})", "importance", box=None, padding=(0, 2, 0, 0))
    for name in task.space:
        share = f"{found.importance[name]:.0%}" if name in found.importance else ""
        table.add_row(name, escape(shown(task.configured[name])), escape(shown(best.params.get(name))), share)
    table.add_row(metric, "failed" if found.before is None else with_bounds(found.before), with_bounds(found.mean), "")
    console.print(table)
    console.print(verdict(task, found), soft_wrap=True)
    failed = [trial for trial in found.tried if trial.value is None]
    if failed:
        console.print(f"{len(failed)} trials failed, the last one: {escape(failed[-1].reason)}", soft_wrap=True)


def verdict(task: Task, found: Found) -> str:
    """One sentence: better, perhaps better, or fine as it is."""
    count, gain = len(found.tried), found.gain
    if found.best.number == 0:
        return f"What is configured is the best of {count} trials: it is fine as it is."
    if gain is None:
        return f"The best of {count} trials. What is configured now cannot be judged: {escape(found.tried[0].reason)}"
    sure = f"{task.config.evaluate.confidence:.0%} interval {gain.low:+.4f} to {gain.high:+.4f}"
    change = f"Difference, user by user ({gain.n} users): {gain.value:+.4f}, {sure}."
    if gain.low <= 0:
        return f"{change} That may be noise: keep what you have, or hold out more events."
    caution = (
        f"It is the best of {count} on these very users, so expect a little less; `tastemaker run daily` judges it on the test."
    )
    return f"{change} {caution}"


def with_bounds(value: Interval) -> str:
    return f"{value.value:.4f} [dim]{value.low:.4f}–{value.high:.4f}[/dim]"


def hand_over(task: Task, found: Found, file: Path | None, origins: dict[str, str]) -> None:
    """Writes the best values into the file, or prints the table to paste."""
    if found.best.number == 0:
        console.print("nothing to change" + (f"; {escape(str(file))} stays as it is" if file else ""), soft_wrap=True)
        return
    if file is None:
        params: dict[str, Any] = {**task.config.models.get(task.kind, {}), **found.best.params}
        console.print(f"\n{escape(block(task.kind, params))}", soft_wrap=True)
        return
    write_model(file, task.kind, found.best.params)
    console.print(f"written: [models.{task.kind}] of {escape(str(file))}".replace("[models", r"\[models"), soft_wrap=True)
    for name in found.best.params:
        origin = origins.get(f"models.{task.kind}.{name}", "")
        if origin.startswith("$"):
            console.print(f"{escape(origin)} overrides what was written: take it out of the environment", soft_wrap=True)
