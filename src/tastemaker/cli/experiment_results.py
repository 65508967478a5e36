"""``tastemaker experiment report`` and ``size``: what an experiment says by now, and how large one has to be."""

from __future__ import annotations

import time
from pathlib import Path

import click

from tastemaker.cli.session import console, opened
from tastemaker.config import Config
from tastemaker.domain import Experiment
from tastemaker.experiments.verdicts import Data
from tastemaker.storage import Storage


@click.command()
@click.argument("name")
@click.option("--source", type=click.Choice(["lake", "stream"]), default="stream", show_default=True,
              help="lake: what was ingested; stream: with what the log holds behind it.")  # fmt: skip
@click.option("--version", type=click.IntRange(1), help="An older version; default: the newest.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--html", "path", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with plots.")
@click.pass_context
def report(context: click.Context, name: str, source: str, version: int | None, as_json: bool, path: Path | None) -> None:
    """What is concluded from an experiment now: ship, keep, undecided or broken, why, and the numbers.

    It may be looked at as often as you like: the intervals before the planned size bear it.
    """
    from tastemaker.experiments.reporting import decode, encode
    from tastemaker.experiments.reporting import report as made_of
    from tastemaker.pipelines.experiments.page import write_page
    from tastemaker.pipelines.experiments.report import lines

    now = int(time.time() * 1000)
    with opened(context) as (storage, config):
        asked = found(storage, name, version)
        made = made_of(asked, data_of(storage, config, asked, source, now), source, now, config.experiments.alpha)
        history = [decode(old.payload) for old in storage.tables.results.history(name, asked.version)]
    if path is not None:
        write_page(path, made, history)
    if as_json:
        click.echo(encode(made))
        return
    for part in lines(made):
        console.print(part)
    if path is not None:
        console.print(f"\n{path} is written")


def found(storage: Storage, name: str, version: int | None) -> Experiment:
    """An experiment in a version. Raises ``NotFound``."""
    from tastemaker.errors import NotFound
    from tastemaker.registry import experiments

    newest = experiments.found(storage, name)
    if version is None:
        return newest
    chosen = storage.tables.experiments.get(name, version)
    if chosen is None:
        raise NotFound(f"experiment {name!r} has no version {version}; the newest is {newest.version}")
    return chosen


def data_of(storage: Storage, config: Config, asked: Experiment, source: str, now: int) -> Data:
    """Measured at this moment."""
    if source == "lake":
        from tastemaker.pipelines.experiments.measure import measured

        return measured(storage, config, asked, now)
    from tastemaker.streaming.experiments import Tail, measure

    tail = Tail(storage.log)
    tail.refresh()
    return measure(storage.lake, tail, config, asked, now)


@click.command()
@click.option("--metric", default="ctr", show_default=True, help="A name of [experiments.metrics].")
@click.option("--mde", type=float, default=0.05, show_default=True, help="The smallest relative change that is worth finding.")
@click.option("--days", type=float, default=14.0, show_default=True, help="Days of the lake to plan from.")
@click.option("--arms", type=click.IntRange(2, 16), default=2, show_default=True, help="Arms that share the users evenly.")
@click.option("--coverage", type=float, default=1.0, show_default=True, help="Share of all users that take part.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def size(context: click.Context, metric: str, mde: float, days: float, arms: int, coverage: float, as_json: bool) -> None:
    """How many units each arm needs to find a change four times out of five, and how many days that takes."""
    import dataclasses

    import msgspec

    from tastemaker.pipelines.experiments.plan import size as planned

    with opened(context) as (storage, config):
        made = planned(storage, config, metric, mde, int(time.time() * 1000), days=days, arms=arms, coverage=coverage)
    if as_json:
        click.echo(msgspec.json.encode(dataclasses.asdict(made)).decode())
        return
    console.print(
        f"[bold]{made.units:,}[/] units in each of {arms} arms find {mde:.1%} of {metric} {made.value:.4g} four times of five"
    )
    console.print(f"about {made.days:g} days, as {made.seen:,} users came in {days:g}; these show {made.smallest:.1%}")
