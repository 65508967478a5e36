"""``tastemaker models``: the registry."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import click
import msgspec
from rich.markup import escape
from rich.table import Column, Table

from tastemaker.cli.session import console, opened
from tastemaker.domain import Interval, ModelCard, Verdict
from tastemaker.errors import NotFound, did_you_mean
from tastemaker.storage import Storage


@click.group()
def models() -> None:
    """Model versions: list, show, compare, promote, roll back."""


@models.command("list")
@click.option("--state", type=click.Choice(["candidate", "live", "retired", "rejected"]), help="Only these.")
@click.option("--limit", default=20, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="Whole cards, for programs.")
@click.pass_context
def list_(context: click.Context, state: str | None, limit: int, as_json: bool) -> None:
    """Versions, newest first."""
    with opened(context) as (storage, config):
        cards = storage.tables.models.all(state=state)[:limit]
    if as_json:
        click.echo(msgspec.json.encode(cards))
        return
    if not cards:
        console.print("no models yet: tastemaker run daily")
        return
    console.print(metrics_table(cards, metric_names(config.evaluate.metric)))


@models.command()
@click.argument("version")
@click.pass_context
def show(context: click.Context, version: str) -> None:
    """One version's card: parameters, data, losses, metrics, verdict."""
    with opened(context) as (storage, _):
        card = card_of(storage, version)
    console.print(
        f"[bold]{card.version}[/] {card.kind}, {card.state}, made {datetime.fromtimestamp(card.made / 1000, UTC):%Y-%m-%d %H:%M}Z"
    )
    console.print(f"parameters  {escape(json.dumps(card.params))}", soft_wrap=True)
    console.print(f"data        {escape(json.dumps(card.data))}", soft_wrap=True)
    console.print(f"versions    reward {card.reward}, features {card.features}, tastemaker {card.code}")
    if card.losses:
        console.print("loss        " + " ".join(f"{loss:.6g}" for loss in card.losses))
    for name, value in card.metrics.items():
        console.print(f"{name:<14} {shown(value)}  n={value.n}")
    if card.verdict:
        print_verdict(card.verdict)


@models.command()
@click.argument("first")
@click.argument("second")
@click.pass_context
def compare(context: click.Context, first: str, second: str) -> None:
    """Two versions' metrics side by side, with the differences."""
    with opened(context) as (storage, _):
        a, b = card_of(storage, first), card_of(storage, second)
    table = Table("metric", a.version, b.version, "difference", box=None)
    for name in a.metrics:
        if name in b.metrics:
            change = b.metrics[name].value - a.metrics[name].value
            table.add_row(name, shown(a.metrics[name]), shown(b.metrics[name]), f"{change:+.4f}")
    console.print(table)
    if a.data.get("run") != b.data.get("run"):
        console.print("they were judged in different runs, on other held-out events: a difference may be that of the data")


@models.command()
@click.argument("version")
@click.pass_context
def promote(context: click.Context, version: str) -> None:
    """Make a version live, whatever the gate said. Users' slates are composed on request until the next `run hourly`."""
    from tastemaker.registry.live import promote as flip

    with opened(context) as (storage, _):
        live = flip(storage, version, int(time.time() * 1000))
    console.print(f"live: [bold]{live.version}[/] (before: {live.previous or 'none'})")


@models.command()
@click.pass_context
def rollback(context: click.Context) -> None:
    """Make the version before the live one live again."""
    from tastemaker.registry.live import rollback as flip

    with opened(context) as (storage, _):
        live = flip(storage, int(time.time() * 1000))
    console.print(f"live: [bold]{live.version}[/] (before: {live.previous or 'none'})")


def card_of(storage: Storage, version: str) -> ModelCard:
    card = storage.tables.models.get(version)
    if card is None:
        raise NotFound(f"model version {version!r}: {did_you_mean(version, [c.version for c in storage.tables.models.all()])}")
    return card


def metric_names(first: str) -> list[str]:
    return list(dict.fromkeys((first, "recall@10", "hit_rate@10")))


def metrics_table(cards: list[ModelCard], names: list[str]) -> Table:
    """Models by metrics, each value with its interval; the best of a column is bold."""
    table = Table(Column("model", no_wrap=True), "state", *names, "coverage", "seconds", box=None, padding=(0, 1))
    best = {name: max((c.metrics[name].value for c in cards if name in c.metrics), default=0.0) for name in names}
    for card in cards:
        cells = []
        for name in names:
            found = card.metrics.get(name)
            text = shown(found) if found else "–"
            cells.append(f"[bold]{text}[/]" if found and found.value == best[name] else text)
        covered = f"{card.metrics['coverage@10'].value:.3f}" if "coverage@10" in card.metrics else "–"
        table.add_row(card.version, card.state, *cells, covered, f"{card.seconds:.1f}")
    return table


def shown(value: Interval) -> str:
    if value.low != value.low:
        return f"{value.value:.4f}"
    return f"{value.value:.4f} [dim]{value.low:.3f}–{value.high:.3f}[/dim]"


def print_verdict(verdict: Verdict) -> None:
    """The gate's answer, check by check."""
    head = "[green]the gate is open[/]" if verdict.passed else "[red]the gate is closed[/]"
    console.print(f"{head} for {verdict.model} (live: {verdict.live or 'nothing yet'})")
    for check in verdict.checks:
        mark = "[green]✓[/]" if check.passed else "[red]✗[/]"
        console.print(f"  {mark} {check.name}: {escape(check.message)}", soft_wrap=True)
