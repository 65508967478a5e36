"""What was measured, kept as it was measured; and how often anybody looked at a test part.

``report/models.json`` holds a result for each data set and model, so that a run that was stopped goes on where it was. A
result counts only for the settings, machine and library versions that made it.

``report/looks.json`` counts every evaluation on a test part by this benchmark, by data set, model and commit; the seeds of a
model are one look, since only their mean is read. Choosing a setting by such a figure makes the figure too good, and the more
looks, the more.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from tastemaker.domain import Interval

FOLDER = Path(__file__).with_name("report")
CHECKOUT = Path(__file__).resolve().parents[1]
Looks = dict[str, dict[str, dict[str, int]]]  # data set -> model -> commit -> times


class Result(msgspec.Struct, frozen=True):
    """One model on one data set."""

    dataset: str
    name: str
    by: str
    params: dict[str, Any]
    recall: Interval  # over users, of each user's mean over the seeds
    ndcg: Interval
    coverage: float  # share of the catalogue that anybody got, mean over seeds
    seeds: tuple[int, ...]  # one for each training
    fit: tuple[float, ...]  # wall seconds of each training
    fit_cpu: tuple[float, ...]  # CPU seconds of all threads
    users_per_second: float  # the best call of a few
    peak_mb: float  # of the process, data and libraries included
    start_mb: float  # the same before the first training
    load: float  # of the machine when it began; above 0 others were at work
    machine: str
    versions: str
    commit: str
    date: str

    @property
    def key(self) -> tuple[str, str]:
        return self.dataset, self.name

    def counts_for(self, params: dict[str, Any], machine: str, versions: str) -> bool:
        return (self.params, self.machine, self.versions) == (params, machine, versions)


def commit() -> str:
    """The commit that is measured, with a plus sign where models or benchmarks differ from it."""
    asked = ["git", "rev-parse", "--short=7", "HEAD"]
    head = subprocess.run(asked, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if head.returncode:
        return "no git checkout"
    asked = ["git", "status", "--porcelain", "--", "src", "benchmarks/*.py"]
    changes = subprocess.run(asked, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")


def load_results(folder: Path = FOLDER) -> dict[tuple[str, str], Result]:
    path = folder / "models.json"
    if not path.exists():
        return {}
    return {result.key: result for result in msgspec.json.decode(path.read_bytes(), type=list[Result])}


def keep_result(result: Result, folder: Path = FOLDER) -> None:
    """Adds a result, or puts it in the place of an older one."""
    results = load_results(folder) | {result.key: result}
    ordered = [results[key] for key in sorted(results)]
    write(folder / "models.json", msgspec.json.format(msgspec.json.encode(ordered), indent=1).decode())


def load_looks(folder: Path = FOLDER) -> Looks:
    path = folder / "looks.json"
    if not path.exists():
        return {}
    looks: Looks = json.loads(path.read_text("utf-8"))
    return looks


def count_look(dataset: str, name: str, at: str, folder: Path = FOLDER) -> None:
    """To be called before the figures are known: a look that ends in an error may have been one."""
    looks = load_looks(folder)
    models = looks.setdefault(dataset, {})
    models[name] = models.get(name, {}) | {at: models.get(name, {}).get(at, 0) + 1}
    write(folder / "looks.json", json.dumps(looks, indent=1, sort_keys=True))


def looks_by_model(looks: Looks) -> dict[str, dict[str, int]]:
    """Data set to model to times, all commits together.

    >>> looks_by_model({"ml-1m": {"als": {"a1b2c3d": 2, "b2c3d4e": 1}}})
    {'ml-1m': {'als': 3}}
    """
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for dataset, models in looks.items():
        for name, commits in models.items():
            found[dataset][name] = sum(commits.values())
    return dict(found)


def write(path: Path, text: str) -> None:
    """As a whole or not at all, also where the process is stopped meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.new")
    beside.write_text(text + "\n", "utf-8")
    beside.replace(path)
