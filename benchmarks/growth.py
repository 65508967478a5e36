"""What training and recommending cost as data grows a hundredfold: time, memory, and the law by which they grow.

    python -m benchmarks.growth [--quick] [--folder FOLDER]

The data is MovieLens-1M as it is and expanded (``benchmarks/fractal.py``) to ten and a hundred million interactions, to about
the users and items of MovieLens-10M and of the Netflix prize. Models read it from files (``models/mapped.py``). Each model at
each size runs in a process of its own, so that its peak memory is its own; kernels are compiled before anything is measured.

Memory has a bound that is known before the run, and a run above it fails (see ``bound``). It is asked of two numbers: of the peak
of resident memory, in which pages of the files count although the system may drop them, and of the memory that only the
process itself can give back. Time has a bound, too: als may take 1.2 times the CPU time of the smallest set for each interaction;
item_knn twice its time for each pair of interactions of the same user, of which there are more where users differ more, and which
cost more when the sums by item leave the processor's first cache.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.fractal import expand
from benchmarks.growth_chart import draw
from benchmarks.report import machine, write_section
from tastemaker.models import create
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.mapped import BYTES, MappedWriter, open_histories

CHECKOUT = Path(__file__).resolve().parent.parent
SIZES = ((1, 1, 0), (12, 3, 10_000_000), (80, 5, 100_000_000))  # times the users, times the items, interactions
TINY = ((1, 1, 0), (4, 2, 60_000))
FACTORS = 64
MODELS: dict[str, dict[str, Any]] = {"als": {"factors": FACTORS}, "item_knn": {}}
K, ASKED, BLOCK = 20, 16_384, 1024  # items of a list, users who get one, users of a call
SOON = 2_000_000  # interactions below which the best of three trainings counts
SLOWER = {"als": 1.2, "item_knn": 2.0}  # times the CPU time of the smallest set for each unit of work
SPARE = 256 * 2**20  # bytes for blocks, BLAS and threads: the same at every size


@dataclass(frozen=True)
class Point:
    """A model at a size. Bytes are peaks, ``before`` those of the process with compiled kernels and no data."""

    model: str
    interactions: int
    users: int
    items: int
    pairs: int  # of interactions of the same user: the sum of the squares of the histories' lengths
    seconds: float  # of training
    cpu: float  # seconds of all cores meanwhile
    users_per_second: float
    resident: int
    own: int
    resident_before: int
    own_before: int


def bound(model: str, users: int, items: int) -> int:
    """Bytes that a model needs of its own while it learns, beside ``SPARE``. Nothing in it grows with the interactions.

    als: a row of either side has its vector in float32, and twice that again where it is rotated or begins as a random one:
    12 bytes a factor. item_knn: an item has 200 neighbours and similarities, 8 bytes each, and while lists are put together and
    cut they are there three times more. 256 bytes a row are for its name, sums, ridges and places.
    """
    if model == "als":
        return (users + items) * (12 * FACTORS + 256)
    return items * 200 * 8 * 4 + (users + items) * 256


def base_set(quick: bool) -> tuple[Histories, int]:
    """MovieLens-1M, or a few thousand made-up events."""
    if quick:
        random = np.random.default_rng(0)
        rows, items = np.sort(random.integers(0, 500, 12_000)), (300 * random.random(12_000) ** 2).astype(np.int32)
        return Histories.grouped(rows, items, np.ones(12_000, np.float32), random.integers(0, 1000, 12_000), 500), 300
    from benchmarks.model_data import movielens  # here, since the quick run needs no data set

    data, _ = movielens()
    return data.histories, len(data.items)


def write(folder: Path, size: tuple[int, int, int], quick: bool) -> int:
    """A data set of a size in a folder; returns its items."""
    rows, items = base_set(quick)
    if size[2]:
        return expand(folder, rows, items, size[:2], size[2])
    with MappedWriter(folder) as writer:
        writer.append(rows.lengths, rows.items, rows.weights, rows.times)
    return items


def training_set(rows: Histories, items: int) -> Interactions:
    return Interactions(tuple(map(str, range(len(rows)))), Vocabulary(tuple(map(str, range(items)))), rows)


def measure(model: str, folder: Path, items: int) -> Point:
    """Trains and asks in this process."""
    with tempfile.TemporaryDirectory() as place:
        write(Path(place) / "set", TINY[0], True)
        small = training_set(open_histories(Path(place) / "set"), 300)
        create(model, MODELS[model]).fit(small).recommend(small.histories, K)
    before = resident(), own_memory()
    rows = open_histories(folder, scratch=folder.parent)
    data, seconds = training_set(rows, items), []
    pairs = int((rows.lengths**2).sum())
    with watched() as peak:
        for _ in range(3 if len(rows.items) < SOON else 1):
            began = time.perf_counter(), time.process_time()
            learnt = create(model, MODELS[model]).fit(data)
            seconds.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        speed = asked(learnt, rows)
    return Point(
        model,
        len(rows.items),
        len(rows),
        items,
        pairs,
        *min(seconds, key=lambda pair: pair[1]),
        speed,
        resident(),
        peak[0],
        *before,
    )


def asked(model: Any, rows: Histories) -> float:
    """Users who get a list in a second."""
    chosen = np.sort(np.random.default_rng(0).choice(len(rows), min(ASKED, len(rows)), replace=False))
    began = time.perf_counter()
    for start in range(0, len(chosen), BLOCK):
        model.recommend(rows.take(chosen[start : start + BLOCK]), K)
    return len(chosen) / (time.perf_counter() - began)


def resident() -> int:
    """The peak of resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def own_memory() -> int:
    """Memory that belongs to no file, in bytes, now."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


@contextmanager
def watched() -> Iterator[list[int]]:
    """Looks at ``own_memory`` every 20 ms; the list's one number is its peak."""
    peak, done = [own_memory()], threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], own_memory())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def alone(*arguments: str) -> Any:
    """Runs a part of this benchmark in a process of its own; returns what it printed last."""
    command = [sys.executable, "-m", "benchmarks.growth", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
    return json.loads(done.stdout.splitlines()[-1])


def faults(points: list[Point]) -> list[str]:
    """What is above its bound."""
    found = []
    for point in points:
        allowed = bound(point.model, point.users, point.items) + SPARE
        files = 2 * BYTES * point.interactions
        for name, used, most in (
            ("of its own", point.own - point.own_before, allowed),
            ("resident", point.resident - point.resident_before, allowed + files),
        ):
            if used > most:
                found.append(
                    f"{point.model}, {point.interactions:,} interactions: {used / 1e6:,.0f} MB {name}, bound {most / 1e6:,.0f}"
                )
    return found


def work(point: Point) -> int:
    """What the time of a training is in proportion to."""
    return point.pairs if point.model == "item_knn" else point.interactions


def too_slow(points: list[Point]) -> list[str]:
    """Trainings that take too long for their work beside that of the smallest set."""
    found = []
    for model in MODELS:
        first, *others = [point for point in points if point.model == model]
        for point in others:
            times, more = point.cpu / first.cpu, work(point) / work(first)
            if times > SLOWER[model] * more:
                found.append(f"{model}: {more:.0f} times the work took {times:.0f} times the CPU seconds to train")
    return found


def exponent(points: list[Point]) -> float:
    """The power of the interactions by which the CPU time of training grows: the slope of the logarithms."""
    sizes, seconds = np.log([point.interactions for point in points]), np.log([point.cpu for point in points])
    return float(np.polyfit(sizes, seconds, 1)[0])


def table(points: list[Point]) -> str:
    heads = ["model", "interactions", "users", "items", "training", "CPU", "CPU µs each", "ns a pair", "users/s"]
    heads += ["own peak", "bound", "resident peak", "bound"]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for point in points:
        allowed = bound(point.model, point.users, point.items) + SPARE
        cells = (
            *(point.model, f"{point.interactions:,}", f"{point.users:,}", f"{point.items:,}"),
            *(f"{point.seconds:,.1f} s", f"{point.cpu:,.1f} s"),
            *(f"{point.cpu / point.interactions * 1e6:.2f}", f"{point.cpu / point.pairs * 1e9:.2f}"),
            f"{point.users_per_second:,.0f}",
            *(f"{(point.own - point.own_before) / 1e6:,.0f} MB", f"{allowed / 1e6:,.0f}"),
            f"{(point.resident - point.resident_before) / 1e6:,.0f} MB",
            f"{(allowed + 2 * BYTES * point.interactions) / 1e6:,.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def laws(points: list[Point]) -> str:
    """The law of each model in words, over two sizes or more."""
    if len(points) <= len(MODELS):
        return "there is one size"
    return ", ".join(
        f"{model} by the power {exponent([point for point in points if point.model == model]):.2f}" for model in MODELS
    )


@click.command()
@click.option("--quick", is_flag=True, help="Two tiny sets, to see that it works; writes nothing.")
@click.option("--sizes", "most", default=len(SIZES), help="Only so many sizes, from the smallest; fewer than all write nothing.")
@click.option("--folder", type=click.Path(file_okay=False), help="Where the sets are written for the time of the run.")
@click.option("--write", "to_write", nargs=3, type=(str, int, str), hidden=True)
@click.option("--one", nargs=3, type=(str, str, int), hidden=True)
def main(
    quick: bool, most: int, folder: str | None, to_write: tuple[str, int, str] | None, one: tuple[str, str, int] | None
) -> None:
    """Measure how time and memory grow with the data."""
    sizes = (TINY if quick else SIZES)[:most]
    if to_write:
        print(json.dumps(write(Path(to_write[0]), sizes[to_write[1]], quick)))
        return
    if one:
        print(json.dumps(asdict(measure(one[0], Path(one[1]), one[2]))))
        return
    points, written = [], []
    with tempfile.TemporaryDirectory(dir=folder) as home:
        for number in range(len(sizes)):
            place, began = Path(home) / f"set-{number}", time.perf_counter()
            items = alone("--write", str(place), str(number), "-", *(["--quick"] if quick else []))
            written.append(time.perf_counter() - began)
            for model in MODELS:
                points.append(Point(**alone("--one", model, str(place), str(items))))
                print(points[-1], file=sys.stderr)
    points.sort(key=lambda point: list(MODELS).index(point.model))
    text = (
        f"{table(points)}\n\nCPU time grows: {laws(points)}. The sets were written in "
        f"{', '.join(f'{seconds:.0f} s' for seconds in written)}. Load at the end {os.getloadavg()[0]:.1f}. {machine()}"
    )
    wrong = faults(points) + ([] if quick else too_slow(points))
    text = "\n\n".join([text, *(f"**Above its bound.** {fault}." for fault in wrong)])
    print(text)
    if not quick and len(sizes) == len(SIZES):
        draw(CHECKOUT / "benchmarks" / "report" / "growth.svg", [asdict(point) for point in points])
        write_section("growth", text)
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
