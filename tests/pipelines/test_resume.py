"""Runs that are killed in every step end like one that was not.

Everything is compared: artifacts to the byte, cards, metrics, slates, the live pointer and the folder of models. Only what
tells how long something took may differ.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

import forked
import world
from tastemaker.config import Config
from tastemaker.domain import Interaction, Run
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.registry import live
from tastemaker.storage import Storage, connect, keys

NOW = 1_769_860_800_123
LATER = NOW + 3_600_000
CLOCKED = {"seconds", "since", "began", "ended", "tries", "at"}


def without_clocks(value: Any) -> Any:
    """Plain values without what depends on how fast the machine is."""
    if isinstance(value, dict):
        checks = value.get("name") == "latency"
        return {k: without_clocks(v) for k, v in value.items() if k not in CLOCKED and not (checks and k in ("value", "message"))}
    return [without_clocks(each) for each in value] if isinstance(value, list | tuple) else value


def facts(run: Run) -> dict[str, Any]:
    """A run without what an interrupted step did before: rows that were archived already, versions of rewritten tables."""
    told = {name: step["summary"] for name, step in run.steps.items() if name not in ("ingest", "features")}
    states = {name: step["state"] for name, step in run.steps.items()}
    return {"id": run.id, "window": (run.start, run.end), "state": run.state, "steps": states, "told": without_clocks(told)}


def picture(config: Config) -> dict[str, Any]:
    """All that runs leave behind, comparable."""
    with connect(config) as storage:
        now = live.read(storage.kv)
        assert now is not None
        files = sorted(path for path in config.model_folder.rglob("*") if path.is_file())
        evaluations = storage.lake.read("evaluations")
        features = storage.lake.read("user_features")
        return {
            "live": without_clocks(msgspec.to_builtins(now)),
            "cards": [repr(without_clocks(msgspec.to_builtins(card))) for card in storage.tables.models.all()],
            "metrics": [repr(metric) for metric in storage.tables.metrics.history(limit=10_000)],
            "runs": [facts(run) for run in storage.tables.runs.last()],
            "slates": dict(storage.kv.scan("slate:")) | dict(storage.kv.scan("whole:")),
            "artifacts": {str(p.relative_to(config.model_folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
            "evaluations": sorted(map(repr, evaluations.to_pylist())),
            "features": sorted(repr({k: rounded(v) for k, v in row.items()}) for row in features.to_pylist()),
            "drafts": [path.name for path in config.model_folder.rglob(".*")],
        }


def rounded(value: Any) -> Any:
    """Sums of fractions depend in their last digit on how the engine shares the rows among its threads."""
    return float(f"{value:.10g}") if isinstance(value, float) else value


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name in wanted:
        assert found[name] == wanted[name], name


def more_events(storage: Storage) -> None:
    """News between the two runs."""
    events = [Interaction(f"more-{n}", world.BASE + 10**9 + n, world.user(n % 7), world.item(n), "click") for n in range(40)]
    storage.log.append(events).result()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world before its first run."""
    home = tmp_path_factory.mktemp("filled") / "home"
    with connect(world.config_of(home)) as storage:
        world.fill(storage, users=60, items=40, per_user=12)
    return home


@pytest.fixture(scope="module")
def whole(filled: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[str]]]:
    """What uninterrupted runs leave behind after daily and after hourly, and how often each step reported."""
    config = world.config_of(shutil.copytree(filled, filled.parent / "whole"))
    steps: dict[str, list[str]] = {"daily": [], "hourly": []}
    with connect(config) as storage:
        run_pipeline(storage, config, pipeline("daily"), now=NOW, watch=lambda *words: steps["daily"].append(words[0]))
    daily = picture(config)
    with connect(config) as storage:
        more_events(storage)
        run_pipeline(storage, config, pipeline("hourly"), now=LATER, watch=lambda *words: steps["hourly"].append(words[0]))
    return daily, picture(config), steps


def kill_everywhere(config: Config, name: str, now: int, steps: list[str]) -> int:
    """Kills runs at the first, second and last report of every step, each taking up the one before. Returns how many."""
    killed = 0
    for step, reports in Counter(steps).items():
        for call in sorted({0, min(1, reports - 2), reports - 2}):  # the very last report comes when the step is done
            process = forked.start(forked.run_until, config, name, now, step, call)
            assert forked.code_of(process) == -signal.SIGKILL, (step, call)
            with connect(config) as storage:
                run = storage.tables.runs.last(name, 1)[0]
                assert (run.state, run.steps[step]["state"]) == ("running", "running")
                if name == "daily" and step not in ("arms", "monitor"):
                    assert live.read(storage.kv) is None, "the pointer flips last"
            killed += 1
    return killed


@pytest.mark.slow
def test_runs_killed_in_every_step_end_like_those_that_were_not(
    filled: Path, whole: tuple[dict[str, Any], dict[str, Any], dict[str, list[str]]], tmp_path: Path
) -> None:
    after_daily, after_hourly, steps = whole
    config = world.config_of(shutil.copytree(filled, tmp_path / "killed"))
    assert kill_everywhere(config, "daily", NOW, steps["daily"]) >= 14
    with connect(config) as storage:
        assert run_pipeline(storage, config, pipeline("daily")).end == NOW
    assert_same(picture(config), after_daily)
    with connect(config) as storage:
        more_events(storage)
    assert kill_everywhere(config, "hourly", LATER, steps["hourly"]) >= 6
    with connect(config) as storage:
        run_pipeline(storage, config, pipeline("hourly"))
    assert_same(picture(config), after_hourly)


def kill_at_random(config: Config, rng: random.Random, longest: float, words: Path) -> int:
    """Begins a run up to eight times and kills it within ``longest`` seconds; returns how often it was killed."""
    killed = 0
    for _ in range(8):
        process = forked.start(forked.run_whole, config, "daily", NOW, words)
        process.join(rng.uniform(0.05, longest))
        process.kill()
        killed += forked.code_of(process) == -signal.SIGKILL
        with connect(config) as storage:
            found = storage.tables.runs.last("daily", 1)
            assert len(list(storage.kv.scan(keys.LIVE))) <= 1
        if found and found[0].state == "done":
            break
    return killed


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_runs_killed_at_random_moments_end_like_those_that_were_not(
    filled: Path, whole: tuple[dict[str, Any], dict[str, Any], dict[str, list[str]]], tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    killed, longest = 0, 1.5
    while not killed:  # on a fast machine the first run may be over before its moment comes: then sooner
        folder = tmp_path / f"killed-{longest}"
        config = world.config_of(shutil.copytree(filled, folder))
        killed = kill_at_random(config, rng, longest, tmp_path / "words")
        longest /= 2
    with connect(config) as storage:
        if storage.tables.runs.last("daily", 1)[0].state != "done":
            run_pipeline(storage, config, pipeline("daily"), now=NOW)
    assert_same(picture(config), whole[0])
