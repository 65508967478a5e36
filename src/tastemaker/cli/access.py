"""``tastemaker keys`` and ``tastemaker erase``."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.session import console, opened
from tastemaker.errors import NotFound


@click.group()
def keys() -> None:
    """API keys: create, list, revoke."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(["write", "read", "admin"]), help="What it may do; repeat it."
)
@click.pass_context
def create(context: click.Context, name: str, scopes: tuple[str, ...]) -> None:
    """Make a key. It is shown once and kept only as a hash."""
    with opened(context) as (storage, _):
        secret = storage.tables.keys.create(name, scopes or ("read", "write"), int(time.time() * 1000))
    click.echo(secret)


@keys.command("list")
@click.pass_context
def list_(context: click.Context) -> None:
    """Keys and their scopes."""
    with opened(context) as (storage, _):
        found = storage.tables.keys.all()
    table = Table("id", "name", "scopes", "made", "state", box=None)
    for key in found:
        made = f"{datetime.fromtimestamp(key.made / 1000, UTC):%Y-%m-%d}"
        table.add_row(key.id, escape(key.name), ", ".join(sorted(key.scopes)), made, "revoked" if key.revoked else "active")
    console.print(table if found else "no keys yet: tastemaker keys create NAME --scope read")


@keys.command()
@click.argument("id")
@click.pass_context
def revoke(context: click.Context, id: str) -> None:
    """Revoke a key; servers refuse it within seconds."""
    with opened(context) as (storage, _):
        if not storage.tables.keys.revoke(id):
            raise NotFound(f"key {id!r} does not exist; `tastemaker keys list` shows them")
    console.print(f"revoked {id}")


@click.command()
@click.argument("user")
@click.confirmation_option(prompt="Remove every trace of this user for good?")
@click.pass_context
def erase(context: click.Context, user: str) -> None:
    """Erase a user everywhere and say what was removed where."""
    import uuid

    from tastemaker.domain import Erase
    from tastemaker.storage.erase import erase as remove

    with opened(context) as (storage, _):
        storage.log.append([Erase(uuid.uuid4().hex, int(time.time() * 1000), user)]).result()
        removed = remove(storage, user, [card.version for card in storage.tables.models.all()])
    for place, count in removed.items():
        console.print(f"{place:<24} {count}")
