"""``tastemaker relabel``."""

from __future__ import annotations

import click

from tastemaker.cli.session import console, opened, steps


@click.command()
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def relabel(context: click.Context, quiet: bool) -> None:
    """Make user states, counters and feature tables anew under the present [rewards].

    Answers go on meanwhile; workers wait for a moment while the states are exchanged. An interrupted relabelling goes on where it
    stopped. Models learn under the new rewards by the next `tastemaker run daily`.
    """
    from tastemaker.pipelines.relabelling import relabel as make_anew
    from tastemaker.streaming.rebuild import rebuild_states

    with opened(context) as (storage, config), steps(quiet) as watch:
        done = make_anew(storage, config, rebuild_states, watch)
    rows = ", ".join(f"{name} {count:,}" for name, count in done.rows.items()) or "no feature tables: there are no events"
    console.print(f"reward version {done.reward}: states of {done.users:,} users; {rows}")
    console.print("models still say what they have learnt: `tastemaker run daily` trains them under it")
