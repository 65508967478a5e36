"""``tastemaker deadletter``: what could not be applied, and another try for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.session import console, opened
from tastemaker.domain import AnyEvent
from tastemaker.errors import NotFound, did_you_mean
from tastemaker.storage.tables import DeadLetter


@click.group()
def deadletter() -> None:
    """Records of the log that the nearline worker could not apply: it set them aside and went on."""


@deadletter.command("list")
@click.option("--limit", default=50, show_default=True, help="How many, the newest first.")
@click.option("--json", "as_json", is_flag=True, help="For programs, with the whole event.")
@click.pass_context
def list_(context: click.Context, limit: int, as_json: bool) -> None:
    """Show dead letters: where each stands in the log, what it is, and why it failed."""
    with opened(context) as (storage, _):
        letters = storage.tables.dead_letters.all(limit)
    if as_json:
        click.echo(json.dumps([plain(letter) for letter in letters]))
        return
    if not letters:
        console.print("no dead letters")
        return
    table = Table("id", "when", "event", "user", "error", box=None, padding=(0, 2, 0, 0))
    for letter in letters:
        when = f"{datetime.fromtimestamp(letter.made / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
        table.add_row(letter.id, when, letter.kind or "unreadable", escape(letter.user), escape(letter.error[:120]))
    console.print(table)


@deadletter.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--drop", is_flag=True, help="Throw them away instead of trying again.")
@click.pass_context
def retry(context: click.Context, ids: tuple[str, ...], everything: bool, drop: bool) -> None:
    """Append dead letters to the log again, for instance after an upgrade that can apply them."""
    if bool(ids) == everything:
        raise click.UsageError("name the letters (tastemaker deadletter list shows them), or say --all")
    with opened(context) as (storage, _):
        known = {letter.id: letter for letter in storage.tables.dead_letters.all()}
        for id in ids:
            if id not in known:
                raise NotFound(f"dead letter {id!r} does not exist; {did_you_mean(id, known)}")
        chosen = list(known) if everything else list(ids)
        if drop:
            console.print(f"{storage.tables.dead_letters.delete(chosen)} thrown away")
            return
        again, kept = 0, 0
        for id in chosen:
            event = event_of(known[id])
            if event is None:
                kept += 1
                continue
            storage.log.append([event]).result()
            storage.tables.dead_letters.delete([id])
            again += 1
    unreadable = f", {kept} cannot be read and stay (--drop throws them away)" if kept else ""
    console.print(f"{again} appended to the log again{unreadable}")


def event_of(letter: DeadLetter) -> AnyEvent | None:
    try:
        return letter.event()
    except msgspec.DecodeError:
        return None


def plain(letter: DeadLetter) -> dict[str, object]:
    """A letter as JSON has it, with the event where there is one."""
    row = msgspec.to_builtins(letter)
    event = event_of(letter)
    return {**row, "event": json.loads(msgspec.json.encode(event)) if event is not None else None}
