"""``tastemaker experiment``: write one, let it run, let more in, end it, and look.

What is concluded from an experiment is in ``experiment_results.py``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.experiment_input import converted, options, read
from tastemaker.cli.session import console, opened
from tastemaker.domain import Arm, Experiment

RESULTS: dict[str, str] = {
    "report": "tastemaker.cli.experiment_results:report",
    "size": "tastemaker.cli.experiment_results:size",
}
"""Commands of the group that live elsewhere, and are imported when they are asked for."""


class Group(click.Group):
    """The commands of this file, and those of the results."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *RESULTS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in RESULTS:
            return super().get_command(ctx, cmd_name)
        import importlib

        module, _, name = RESULTS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=Group)
def experiment() -> None:
    """Experiments: who gets what, since when, and how it ends."""


@experiment.command()
@click.argument("name", required=False)
@click.option("--file", "path", type=click.Path(dir_okay=False, path_type=Path), help="The experiment as JSON or TOML.")
@click.option(
    "--arm", "arms", multiple=True, metavar="NAME[:WEIGHT[:MODEL]][:KEY=VALUE...]",
    help="An arm, the control first: its share, model version, settings of [slates].",
)  # fmt: skip
@click.option("--kind", type=click.Choice(["ab", "interleaving"]), help="Two groups, or two rankings in one list.")
@click.option("--layer", help="Experiments of other layers are independent of this one.")
@click.option("--slice", "part", nargs=2, type=float, help="From and to: the part of the layer that is its own.")
@click.option("--coverage", type=float, help="Share of the slice that takes part at first.")
@click.option("--surface", "surfaces", multiple=True, help="Only there. May be given several times.")
@click.option("--segment", "segments", multiple=True, help="Only users of this segment. May be given several times.")
@click.option("--metric", "metrics", multiple=True, help="A name of [experiments.metrics]; the first one decides.")
@click.option("--guardrail", "guardrails", multiple=True, metavar="METRIC=LOSS", help="What may be lost of a metric, as a share.")
@click.option("--mde", type=float, help="The smallest relative change that is worth finding.")
@click.option("--planned", type=int, help="Units in each arm, as `experiment size` tells.")
@click.option(
    "--training",
    type=click.Choice(["shared", "diverted"]),
    help="Whether models of arms learn from all, or from their own units.",
)
@click.option("--force", "forced", multiple=True, metavar="UNIT=ARM", help="Puts a unit into an arm, to look at it.")
@click.pass_context
def create(context: click.Context, /, name: str | None, path: Path | None, **given: Any) -> None:
    """Write a draft; options overrule what the file says. Nothing changes for anybody until it is started.

    Example: tastemaker experiment create cards --arm control --arm diverse:0.5:diversity=0.3 --metric ctr
    """
    from tastemaker.registry import experiments

    fields = read(path) if path is not None else {}
    fields |= ({"name": name} if name is not None else {}) | options(given)
    if "name" not in fields:
        raise click.UsageError("give the experiment a NAME, or a --file that has one")
    if "arms" not in fields:
        raise click.UsageError("give at least two arms: --arm control --arm NAME:KEY=VALUE")
    wanted = converted(fields)
    with opened(context) as (storage, _):
        made = experiments.create(storage, wanted, now())
    console.print(f"{made.name} version {made.version} is written; start it: tastemaker experiment start {made.name}")


@experiment.command()
@click.argument("name")
@click.pass_context
def start(context: click.Context, name: str) -> None:
    """Let a draft run. Servers follow within a second."""
    from tastemaker.registry import experiments

    with opened(context) as (storage, _):
        started = experiments.start(storage, name, now())
    console.print(f"{started.name} version {started.version} runs, with {started.coverage:.0%} of its slice")


@experiment.command()
@click.argument("name")
@click.argument("coverage", type=float)
@click.pass_context
def ramp(context: click.Context, name: str, coverage: float) -> None:
    """Let more units take part: COVERAGE is their share of the slice. It moves none of those who do already."""
    from tastemaker.registry import experiments

    with opened(context) as (storage, _):
        ramped = experiments.ramp(storage, name, coverage)
    console.print(f"{ramped.name}: {ramped.coverage:.0%} of its slice take part")


@experiment.command()
@click.argument("name")
@click.option("--outcome", default="", help="What was decided, and by whom: it is kept.")
@click.pass_context
def stop(context: click.Context, name: str, outcome: str) -> None:
    """End an experiment: everybody gets what everybody gets."""
    from tastemaker.registry import experiments

    with opened(context) as (storage, _):
        ended = experiments.stop(storage, name, now(), outcome)
    console.print(f"{ended.name} version {ended.version} is stopped")


@experiment.command("list")
@click.option("--state", type=click.Choice(["draft", "running", "stopped"]), help="Only these.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def list_(context: click.Context, state: str | None, as_json: bool) -> None:
    """Show all experiments in their newest version, the newest first."""
    with opened(context) as (storage, _):
        found = storage.tables.experiments.all(state=state)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    if not found:
        console.print("no experiments: tastemaker experiment create --help")
        return
    table = Table("name", "version", "state", "kind", "arms", "takes part", "since", "metric", box=None, padding=(0, 2, 0, 0))
    for one in found:
        arms = ", ".join(arm.name for arm in one.arms)
        part = f"{one.coverage * (one.stop - one.start):.0%} of {escape(one.layer)}"
        table.add_row(
            one.name, str(one.version), one.state, one.kind, escape(arms), part, day(one.started), escape(one.metrics[0])
        )
    console.print(table)


@experiment.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs; `create --file` takes it.")
@click.pass_context
def show(context: click.Context, name: str, as_json: bool) -> None:
    """One experiment with its arms, and what became of its versions."""
    from tastemaker.registry import experiments

    with opened(context) as (storage, _):
        found = experiments.found(storage, name)
        versions = storage.tables.experiments.versions(name)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    console.print(f"[bold]{escape(found.name)}[/] version {found.version}, {found.kind}, {found.state} since {day(since(found))}")
    console.print(f"takes part    {found.coverage:.0%} of {found.start:g} to {found.stop:g} of layer {escape(found.layer)}")
    for field in ("surfaces", "segments", "metrics"):
        if names := getattr(found, field):
            console.print(f"{field:<13} {escape(', '.join(names))}")
    for metric, margin in found.guardrails.items():
        console.print(f"guardrail     {escape(metric)} may lose {margin:.1%}")
    for arm in found.arms:
        settings = " ".join(f"{key}={value}" for key, value in arm.settings.items())
        console.print(f"arm           {escape(arm.name)} {arm.weight:.0%} {escape(model_of(arm))} {escape(settings)}")
    for old in versions:
        if old.outcome:
            console.print(f"version {old.version:<5} {day(old.started)} to {day(old.ended)}: {escape(old.outcome)}")


def model_of(arm: Arm) -> str:
    """What an arm answers with, in words."""
    if arm.serves:
        return f"{arm.model}, now {arm.serves}"
    return arm.model or "the live model"


def since(found: Experiment) -> int:
    return found.ended or found.started or found.made


def day(moment: int | None) -> str:
    return f"{datetime.fromtimestamp(moment / 1000, UTC):%Y-%m-%d %H:%M}Z" if moment else "–"


def now() -> int:
    return int(time.time() * 1000)
