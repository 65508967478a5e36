"""The growth benchmark: its bounds are asserted, what is above them is said, and it runs over very little."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.growth import MODELS, SPARE, Point, bound, exponent, faults, too_slow, watched
from benchmarks.growth_chart import draw

CHECKOUT = Path(__file__).resolve().parent.parent
REPORT = CHECKOUT / "benchmarks" / "report" / "growth.svg"
POINT = Point("als", 1_000_000, 6_000, 3_000, 4 * 10**8, 1.0, 2.0, 9_000.0, 2 * 10**8, 10**8, 10**8, 10**8)


def at(model: str, times: int, slower: float) -> Point:
    return replace(POINT, model=model, interactions=times * POINT.interactions, pairs=2 * times * POINT.pairs, cpu=slower)


def test_memory_above_its_bound_is_a_fault_of_its_own_or_with_the_files() -> None:
    allowed = bound("als", POINT.users, POINT.items) + SPARE
    assert faults([POINT, replace(POINT, own=POINT.own_before + allowed)]) == []
    assert "MB of its own, bound" in faults([replace(POINT, own=POINT.own_before + allowed + 1)])[0]
    files = 32 * POINT.interactions
    assert faults([replace(POINT, resident=POINT.resident_before + allowed + files)]) == []
    assert "MB resident, bound" in faults([replace(POINT, resident=POINT.resident_before + allowed + files + 1)])[0]


def test_the_bound_grows_with_users_and_items_and_not_with_interactions() -> None:
    assert bound("als", 10, 10) == 2 * bound("als", 5, 5)
    assert bound("item_knn", 0, 7) == 7 * (4 * 200 * 8 + 256)


def test_training_that_grows_faster_than_the_data_is_named() -> None:
    points = [at(model, times, float(times)) for model in MODELS for times in (1, 100)]
    assert too_slow(points) == []
    points[1] = at("als", 100, 121.0)
    assert too_slow(points) == ["als: 100 times the work took 121 times the CPU seconds to train"]
    points[1], points[3] = at("als", 100, 119.0), at("item_knn", 100, 199.0)
    assert too_slow(points) == []
    points[3] = at("item_knn", 100, 201.0)
    assert too_slow(points) == ["item_knn: 100 times the work took 201 times the CPU seconds to train"]


def test_the_law_of_growth_is_the_slope_of_the_logarithms() -> None:
    assert exponent([at("als", times, times**1.1) for times in (1, 10, 100)]) == pytest.approx(1.1)


def test_memory_that_was_given_back_counts() -> None:
    with watched() as peak:
        before = peak[0]
        array = np.ones(12_000_000)
        assert array.sum() > 0
        time.sleep(0.1)
        del array
    assert 90_000_000 < peak[0] - before < 150_000_000


def test_the_chart_is_the_same_from_the_same_points(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="charts are drawn by matplotlib, which is not installed")
    points = [vars(at(model, times, float(times))) for model in MODELS for times in (1, 10, 100)]
    for name in ("one", "two"):
        draw(tmp_path / name, points)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert b"interactions" in (tmp_path / "one").read_bytes()


def test_the_benchmark_runs_over_little_within_its_bounds_and_leaves_the_report_alone() -> None:
    readme = CHECKOUT / "benchmarks" / "README.md"
    before = readme.read_bytes(), REPORT.read_bytes() if REPORT.exists() else None
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", "--quick"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line for line in done.stdout.splitlines() if re.match(r"\| (als|item_knn) \| [\d,]+ ", line)]
    assert len(rows) == 4, done.stdout
    assert "nan" not in done.stdout
    assert (readme.read_bytes(), REPORT.read_bytes() if REPORT.exists() else None) == before
