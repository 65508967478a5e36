"""``tastemaker alerts``: what is wrong right now, and what was."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.session import console, opened

if TYPE_CHECKING:
    from tastemaker.storage.tables.alerts import Alert


@click.group()
def alerts() -> None:
    """What went wrong and is not well yet: failed runs, rules of [watch] that fired."""


@alerts.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are closed.")
@click.option("--limit", default=50, show_default=True, help="How many, the newest first.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def list_(context: click.Context, everything: bool, limit: int, as_json: bool) -> None:
    """Show the open alerts: what, about what, since when, how often."""
    with opened(context) as (storage, _):
        found = storage.tables.alerts.last(limit) if everything else storage.tables.alerts.open()[:limit]
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    if not found:
        console.print("no alerts" if everything else "no open alerts")
        return
    table = Table("id", "since", "severity", "alert", "about", "times", "state", "text", box=None, padding=(0, 2, 0, 0))
    for alert in found:
        table.add_row(*row(alert))
    console.print(table)


@alerts.command()
@click.argument("id")
@click.pass_context
def close(context: click.Context, id: str) -> None:
    """Close an alert by hand. It opens again when what it is about goes wrong again."""
    from tastemaker.monitoring.alerts import close_by_id

    with opened(context) as (storage, _):
        closed = close_by_id(storage, id)
    console.print(f"{closed.id} {closed.state}: {escape(closed.name)} of {escape(closed.subject)}")


def row(alert: Alert) -> tuple[str, ...]:
    since = f"{datetime.fromtimestamp(alert.opened / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
    names = (escape(alert.name), escape(alert.subject))
    return (alert.id, since, alert.severity, *names, str(alert.count), alert.state, escape(alert.text[:120]))
