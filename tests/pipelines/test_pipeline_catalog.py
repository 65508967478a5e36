"""The catalogue of pipelines: complete, in an order that works, and quick to load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tastemaker.errors import NotFound
from tastemaker.pipelines.catalog import PIPELINES, pipeline
from tastemaker.pipelines.pipeline import Step

STEPS = [(each.name, step) for each in PIPELINES.values() for step in each.steps]
HEAVY = {"numpy", "pyarrow", "ibis", "duckdb", "deltalake", "numba", "scipy", "sqlalchemy", "fastapi"}


def test_the_pipelines_have_the_steps_of_the_design_in_order() -> None:
    names = {name: [step.name for step in each.steps] for name, each in PIPELINES.items()}
    assert names == {
        "daily": ["ingest", "features", "train", "evaluate", "gate", "publish", "arms", "monitor"],
        "hourly": ["ingest", "freshen", "publish"],
        "evaluate": ["ingest", "monitor", "drift", "check"],
        "experiments": ["ingest", "experiments"],
        "maintain": ["compact", "retain", "vacuum"],
    }


@pytest.mark.parametrize(("name", "step"), STEPS, ids=[f"{name}-{step.name}" for name, step in STEPS])
def test_every_step_has_a_function_and_says_what_it_does(name: str, step: Step) -> None:
    assert callable(step.load())
    assert step.text.endswith(".")


def test_each_step_reads_only_summaries_of_steps_before_it() -> None:
    needs = {
        "features": {"ingest"},
        "train": {"ingest"},
        "evaluate": {"ingest", "train"},
        "gate": {"ingest", "evaluate"},
        "freshen": {"ingest"},
        "monitor": {"ingest"},
        "drift": {"ingest"},
    }
    for name, each in PIPELINES.items():
        done: set[str] = set()
        for step in each.steps:
            wanted = needs.get(step.name, set())
            if step.name == "publish":
                wanted = {"ingest", "gate"} if name == "daily" else {"ingest"}
            assert wanted <= done, (name, step.name)
            done.add(step.name)


def test_a_misspelt_pipeline_gets_a_hint() -> None:
    with pytest.raises(NotFound, match=r"pipeline 'dayly' does not exist; did you mean \"daily\"\?"):
        pipeline("dayly")


def test_the_catalogue_loads_nothing_heavy() -> None:
    code = "import sys, tastemaker.pipelines.catalog; print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()
