"""What every command needs: the configuration, open stores, a progress display."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from tastemaker.config import Config, load
from tastemaker.pipelines.local import Watch
from tastemaker.storage import Storage, connect

console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 120)


def configuration(context: click.Context) -> Config:
    """The configuration that the command was given."""
    return load(context.find_root().obj)[0]


@contextmanager
def opened(context: click.Context) -> Iterator[tuple[Storage, Config]]:
    """The stores, closed at the end whatever happens."""
    config = configuration(context)
    with connect(config) as storage:
        yield storage, config


@contextmanager
def bar(text: str, quiet: bool = False) -> Iterator[Bar]:
    """One progress bar."""
    with display(quiet) as progress:
        task = progress.add_task(text, total=None, note="")
        yield Bar(progress, task)
        if progress.tasks[0].total is None:  # nobody knew how long it would be; now it is done
            progress.update(task, total=1, completed=1)


class Bar:
    """Takes (done, all, a word) and shows it."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task = progress, task

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self.progress.update(self.task, completed=done, total=total or None, note=note)


def told(show: Bar) -> Callable[[str, int, int], None]:
    """A bar for those who report (what, done, all)."""
    return lambda what, done, total: show(done, total, what)


@contextmanager
def steps(quiet: bool = False) -> Iterator[Watch]:
    """A bar for each step of a pipeline, in the order in which they start."""
    with display(quiet) as progress:
        tasks: dict[str, TaskID] = {}

        def watch(step: str, done: int, total: int, note: str) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(f"{step:<9}", total=None, note="")
            progress.update(tasks[step], completed=done, total=max(total, 1), note=note)

        yield watch


def display(quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
        disable=quiet,
    )
