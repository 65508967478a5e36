"""``tastemaker plan``: how large a platform has to be for a load, with the arithmetic. Needs no configuration and no stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from tastemaker.cli.session import console
from tastemaker.pipelines.sizing.workload import Workload, check, limits_of, number

if TYPE_CHECKING:
    from tastemaker.pipelines.sizing.plan import Plan

Command = Callable[..., None]


def option_of(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def numbers(command: Command) -> Command:
    """An option for each field of the workload."""
    from msgspec import NODEFAULT
    from msgspec.structs import fields

    from tastemaker.pipelines.sizing.arithmetic import shown

    for info in reversed(fields(Workload)):
        text, needed = limits_of(info.name).description or "", info.default is NODEFAULT
        help_text = text if needed else f"{text} [default: {shown(info.default)}]"
        command = click.option(option_of(info.name), info.name, metavar="NUMBER", required=needed, help=help_text)(command)
    return command


@click.command()
@numbers
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plan(as_json: bool, **given: str | None) -> None:
    """Say what a load needs: `tastemaker plan --users 30M --events-per-day 300M`.

    Cores, memory, disks, hours and network of every part, each with its formula. Numbers may end in k, M, G or T. What things
    cost on one core was measured; the plan says where.
    """
    import msgspec

    from tastemaker.pipelines.sizing.plan import plan as planned

    made = planned(workload({field: text for field, text in given.items() if text is not None}))
    if as_json:
        click.echo(msgspec.json.encode(record_of(made)).decode())
    else:
        show(made)


def workload(given: dict[str, str]) -> Workload:
    """What was typed, as a workload; an error names the option and what was typed."""
    found: dict[str, float] = {}
    for field, text in given.items():
        option = option_of(field)
        found[field] = number(option, text)
        check(field, found[field], option, text)
    return Workload(**found)


def record_of(made: Plan) -> dict[str, Any]:
    """A plan as JSON has it. Values are in bytes, seconds, hours, or as their unit says."""
    import msgspec

    return {
        "workload": msgspec.structs.asdict(made.work),
        "rates": {"machine": made.rates.machine, "date": made.rates.date, "command": made.rates.command, "load": made.rates.load},
        "sections": [
            {
                "title": section.title,
                "figures": [
                    {"name": one.name, "value": one.value, "unit": one.unit, "formula": one.formula}
                    for one in section.figures.values()
                ],
            }
            for section in made.sections
        ],
        "places": [{"part": part, "place": place} for part, place in made.places],
        "limits": [{"limit": limit, "remedy": remedy} for limit, remedy in made.limits],
    }


def show(made: Plan) -> None:
    """Tables for people: the answer first, the arithmetic behind it."""
    console.print("[bold]What runs where[/]")
    pairs(made.places)
    if made.limits:
        console.print("\n[bold]Limits that this load meets, and what to do[/]")
        pairs(made.limits)
    for section in made.sections:
        console.print(f"\n[bold]{section.title}[/]")
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(width=29)
        table.add_column(justify="right", width=14)
        table.add_column()
        for one in section.figures.values():
            table.add_row(one.name, one.shown, one.formula)
        console.print(table)
    rates = made.rates
    console.print(f"\n[dim]Rates: {rates.machine}; {rates.date}, load {rates.load:g}: {rates.command}[/]")


def pairs(rows: tuple[tuple[str, str], ...]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(max_width=50)
    table.add_column()
    for row in rows:
        table.add_row(*row)
    console.print(table)
