"""``tastemaker import``."""

from __future__ import annotations

from pathlib import Path

import click

from tastemaker.cli.session import bar, console, opened, told
from tastemaker.errors import InputError


@click.command("import")
@click.argument("source")
@click.option("--as", "what", type=click.Choice(["interactions", "items", "users"]), default="interactions", show_default=True)
@click.option("--map", "columns", default="", help="Columns, as user=user_id,item=movie_id,value=rating,time=timestamp.")
@click.option("--kind", help="Kind of all interactions, where no column names it.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def import_(context: click.Context, source: str, what: str, columns: str, kind: str | None, quiet: bool) -> None:
    """Import a file (CSV, Parquet, JSON Lines) or a named data set (ml-100k, ml-latest-small, ml-1m, gowalla).

    Bad rows go to a quarantine file with line and reason. An interrupted import goes on where it stopped.
    """
    from tastemaker.pipelines import datasets, imports
    from tastemaker.pipelines.datasets.fetching import fetch

    with opened(context) as (storage, _):
        if source in datasets.TERMS and not Path(source).exists():
            if datasets.find(source) is None:
                with bar(f"fetching {source}", quiet) as show:
                    fetch(source, told(show))
            data = datasets.load(source)
            if (terms := datasets.first_time(source)) is not None:
                console.print(f"[dim]{terms}[/]")
            with bar("importing", quiet) as show:
                reports = imports.import_dataset(storage, data, told(show))
        else:
            with bar("importing", quiet) as show:
                reports = {
                    what: imports.import_file(storage, Path(source), what, mapping_of(columns), kind=kind, progress=told(show))
                }
    for name, report in reports.items():
        rate = f", {report.imported / report.seconds:,.0f} rows/s" if report.imported and report.seconds else ""
        console.print(
            f"{name}: {report.imported:,} imported, {report.skipped:,} there already, {report.quarantined:,} refused{rate}"
        )
        if report.quarantine:
            console.print(f"  refused rows, with line and reason: {report.quarantine}")


def mapping_of(text: str) -> dict[str, str]:
    """``a=b,c=d`` as a mapping.

    >>> mapping_of("user=user_id,item=movie")
    {'user': 'user_id', 'item': 'movie'}
    """
    pairs = [part.partition("=") for part in text.split(",") if part]
    for name, sign, column in pairs:
        if not (name and sign and column):
            raise InputError("--map", text, "write FIELD=COLUMN,FIELD=COLUMN, as user=user_id,item=movie_id")
    return {name.strip(): column.strip() for name, _, column in pairs}
