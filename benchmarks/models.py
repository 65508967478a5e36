"""Quality and cost of the models, beside those of implicit and irspack, on four public data sets.

    python -m benchmarks.models [--sets gowalla,ml-1m] [--models "als,implicit als 64"] [--again] [--quick]
    python -m benchmarks.models --part validation --sets ml-1m --models ease     to choose settings; keeps nothing
    python -m benchmarks.models --report                                         writes the page again, measures nothing

What is measured, and how: ``model_data.py`` has the protocols, ``model_list.py`` the models with their settings,
``model_peers.py`` the peers. Each model runs in a process of its own, so that its peak memory is its own; kernels are compiled
before the clock starts. A model that depends on its seed is trained with three. One that does not is trained up to three
times too, for the clock, unless that takes long. Speed is that of the best 20 items for all training users, their own left out.

Results are kept as they come (``model_results.py``): a run that was stopped goes on where it was. ``--again`` measures anew.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.model_data import PROTOCOLS, SETS, available, gowalla, movielens, quick, split_of
from benchmarks.model_list import ALL, CANDIDATES, Candidate
from benchmarks.model_peers import OURS, RUNNERS, Runner, missing
from benchmarks.model_report import table, write_page
from benchmarks.model_results import CHECKOUT, FOLDER, Result, commit, count_look, keep_result, load_looks, load_results
from benchmarks.report import machine, write_section
from tastemaker.evaluation.compare import interval
from tastemaker.evaluation.metrics import Doubles, beyond, evaluate_lists
from tastemaker.evaluation.splits import Split
from tastemaker.models.interactions import Ints, Longs

SEEDS = (0, 1, 2)
LISTED = 20  # items of a list whose making is timed
PATIENCE = 10.0  # seconds of training after which a model that needs no seeds is not trained once more
CALLS, ENOUGH = 5, 1.0  # calls for all users at most, and seconds after which there are no more

__all__ = ["gowalla", "main", "measure", "movielens"]


def measure(dataset: str, name: str, part: str = "test", folder: Path = FOLDER) -> Result:
    """Trains and asks one model in this process, which should be a fresh one. ``folder``: where looks are counted."""
    candidate, load = CANDIDATES[name], os.getloadavg()[0]
    warm_up(candidate)
    split = split_of(dataset, part)
    if part == "test":
        count_look(dataset, name, commit(), folder)
    runner = RUNNERS[candidate.by](candidate.kind, candidate.params)
    runner.prepare(split.train)
    users = np.flatnonzero(split.train.histories.lengths > 0)
    start = peak()
    fits: list[tuple[float, float]] = []
    lists: list[Ints] = []
    speeds: list[float] = []
    for seed in seeds_of(candidate, fits):
        fits.append(timed_fit(runner, seed))
        found, speed = timed_lists(runner, users)
        speeds.append(speed)
        if candidate.random or not lists:
            lists.append(found)
    most = peak()
    recall, ndcg, coverage = judge(split, users, lists, PROTOCOLS[dataset].k)
    return Result(
        dataset,
        name,
        candidate.by,
        candidate.params,
        interval(recall),
        interval(ndcg),
        coverage,
        seeds=SEEDS[: len(fits)],
        fit=tuple(wall for wall, _ in fits),
        fit_cpu=tuple(cpu for _, cpu in fits),
        users_per_second=max(speeds),
        peak_mb=most,
        start_mb=start,
        load=load,
        machine=machine_name(),
        versions=versions(candidate.by),
        commit=commit(),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )


def seeds_of(candidate: Candidate, fits: list[tuple[float, float]]) -> Iterator[int]:
    """Seeds to train with; ``fits`` grows meanwhile."""
    for seed in SEEDS:
        if candidate.random or sum(wall for wall, _ in fits) < PATIENCE:
            yield seed


def timed_fit(runner: Runner, seed: int) -> tuple[float, float]:
    """Wall and CPU seconds of a training."""
    wall, cpu = time.perf_counter(), time.process_time()
    runner.fit(seed)
    return time.perf_counter() - wall, time.process_time() - cpu


def timed_lists(runner: Runner, users: Longs) -> tuple[Ints, float]:
    """The lists of users, and users per second in the best of a few calls."""
    taken: list[float] = []
    while not taken or (len(taken) < CALLS and sum(taken) < ENOUGH):
        began = time.perf_counter()
        found = runner.top(users, LISTED)
        taken.append(time.perf_counter() - began)
    return found, len(users) / min(taken)


def judge(split: Split, users: Longs, lists: list[Ints], k: int) -> tuple[Doubles, Doubles, float]:
    """Recall and NDCG of each test user, (users,), and the coverage, each the mean over the seeds' lists."""
    place = np.searchsorted(users, split.users)
    recall, ndcg, coverage = [], [], []
    for found in lists:
        metrics = evaluate_lists(found[place], split.relevant, [k])
        recall.append(metrics[f"recall@{k}"])
        ndcg.append(metrics[f"ndcg@{k}"])
        coverage.append(beyond(found[place], split.popularity, len(split.train.items), [k])[f"coverage@{k}"])
    return np.mean(recall, axis=0), np.mean(ndcg, axis=0), float(np.mean(coverage))


def warm_up(candidate: Candidate) -> None:
    """Compiles kernels and starts threads: the same work on a few made-up people."""
    data = quick().train
    few = {name: 8 for name in ("factors", "n_components") if name in candidate.params}
    runner = RUNNERS[candidate.by](candidate.kind, candidate.params | few)
    runner.prepare(data)
    runner.fit(0)
    runner.top(np.flatnonzero(data.histories.lengths > 0), 5)


def peak() -> float:
    """The most memory that this process ever held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine_name() -> str:
    """Machine and interpreter, without the day."""
    return machine().partition(";")[0]


def versions(by: str) -> str:
    names = ("scipy", "numba") if by == OURS else ("scipy", by)
    return ", ".join(f"{name} {version(name)}" for name in names)


def measured_alone(dataset: str, name: str, part: str, folder: Path) -> Result:
    """The same in a fresh process. What it prints is shown only where it fails."""
    with tempfile.TemporaryDirectory() as own:
        path = Path(own, "result.json")
        command = [sys.executable, "-m", "benchmarks.models", "--one", dataset, name, "--part", part]
        command += ["--into", str(path), "--folder", str(folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=CHECKOUT)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or f"ended with {done.returncode}").splitlines()
            raise RuntimeError("\n".join(last[-6:]))
        return msgspec.json.decode(path.read_bytes(), type=Result)


def chosen(options: argparse.Namespace) -> tuple[list[tuple[str, Candidate]], list[str]]:
    """What is to be measured, and why the rest is not."""
    sets = options.sets.split(",")
    names = [name.strip() for name in options.models.split(",")] if options.models else [one.name for one in ALL]
    unknown = [name for name in names if name not in CANDIDATES] + [name for name in sets if name not in PROTOCOLS]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; sets: {', '.join(SETS)}; models: {', '.join(CANDIDATES)}")
    wanted, skipped = [], []
    for dataset in sets:
        if reason := available(dataset):
            skipped.append(f"{dataset}: {reason}")
            continue
        for candidate in map(CANDIDATES.__getitem__, names):
            if dataset not in candidate.sets and dataset != "quick":
                continue
            if reason := missing(candidate.by, candidate.kind):
                skipped.append(f"{candidate.name}: {reason}")
            else:
                wanted.append((dataset, candidate))
    return wanted, list(dict.fromkeys(skipped))


def run(options: argparse.Namespace) -> tuple[dict[tuple[str, str], Result], list[str], list[str]]:
    """Results of everything that was asked for, what was skipped, and what failed."""
    wanted, skipped = chosen(options)
    for reason in skipped:
        print(f"skipped: {reason}", flush=True)
    kept = {} if options.again or options.part != "test" else load_results(options.folder)
    results, failed = {}, []
    for number, (dataset, candidate) in enumerate(wanted, 1):
        head = f"{number} of {len(wanted)}  {dataset} · {candidate.name}"
        old = kept.get((dataset, candidate.name))
        if old and old.counts_for(candidate.params, machine_name(), versions(candidate.by)):
            results[old.key] = old
            print(f"{head}: kept from {old.date}, commit {old.commit}", flush=True)
            continue
        try:
            result = measured_alone(dataset, candidate.name, options.part, options.folder)
        except RuntimeError as error:
            failed.append(f"{dataset} · {candidate.name}: {error}")
            print(f"{head}: FAILED\n{error}", flush=True)
            continue
        results[result.key] = result
        if options.part == "test":
            keep_result(result, options.folder)
        print(
            f"{head}: NDCG {result.ndcg.value:.4f}, trained in {min(result.fit):.2f} s, {result.users_per_second:,.0f} users/s",
            flush=True,
        )
    return results, skipped, failed


def publish(skipped: list[str], folder: Path) -> None:
    """The page, and the table of the README, from all results that are kept."""
    results = list(load_results(folder).values())
    write_page(folder / "models.html", results, load_looks(folder), skipped)
    print(f"wrote {folder / 'models.html'}")
    if folder == FOLDER:
        write_section("models", table(results, load_looks(folder)))


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Quality and cost of the models beside peers.")
    parser.add_argument("--sets", default=",".join(SETS), help="data sets, separated by commas")
    parser.add_argument("--models", help="models, separated by commas; without, all of them")
    parser.add_argument("--part", choices=("test", "validation"), default="test", help="validation: to choose settings by")
    parser.add_argument("--again", action="store_true", help="measure also what is kept from an earlier run")
    parser.add_argument("--quick", action="store_true", help="a made-up world and few models, to see that it works")
    parser.add_argument("--report", action="store_true", help="write the page again from what is kept")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where results, looks and the page are kept")
    parser.add_argument("--one", nargs=2, metavar=("SET", "MODEL"), help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.sets, options.models = "quick", ",".join(one.name for one in ALL if one.quick)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_of(arguments)
    if options.one:
        dataset, name = options.one
        options.into.write_bytes(msgspec.json.encode(measure(dataset, name, options.part, options.folder)))
    elif options.report:
        publish(chosen(options)[1], options.folder)
    elif options.quick and options.folder == FOLDER:
        with tempfile.TemporaryDirectory() as folder:
            options.folder = Path(folder)
            run_and_tell(options)
    else:
        run_and_tell(options)


def run_and_tell(options: argparse.Namespace) -> None:
    """Measures, prints the table of what was asked for, and writes the report of all that is kept."""
    try:
        results, skipped, failed = run(options)
    except KeyboardInterrupt:
        sys.exit("stopped; what was measured is kept, run it again to go on")
    print(table(list(results.values()), {}))
    if options.part == "test":
        publish(skipped, options.folder)
    if failed:
        sys.exit("failed: " + "\n".join(failed))


if __name__ == "__main__":
    main()
