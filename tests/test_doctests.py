"""The examples in docstrings are right."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import tastemaker

ASIDE = {"tastemaker.__main__", "tastemaker.storage.tables.migrations.env"}  # run when they are imported
AIRFLOW = "tastemaker.pipelines.airflow."  # these modules import Airflow, which would set up logging and an ORM of its own
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tastemaker.__path__, "tastemaker.")
    if module.name not in ASIDE and not module.name.startswith(AIRFLOW)
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_right(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), verbose=False, report=True)
    assert failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = sum(bool(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name)))
    assert found > 20
