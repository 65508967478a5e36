"""Fixtures that any test may ask for: a configuration with a home of its own, open stores, a published world, data sets."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog

import world
from api import Api, api
from tastemaker.config import Config, Connect, Serving
from tastemaker.storage import Storage, connect

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from airflow_process import Airflow

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def unconfigured_logging() -> Iterator[None]:
    """A command that ran in this process has set up logging for the screen of its own test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def home(tmp_path: Path) -> Config:
    """The defaults, with every store in a folder of this test and a free port."""
    return Config(connect=Connect(home=str(tmp_path / "home")), serving=Serving(port=0))


@pytest.fixture
def storage(home: Config) -> Iterator[Storage]:
    """Open embedded stores, empty."""
    with connect(home) as opened:
        yield opened


@pytest.fixture(scope="session")
def published_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``world.published``, made once for all processes of this test run. Leave it as it is: copy it."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home, made = folder / "published", folder / "published.done"
    with (folder / "published.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(home, ignore_errors=True)
            world.published(home)
            made.touch()
    return home


@pytest.fixture
def published(published_home: Path, tmp_path: Path) -> Iterator[tuple[Storage, Config]]:
    """Open stores over a copy of the published world, and its configuration."""
    folder = shutil.copytree(published_home, tmp_path / "published")
    config = world.config_of(folder)
    with connect(config) as opened:
        yield opened, config


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server over empty stores for a whole module: for requests that are refused, or that leave nothing behind."""
    config = world.config_of(tmp_path_factory.mktemp("bare"))
    with connect(config) as opened, api(opened, config) as server:
        yield server


@pytest.fixture(scope="session")
def spark() -> SparkSession:
    """The Spark session that all tests of this process share; its configuration is ``spark_session.SPARK``."""
    import spark_session

    return spark_session.shared()


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Airflow in a process of its own, with a home of its own."""
    if importlib.util.find_spec("airflow") is None:
        pytest.skip("Airflow is not installed: pip install 'tastemaker[airflow]'")
    from airflow_process import Airflow

    found = Airflow(tmp_path_factory.mktemp("airflow"))
    yield found
    found.stop()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the data sets, which are no part of the project. Tests that ask for it carry the marker ``data``."""
    given = os.environ.get("TASTEMAKER_DATA")
    places = [Path(given)] if given else []
    places.append(CHECKOUT.parent / "shared" / "data")
    for place in places:
        if place.is_dir():
            return place
    pytest.skip(f"no data sets in {' or '.join(map(str, places))}; set TASTEMAKER_DATA to their folder")
