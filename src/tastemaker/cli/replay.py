"""``tastemaker replay``: the past, event by event, each one asked for before it is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.session import bar, configuration, console
from tastemaker.storage import connect

if TYPE_CHECKING:
    from tastemaker.config import Config
    from tastemaker.evaluation.traces import Trace
    from tastemaker.models.interactions import Interactions

OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--data", "source", default="", help="A public data set on this machine, as ml-100k, in place of your events.")
@click.option("--days", default=0.0, show_default=True, help="Only events of the newest so many days; 0: all.")
@click.option("--every", "every_days", default=7.0, show_default=True, help="Days from one training to the next; 0: one alone.")
@click.option("-k", default=20, show_default=True, help="Length of the lists.")
@click.option("--burn-in", default=0.25, show_default=True, help="Share of the oldest events that the first model learns from.")
@click.option("--metric", default="hit_rate", show_default=True, help="hit_rate, ndcg or mrr: what is drawn and compared.")
@click.option("--strangers/--no-strangers", default=True, help="Whether first events of users are asked for.")
@click.option("--report", type=OUTPUT, help="Write a page with curves over time into this HTML file.")
@click.option("--json", "file", type=OUTPUT, help="Write all numbers into this JSON file; `-` prints them.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def replay(
    context: click.Context,
    models: tuple[str, ...],
    source: str,
    days: float,
    every_days: float,
    k: int,
    burn_in: float,
    metric: str,
    strangers: bool,
    report: Path | None,
    file: Path | None,
    quiet: bool,
) -> None:
    """Replay the past: each event is asked for, then learnt from, and a model is trained anew every so often.

    MODELS are kinds, as `als session_knn popular`; the first is what the others are compared with. `als:stale` answers from
    histories as of its last training, which shows what fresh ones are worth. Nothing is written to the stores.
    """
    from tastemaker.evaluation.traces import METRICS
    from tastemaker.pipelines import replay_report, replaying

    if metric not in METRICS:
        raise click.BadParameter(f"{metric!r}: choose one of {', '.join(METRICS)}", param_hint="--metric")
    config = configuration(context)
    plan = replaying.Plan(models, every_days, k, burn_in, strangers)
    with bar("replay", quiet) as show:
        found = replaying.replay(config, data_of(config, source, days), plan, show)
    if file is not None:
        import msgspec

        text = msgspec.json.format(msgspec.json.encode(replay_report.described(found, config.rewards.version, metric))).decode()
        if str(file) == "-":
            click.echo(text)
            return
        replay_report.write_text(file, text + "\n")
    show_traces(found, config.rewards.version, metric)
    if report is not None:
        replay_report.write_text(report, replay_report.page(found, config.rewards.version, metric))
        console.print(f"curves: {escape(str(report))}", soft_wrap=True)


def data_of(config: Config, source: str, days: float) -> Interactions:
    from tastemaker.pipelines import replaying

    if source:
        return replaying.of_dataset(source, config.rewards, days)
    with connect(config) as storage:
        return replaying.of_lake(storage, config, days)


def show_traces(found: list[Trace], reward: str, metric: str) -> None:
    """Means with intervals over users, then the differences in words."""
    from tastemaker.evaluation.traces import METRICS
    from tastemaker.pipelines.replay_report import day, sentence

    first = found[0]
    table = Table(
        "", *(f"{name}@{first.k}" for name in METRICS), "trainings", "seconds", "ms a list", box=None, padding=(0, 2, 0, 0)
    )
    for trace in found:
        means = [trace.mean(name) for name in METRICS]
        cells = [f"{mean.value:.4f} [dim]{mean.low:.4f}–{mean.high:.4f}[/dim]" for mean in means]
        row = (str(len(trace.trained)), f"{trace.training_seconds:.1f}", f"{trace.answer_ms:.2f}")
        table.add_row(escape(trace.name), *cells, *row)
    console.print(table)
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in first.excluded.items())
    span = f"{day(int(first.times[0]))} to {day(int(first.times[-1]))}"
    console.print(f"{len(first):,} events from {span}, reward version {escape(reward)}; left out: {left_out}", soft_wrap=True)
    for trace in found[1:]:
        console.print(escape(f"{sentence(trace, first, metric)}."), soft_wrap=True)
