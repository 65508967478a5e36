"""Fixtures that any test may ask for: a configuration with a home of its own, open stores, and the folder of data sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tastemaker.config import Config, Connect, Serving
from tastemaker.storage import Storage, connect

CHECKOUT = Path(__file__).resolve().parent.parent


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
def data_folder() -> Path:
    """The folder of the data sets, which are no part of the project. Tests that ask for it carry the marker ``data``."""
    given = os.environ.get("TASTEMAKER_DATA")
    places = [Path(given)] if given else []
    places.append(CHECKOUT.parent / "shared" / "data")
    for place in places:
        if place.is_dir():
            return place
    pytest.skip(f"no data sets in {' or '.join(map(str, places))}; set TASTEMAKER_DATA to their folder")
