"""``tastemaker config``."""

from __future__ import annotations

import click
from rich.table import Table

from tastemaker.cli.session import console
from tastemaker.config import hide, keys, leaves, load


@click.command()
@click.option("--changed", is_flag=True, help="Only what differs from the defaults.")
@click.pass_context
def config(context: click.Context, changed: bool) -> None:
    """Show every configuration key, its value and where it came from; passwords are hidden."""
    settings, origins = load(context.find_root().obj)
    table = Table("key", "value", "from", box=None, padding=(0, 2, 0, 0))
    for name, _, _, _ in keys():
        value: object = settings
        for part in name.split("."):
            value = getattr(value, part)
        inside = {full: origin for full, origin in origins.items() if full == name or full.startswith(name + ".")}
        if changed and not inside:
            continue
        rows = list(leaves(value, f"{name}.")) if isinstance(value, dict) and value else [(name, value)]
        for full, leaf in rows:
            origin = next((o for known, o in inside.items() if full == known or full.startswith(known + ".")), None)
            table.add_row(full, str(hide(leaf)), origin or next(iter(inside.values()), "default"))
    console.print(table)
