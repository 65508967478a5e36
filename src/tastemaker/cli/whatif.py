"""``tastemaker whatif``: how another model would have done, from the slates that chance has drawn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.session import bar, console, opened

if TYPE_CHECKING:
    from tastemaker.domain import Interval
    from tastemaker.pipelines.whatif.answering import Answers

DAY = 86_400_000
COLOURS = {"better": "green", "worse": "red", "unclear": "blue", "same": "blue", "refused": "yellow"}


@click.command()
@click.option("--model", "models", multiple=True, default=("live",), show_default=True,
              help="A version, or live; may be repeated.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="A key of [slates] that the models are asked about with, as diversity=0.3; may be repeated.")  # fmt: skip
@click.option(
    "--metric", default="ctr", show_default=True, help="reward, or a name of [experiments.metrics]; summed for each answer."
)
@click.option("--since", default="", help="Answers from this time on, as 2026-01-31 or in epoch ms.")
@click.option("--until", default="", help="Answers before this time.")
@click.option("--days", default=0.0, show_default=True, help="Answers of the last so many days before that; 0: all.")
@click.option("--surface", default="", help="Answers on this surface only.")
@click.option("--within", default=24.0, show_default=True, help="Hours after an answer in which what comes of it counts.")
@click.option("--slots", default=0, show_default=True, help="Places of an answer that count, from the first on; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def whatif(
    context: click.Context,
    models: tuple[str, ...],
    settings: tuple[str, ...],
    metric: str,
    since: str,
    until: str,
    days: float,
    surface: str,
    within: float,
    slots: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """How would another model, or other rules, have done in the answers that were drawn by chance?

    Asked of the lake, so of what was ingested. It needs slates.explore above 0 for some time. Nothing is written to the stores.
    """
    from tastemaker.pipelines.whatif.answering import whatif as ask
    from tastemaker.pipelines.whatif.question import Question, settings_of

    now = int(time.time() * 1000)
    begin, end = window(since, until, days, now)
    question = Question(models, metric, settings_of(settings), begin, end, surface, within, slots)
    with opened(context) as (storage, config), bar("whatif", quiet or as_json) as show:
        found = ask(storage, config, question, now, show)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(found).decode())
        return
    print_answers(found)


def window(since: str, until: str, days: float, now: int) -> tuple[int, int]:
    """The time of the answers, in epoch ms: from, and up to but not at."""
    from tastemaker.errors import InputError
    from tastemaker.pipelines.tasks import moment
    from tastemaker.pipelines.whatif.question import LATEST

    if not days >= 0:
        raise InputError("days", days, "give the days of answers to ask about, or 0 for all")
    if since and days:
        raise InputError("days", days, "give --since or --days")
    end = moment("until", until) if until else LATEST
    if days:
        return max(0, round(min(end, now) - days * DAY)), end
    return moment("since", since) if since else 0, end


def print_answers(found: Answers) -> None:
    """A table, then each answer in a sentence."""
    console.print(
        f"{found.slates:,} drawn answers to {found.users:,} users, {stamp(found.first)} to {stamp(found.last)}: "
        f"{escape(found.metric)} {shown(found.logged)} an answer",
        soft_wrap=True,
    )
    if found.left_out:
        console.print("left out: " + ", ".join(f"{count:,} {reason}" for reason, count in found.left_out.items()))
    table = Table("model", "would have had", "difference", "doubly robust", "effective slates", box=None, padding=(0, 2, 0, 0))
    for answer in found.models:
        behind = f"{answer.ess[0]:,.0f} to {answer.ess[-1]:,.0f}" if answer.ess else "–"
        cells = (shown(each) for each in (answer.value, answer.difference, answer.doubly_robust))
        table.add_row(escape(answer.model), *cells, behind)
    console.print(table)
    for answer in found.models:
        console.print(f"[{COLOURS[answer.verdict]}]{answer.verdict}[/] {escape(answer.text)}", soft_wrap=True)
        for warning in answer.warnings:
            console.print(f"  [dim]{escape(warning)}[/]", soft_wrap=True)


def shown(value: Interval | None) -> str:
    return "–" if value is None else f"{value.value:.4g} [dim]{value.low:.4g} to {value.high:.4g}[/dim]"


def stamp(moment: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(moment / 1000, UTC):%Y-%m-%d %H:%M}Z"
