"""The process that holds Airflow, for the tests of this folder that ask for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
from airflow_process import Airflow


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Airflow in a process of its own, with a home of its own."""
    if importlib.util.find_spec("airflow") is None:
        pytest.skip("Airflow is not installed: pip install 'tastemaker[airflow]'")
    found = Airflow(tmp_path_factory.mktemp("airflow"))
    yield found
    found.stop()
