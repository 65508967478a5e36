"""``tastemaker demo``: the loop, told as a story on real clicks."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import click
from msgspec.structs import replace
from rich.markup import escape
from rich.table import Table

from tastemaker.cli.models import metric_names, metrics_table, print_verdict
from tastemaker.cli.session import bar, configuration, console, steps, told
from tastemaker.config import Config
from tastemaker.domain import Run
from tastemaker.errors import NotFound
from tastemaker.storage import Storage, connect

DATASET = "ml-100k"
USER = "42"
SHOWN = 5
PATIENCE = 10.0  # seconds to wait for the click's effect


@click.command()
@click.option("--exit", "leave", is_flag=True, help="End after the story instead of serving on.")
@click.option("--dataset", default=DATASET, show_default=True, help="ml-100k, ml-latest-small or ml-1m.")
@click.option("--user", default=USER, show_default=True, help="The user whose recommendations are shown.")
@click.pass_context
def demo(context: click.Context, leave: bool, dataset: str, user: str) -> None:
    """Import real clicks, train and judge models, serve, click, and see what changes."""
    from tastemaker.cli.demo_experiment import experiment_and_truth
    from tastemaker.cli.up import platform
    from tastemaker.serving.server import serving

    config = settled(configuration(context), dataset)
    with connect(config) as storage:
        bring_data(storage, dataset)
        run = train(storage, config)
        judge(storage, config, run)
        title(4, "Answers", "The API serves; a worker beside it applies every event as it comes.")
        with platform(storage, config, schedule=not leave) as (app, worker):
            with bar("user states from the log") as show:
                total = worker.lag() or 1
                while (left := worker.lag()) > 0:
                    show(total - left, total)
                    time.sleep(0.05)
                show(total, total)
            with serving(app, config) as base:
                console.print(f"   {base} is up; every answer names its model, its reasons and how old it is.\n")
                before = ask(base, user)
                show_answer(before, f"For user {user}:")
                click_and_see(base, user, before)
                title(6, "An experiment", "Judged while it runs, and then held against the truth.")
                experiment_and_truth(config)
                farewell(base, leave)
                while not leave:
                    time.sleep(3600)


def settled(config: Config, dataset: str) -> Config:
    """The user's configuration, with stores of the demo's own and any free port if the usual one is taken."""
    connect_ = replace(config.connect, home=f"{config.connect.home}/demo-{dataset}")
    return replace(config, connect=connect_, serving=replace(config.serving, port=free_port(config)))


def free_port(config: Config) -> int:
    import socket

    with socket.socket() as probe:
        try:
            probe.bind((config.serving.host, config.serving.port))
        except OSError:
            return 0
    return config.serving.port


def title(number: int, text: str, more: str) -> None:
    console.print(f"\n[bold cyan]{number}. {text}[/]  [dim]{more}[/]")


def bring_data(storage: Storage, dataset: str) -> None:
    """Act one: events."""
    from tastemaker.pipelines import datasets, imports
    from tastemaker.pipelines.datasets.fetching import fetch

    title(1, "Events", f"Real clicks ({dataset}) go into the log, which keeps them for good, and on into the lake.")
    if datasets.find(dataset) is None:
        with bar(f"fetching {dataset}") as show:
            fetch(dataset, told(show))
    data = datasets.load(dataset)
    if (terms := datasets.first_time(dataset)) is not None:
        console.print(f"[dim]{terms}[/]")
    with bar("importing") as show:
        reports = imports.import_dataset(storage, data, told(show))
    for what, report in reports.items():
        kept = f", {report.skipped:,} were there already" if report.skipped else ""
        console.print(f"   {report.imported:>9,} {what} in {report.seconds:.1f} s{kept}; {report.quarantined} refused")


def train(storage: Storage, config: Config) -> Run:
    """Act two: the daily pipeline."""
    from tastemaker.pipelines.catalog import pipeline
    from tastemaker.pipelines.local import run_pipeline

    daily = pipeline("daily")
    title(2, "The daily pipeline", " ▸ ".join(step.name for step in daily.steps))
    with steps() as watch:
        return run_pipeline(storage, config, daily, watch=watch)


def judge(storage: Storage, config: Config, run: Run) -> None:
    """Act three: is it any good?"""
    facts = run.steps["evaluate"]["summary"]
    title(
        3,
        "The verdict",
        f"Models learnt from the oldest {100 - 100 * config.evaluate.test_fraction:.0f} % of time and were asked about the rest: "
        f"{facts['users']} users, every item ranked, 95 % intervals over users.",
    )
    cards = [card for version in run.steps["train"]["summary"]["models"] if (card := storage.tables.models.get(version))]
    cards.sort(key=lambda card: -card.metrics[config.evaluate.metric].value)
    console.print(metrics_table(cards, metric_names(config.evaluate.metric)))
    chosen = storage.tables.models.get(run.steps["gate"]["summary"]["version"])
    if chosen is not None and chosen.verdict is not None:
        print_verdict(chosen.verdict)
    published = run.steps["publish"]
    if published["state"] == "done":
        summary = published["summary"]
        console.print(f"   published: {summary['version']}, slates for {summary['users']:,} users, then one pointer flipped")


def call(method: str, url: str, body: Any = None) -> Any:
    """One request to the API."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise NotFound(f"{method} {url}: {error.code} {error.read().decode()}") from None


def ask(base: str, user: str) -> Any:
    return call("GET", f"{base}/v1/users/{urllib.parse.quote(user, safe='')}/recommendations?k={SHOWN}")


def show_answer(answer: Any, text: str) -> None:
    table = Table(box=None, padding=(0, 2, 0, 3), show_header=False)
    for place, item in enumerate(answer["items"], 1):
        reasons = item.get("reasons") or [{}]
        table.add_row(
            str(place),
            f"[bold]{escape(item['title'])}[/]",
            f"[dim]{item['score']:.3f} {item['source']}[/]",
            escape(reasons[0].get("text", "")),
        )
    console.print(f"   {text}  [dim]model {answer['model']}, rung {answer['rung']}, decision {answer['decision']}[/]")
    console.print(table)


def click_and_see(base: str, user: str, before: Any) -> None:
    """Act five: a click, and the milliseconds until it shows."""
    title(5, "A click", "The next answer leaves out what was consumed and knows what was liked.")
    first = before["items"][0]
    event = {
        "type": "interaction",
        "user": user,
        "item": first["item"],
        "kind": "rating",
        "value": 5,
        "decision": before["decision"],
        "position": 0,
    }
    began = time.perf_counter()
    call("POST", f"{base}/v1/events", event)
    durable = time.perf_counter()
    console.print(
        f"   POST /v1/events: {escape(first['title'])}, five stars   [dim]durable after {1000 * (durable - began):.1f} ms[/]"
    )
    while time.perf_counter() - durable < PATIENCE:
        after = ask(base, user)
        if all(item["item"] != first["item"] for item in after["items"]):
            break
    else:
        raise NotFound(f"the click on {first['item']} did not change the answer within {PATIENCE:.0f} s")
    changed = 1000 * (time.perf_counter() - durable)
    show_answer(after, f"[green]{changed:.1f} ms later[/]:")
    known = {item["item"] for item in before["items"]}
    new = [item["title"] for item in after["items"] if item["item"] not in known]
    console.print(f"   gone: {escape(first['title'])}; new: {escape(', '.join(new)) or 'nothing, the order changed'}")


def farewell(base: str, leave: bool) -> None:
    console.print(f"\n   docs     {base}/docs\n   metrics  {base}/metrics\n   health   {base}/ready")
    console.print(f"   try      curl '{base}/v1/users/7/recommendations?k=3'")
    if not leave:
        console.print("\n   Serving until Ctrl-C.")
