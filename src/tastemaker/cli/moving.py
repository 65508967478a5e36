"""``tastemaker migrate`` and ``tastemaker rebuild``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.session import bar, configuration, console, opened, steps
from tastemaker.storage import connect

if TYPE_CHECKING:
    from tastemaker.pipelines.moving.compare import Line


@click.command()
@click.option("--to", "file", required=True, type=click.Path(dir_okay=False), help="Configuration file of the target.")
@click.option("--rebuild/--no-rebuild", default=True, help="Make the target's states and slates, too.")
@click.option("--dry-run", is_flag=True, help="Connect to both sides, show what would be moved, and copy nothing.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def migrate(context: click.Context, file: str, rebuild: bool, dry_run: bool, quiet: bool) -> None:
    """Copy log, lake, tables, models and the live version into the stores of another configuration, and compare both sides.

    Stop the API, imports and pipelines before: whatever still writes makes the move fail. An interrupted move goes on where it
    stopped, and a move that is run again copies what came since. Secrets of the target may come from
    TASTEMAKER_TO__CONNECT__KV and the like.
    """
    from tastemaker.pipelines.moving import move, target
    from tastemaker.streaming.rebuild import rebuild_states

    here, there = configuration(context), target.load_target(file)
    target.moves(here, there)
    with connect(here) as source, connect(there) as goal:
        if dry_run:
            show_plan(move.look(source, goal), target.shown(here), target.shown(there))
            return
        console.print("[dim]nothing may write to the source meanwhile: API, imports, pipelines[/]")
        with steps(quiet) as watch:
            report = move.migrate(source, goal, watch, rebuild_states if rebuild else None)
    show_lines(report.lines)
    if report.differences:
        raise move.told(report.differences)
    slates = f", slates made for {report.users:,} users" if report.users is not None else ""
    console.print(f"[bold]moved[/]: {report.appended:,} events appended{slates}; both sides hold the same")


def show_plan(plan: dict[str, dict[str, int]], here: dict[str, str], there: dict[str, str]) -> None:
    table = Table("store", "from", "to", "what", box=None, padding=(0, 2, 0, 0))
    for store in here:
        if here[store] != there[store]:
            what = ", ".join(f"{name} {count:,}" for name, count in plan.get(store, {}).items() if count)
            made = "made anew" if store.startswith("kv") else "nothing"
            table.add_row(store, escape(here[store]), escape(there[store]), what or made)
    console.print(table)


def show_lines(lines: list[Line]) -> None:
    table = Table("", "store", "what", "rows here", "rows there", "checksum", box=None, padding=(0, 2, 0, 0))
    for line in lines:
        sums = str(line.source) if line.equal else f"{line.source} / {line.target}"
        mark = "[green]✓[/]" if line.equal else "[red]✗[/]"
        table.add_row(mark, line.store, escape(line.what), f"{line.source.rows:,}", f"{line.target.rows:,}", sums)
    console.print(table)


@click.command()
@click.option("--states/--no-states", default=True, help="User states, item counters and what trends.")
@click.option("--slates/--no-slates", default=True, help="Everybody's slate under the live version.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def rebuild(context: click.Context, states: bool, slates: bool, quiet: bool) -> None:
    """Make user states, counters and slates again, from the log and the lake.

    Answers go on meanwhile, from what is there; workers wait for a moment while the states are exchanged. An interrupted rebuild
    goes on where it stopped.
    """
    from tastemaker.pipelines.republish import rewrite_slates
    from tastemaker.registry import live
    from tastemaker.streaming.rebuild import rebuild_states

    with opened(context) as (storage, _):
        if states:
            with bar("states", quiet) as show:
                users = rebuild_states(storage, show)
            console.print(f"states of {users:,} users rebuilt")
        if slates:
            now = live.restore(storage, int(time.time() * 1000))
            if now is None:
                console.print("no slates: nothing is live yet")
                return
            with bar("slates", quiet) as show:
                users = rewrite_slates(storage, now, show)
            console.print(f"slates of {users:,} users written under {now.version}")
