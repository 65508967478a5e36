"""``tastemaker simulate``: the whole loop in a world whose truth is known."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from msgspec.structs import replace
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.session import bar, configuration, console

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tastemaker.cli.simulating.run import Day
    from tastemaker.cli.simulating.study import Plan, Study
    from tastemaker.config import Config
    from tastemaker.domain import Experiment

FOLDER = "simulation"  # of the configured home: the stores of simulated platforms lie there, and are made anew each time
MODELS = ("popular", "als")


@click.command()
@click.option("--days", default=7, show_default=True, help="Simulated days that the platform serves.")
@click.option("--users", default=2000, show_default=True, help="People in the world at its beginning.")
@click.option("--items", default=1500, show_default=True, help="Items in the world at its beginning.")
@click.option("--births", default=5.0, show_default=True, help="New items a day.")
@click.option("--warm", default=10, show_default=True, help="Days before, from which the first model learns.")
@click.option("--seed", default=1, show_default=True, help="Another seed is another world.")
@click.option("-k", default=10, show_default=True, help="Length of the lists.")
@click.option("--model", "models", multiple=True, help="A kind to train; may be given several times. [default: popular, als]")
@click.option(
    "--policy", type=click.Choice(["daily", "frozen", "still"]), default="daily", show_default=True,
    help="Train every day, never after the first time, or not even apply what people do.",
)  # fmt: skip
@click.option("--experiment", help="frozen-vs-daily, two kinds of models as popular-vs-als, or a JSON or TOML file.")
@click.option("--url", help="Simulate the users of this running server instead. Its platform keeps their events.")
@click.option("--key", default="", help="API key for --url, of scopes read and write.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with a plot into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print all numbers as JSON.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def simulate(context: click.Context, /, **given: Any) -> None:
    """Let simulated people use the platform: they ask, click, come back or stay away, and it learns from them.

    What they like is known, so an experiment's verdict can be held against the truth: each of its arms is given to everybody,
    too, in a copy of platform and world. Works in folders of its own below the configured home.
    """
    import msgspec

    from tastemaker.simulation.settings import WorldSettings

    check(context, given)
    quiet = given["quiet"] or given["as_json"]
    settings = WorldSettings(users=given["users"], items=given["items"], births=given["births"])
    if given["url"]:
        days = at_server(given, settings, quiet)
        if given["as_json"]:
            click.echo(msgspec.json.encode({"days": [vars(day) for day in days]}).decode())
        else:
            show_days({"server": days})
        return
    from tastemaker.cli.simulating import report
    from tastemaker.cli.simulating.study import Plan, study

    config = settled(configuration(context), given["models"])
    experiment = experiment_of(given["experiment"]) if given["experiment"] else None
    plan = Plan(given["days"], given["warm"], given["k"], given["seed"], settings, given["policy"], experiment)
    config = with_kinds(config, plan)
    with anew(), bar("simulating", quiet) as show:
        found = study(config, plan, show)
    if given["page"] is not None:
        from tastemaker.pipelines.replay_report import write_text

        write_text(given["page"], report.page(found))
    if given["as_json"]:
        click.echo(msgspec.json.format(msgspec.json.encode(report.described(found))).decode())
        return
    show_study(found)
    if given["page"] is not None:
        console.print(f"page: {escape(str(given['page']))}", soft_wrap=True)


@contextmanager
def anew() -> Iterator[None]:
    """Says of an interruption what is true of this command: unlike others it does not go on where it was."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\nstopped; the same command begins anew", err=True)
        raise click.exceptions.Exit(130) from None


def check(context: click.Context, given: Mapping[str, Any]) -> None:
    """Refuses at once what would be left unheard, or come to nothing after minutes."""
    from tastemaker.errors import InputError, did_you_mean
    from tastemaker.models import MODELS as KNOWN

    alone = {"experiment": "--experiment", "policy": "--policy", "models": "--model", "page": "--html"}
    for name, option in alone.items() if given["url"] else ():
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise InputError(option, given[name], "is for a platform of the simulation's own: leave it out, or --url")
    if given["experiment"] and context.get_parameter_source("policy") is not ParameterSource.DEFAULT:
        raise InputError("--policy", given["policy"], "is what the arms of --experiment say: leave one of the two out")
    for kind in given["models"]:
        if kind not in KNOWN:
            raise InputError("--model", kind, f"there is no such kind; {did_you_mean(kind, KNOWN)}")
    if given["page"] is not None and not given["page"].absolute().parent.is_dir():
        raise InputError("--html", str(given["page"]), "is in a folder that is not there: make it first")


def settled(config: Config, models: Sequence[str]) -> Config:
    """The user's configuration, with stores and models of the simulation's own."""
    home = replace(config.connect, home=str(config.home / FOLDER))
    return replace(config, connect=home, train=replace(config.train, models=tuple(models) or MODELS))


def with_kinds(config: Config, plan: Plan) -> Config:
    """Kinds of models that the experiment's arms name are trained, too."""
    from tastemaker.models import MODELS as KNOWN

    named = [arm.model for arm in plan.experiment.arms if arm.model in KNOWN] if plan.experiment is not None else []
    return replace(config, train=replace(config.train, models=tuple(dict.fromkeys((*config.train.models, *named)))))


def experiment_of(text: str) -> Experiment:
    """An experiment by its name, by two kinds of models, or from a file."""
    from tastemaker.cli.experiment_input import converted, read
    from tastemaker.cli.simulating.study import frozen_vs_daily, versus
    from tastemaker.errors import InputError, did_you_mean
    from tastemaker.models import MODELS as KNOWN

    if text == "frozen-vs-daily":
        return frozen_vs_daily()
    one, versus_, other = text.partition("-vs-")
    if Path(text).exists():
        return converted(read(Path(text)))
    if not versus_:
        raise InputError("--experiment", text, "is no file: give frozen-vs-daily, two kinds as popular-vs-als, or a file's path")
    for kind in (one, other):
        if kind not in KNOWN:
            raise InputError("--experiment", text, f"there is no model of kind {kind!r}; {did_you_mean(kind, KNOWN)}")
    return versus(one, other)


def at_server(given: Mapping[str, Any], settings: Any, quiet: bool) -> list[Day]:
    """Days at somebody's server."""
    from tastemaker.cli.simulating.doors import Outside
    from tastemaker.cli.simulating.run import of_server
    from tastemaker.simulation.world import World

    door = Outside(given["url"], given["key"])
    try:
        with anew(), bar("simulating", quiet) as show:
            return of_server(door, World(settings, given["seed"]), given["days"], given["warm"], given["k"], show)
    finally:
        door.close()


def show_days(ways: Mapping[str, Sequence[Day]]) -> None:
    table = Table("life", "day", "visits", "clicks", "watched", "coverage", "Gini", "published", box=None, padding=(0, 2, 0, 0))
    for name, days in ways.items():
        for number, day in enumerate(days, 1):
            cells = (f"{day.visits:,}", f"{day.clicks:.3f}", f"{day.watched:.3f}", f"{day.coverage:.2f}", f"{day.gini:.2f}")
            table.add_row(escape(name), str(number), *cells, escape(day.published))
    console.print(table)


def show_study(found: Study) -> None:
    """Every day of every way of life, the ends of the scale, and the estimate beside the truth."""
    from tastemaker.cli.simulating import report

    show_days({name: one.days for name, one in report.ways(found).items()})
    parts = [f"{name} {one.clicks:.3f}" for name, one in report.ways(found).items()]
    scale = f"chance {found.chance.clicks:.3f}, oracle {found.best.clicks:.3f}"
    console.print(f"clicks per visit: {', '.join(parts)}; {scale}", soft_wrap=True)
    for line in report.compared(found):
        console.print(escape(line), soft_wrap=True)
