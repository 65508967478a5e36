"""How old the results of a running experiment are: from an event's acknowledgement until a result counts it.

    python -m benchmarks.experiments_stream [--quick] [--users N ...] [--seconds N]

``tastemaker up`` runs over a lake of an experiment's past, as ``benchmarks.experiments`` makes it, while new users come at a
steady rate: each is exposed, gets an answer and clicks on it. The log has acknowledged an event before the next one is sent. The
table of results is asked ten times a second for the newest result of the stream, whose units tell how many of these users it
counts. The figure is the time from the acknowledgement of a user's events to the moment in which a result with them can be read.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmarks.experiments import ANSWERS, ASKED, fill
from benchmarks.report import machine, write_section
from benchmarks.running import CORES, QUICK, running
from tastemaker.config import Config, Connect
from tastemaker.domain import AnyEvent, Decision, Exposure, Interaction
from tastemaker.experiments.reporting import decode
from tastemaker.storage import Storage, connect

BAR = 60.0  # seconds
RATE = 50  # users a second, three events each
PAUSE = 0.1  # seconds between questions
PATIENCE = 180.0


@dataclass
class Ages:
    """Users by the order in which they came: when each was acknowledged, and how long it took until a result counted them."""

    before: int  # units of the lake
    sent: list[float] = field(default_factory=list)
    found: list[float] = field(default_factory=list)
    results: set[int] = field(default_factory=set)

    def look(self, storage: Storage) -> None:
        """Reads the newest result."""
        newest = storage.tables.results.newest(ASKED.name, source="stream")
        if newest is None or newest.time in self.results:
            return
        self.results.add(newest.time)
        counted, now = sum(decode(newest.payload).units.values()) - self.before, time.monotonic()
        self.found += [now - began for began in self.sent[len(self.found) : counted]]


def user(number: int) -> list[AnyEvent]:
    """All that a user does."""
    now, name = int(time.time() * 1000), f"new-{number}"
    arm = ("control", "other")[number % 2]
    return [
        Exposure(f"x-{name}", now, ASKED.name, name, arm, reason="hashed"),
        Decision(f"d-{name}", now, name, arms={ASKED.name: arm}),
        Interaction(f"c-{name}", now, name, "i1", "click", decision=f"d-{name}"),
    ]


def come(storage: Storage, ages: Ages, seconds: float) -> None:
    """Users come for so long; then waits until all are counted. Raises ``TimeoutError``."""
    start = time.monotonic()
    asked = start
    while time.monotonic() < start + seconds or len(ages.found) < len(ages.sent):
        passed = time.monotonic() - start
        if passed > seconds + PATIENCE:
            raise TimeoutError(f"{len(ages.sent) - len(ages.found)} users are in no result after {PATIENCE} s")
        if len(ages.sent) < RATE * min(passed, seconds):
            storage.log.append(user(len(ages.sent))).result()
            ages.sent.append(time.monotonic())
        else:
            time.sleep(0.005)
        if time.monotonic() > asked + PAUSE:
            asked = time.monotonic()
            ages.look(storage)


def row(users: int, seconds: float) -> str:
    """Of one size of the lake."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config(connect=Connect(home=str(Path(folder) / "home")))
        with connect(config) as storage:
            fill(storage, users)
            storage.tables.experiments.put(ASKED)
            ages = Ages(users)
            with running(config.connect, "up", "--no-schedule", cores=set(CORES)):
                come(storage, ages, seconds)
    middle, longest = statistics.median(ages.found), max(ages.found)
    if longest > BAR:
        print(f"above the bar of {BAR:.0f} s: {longest:.1f} s")
    return (
        f"| {users:,} | {ANSWERS * users:,} | {len(ages.sent):,} | {len(ages.results)} | {middle:.1f} s | **{longest:.1f} s** |"
    )


@click.command()
@QUICK
@click.option("--users", "sizes", type=int, multiple=True, default=(10_000, 1_000_000), show_default=True)
@click.option("--seconds", default=60.0, show_default=True, help="How long users come.")
def main(quick: bool, sizes: Sequence[int], seconds: float) -> None:
    """Measure the age of an experiment's results."""
    sizes, seconds = ((500,), 5.0) if quick else (sizes, seconds)
    rows = [row(users, seconds) for users in sizes]
    text = (
        "| users in the lake | answers in the lake | users who came | results | age: median | age: longest |\n"
        "|---:|---:|---:|---:|---:|---:|\n" + "\n".join(rows) + f"\n\n{RATE} users a second come, three events each; one "
        f"experiment of two arms, three metrics. The bar is {BAR:.0f} s. Client and platform share the machine. {machine()}"
    )
    print(text)
    if not quick:
        write_section("experiments-stream", text)


if __name__ == "__main__":
    main()
