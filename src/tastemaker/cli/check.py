"""``tastemaker check``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.session import console, opened

if TYPE_CHECKING:
    from tastemaker.monitoring.checks import Checked


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Connect to every configured store; show version, latency, clock difference, and what is wrong with the remedy.

    The exit code is 1 when something is wrong.
    """
    from tastemaker.monitoring import checks

    with opened(context) as (storage, config):
        found = list(checks.check(storage, config))
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(one) for one in found]))
    else:
        show(found)
    sys.exit(1 if any(one.problems for one in found) else 0)


def show(found: list[Checked]) -> None:
    table = Table("", "store", "url", "version", "answers in", "clock", box=None, padding=(0, 2, 0, 0))
    for one in found:
        latency = f"{one.latency * 1000:.1f} ms" if one.latency is not None else ""
        skew = f"{one.skew * 1000:+.0f} ms" if one.skew is not None else ""
        table.add_row("[red]✗[/]" if one.problems else "[green]✓[/]", one.name, escape(one.url), one.version, latency, skew)
    console.print(table)
    for one in found:
        for text in one.problems:
            console.print(f"[red]✗ {one.name}[/] {escape(text)}", soft_wrap=True)
        for text in one.notes:
            console.print(f"[dim]· {one.name} {escape(text)}[/]", soft_wrap=True)
