"""Benchmarks start, measure something, and are told of: figures that nobody can make again are worth nothing.

They run as anybody runs them, with servers of their own, over very little; what they print is not looked at for its size.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
README = CHECKOUT / "benchmarks" / "README.md"
PAGE = README.read_text("utf-8")
SOURCES = {path.stem: path.read_text("utf-8") for path in (CHECKOUT / "benchmarks").glob("*.py")}
NAMES = re.findall(r'"(\w+)"', SOURCES["__main__"].partition("NAMES = (")[2].partition(")")[0])


def test_every_benchmark_can_be_asked_for_by_name_and_is_told_of() -> None:
    introduced = set(re.findall(r"[a-z_]+", PAGE.partition("##")[0]))
    alone = {name for name, text in SOURCES.items() if '__name__ == "__main__"' in text} - {"__main__"}
    assert alone == set(NAMES)
    assert alone - introduced == set()


def test_every_section_that_a_benchmark_writes_has_its_place_in_the_report() -> None:
    written = {name for text in SOURCES.values() for name in re.findall(r'write_section\("([\w-]+)"', text)}
    assert {"publishing", "nearline"} < written
    for name in written:
        assert f"<!-- {name}:begin -->" in PAGE


def test_every_benchmark_can_be_loaded() -> None:
    code = "import importlib, sys; [importlib.import_module(f'benchmarks.{name}') for name in sys.argv[1:]]"
    done = subprocess.run([sys.executable, "-c", code, *NAMES], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["ingesting", "publishing", "models", "rates"])
def test_a_benchmark_runs_and_leaves_the_report_alone(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ") and re.search(r"\d", line)]
    assert rows, done.stdout
    assert "nan" not in done.stdout
    assert README.read_text("utf-8") == PAGE
