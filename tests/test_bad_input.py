"""Every row of ``docs/bad-input.md``, tried on a real server or with the real command: the page is the oracle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bad_input import by_command, of_experiments, over_http
from bad_input.world import World, served
from tastemaker.config import Config
from tastemaker.storage import Storage

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "bad-input.md").read_text("utf-8")
ROW = re.compile(r"^\| (?P<id>[a-z-]+) \| .+ \| (?P<status>\d+) \| `+ ?(?P<message>.+?) ?`+ \| (?P<kept>\w+) \|$", re.MULTILINE)
ROWS = {row["id"]: row for row in ROW.finditer(PAGE)}
WRONG = over_http.WRONG | by_command.WRONG | of_experiments.WRONG
BEFORE = over_http.BEFORE | by_command.BEFORE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Config, Storage]]:
    with served(tmp_path_factory.mktemp("served") / "home") as found:
        yield found


@pytest.fixture
def world(server: tuple[str, Config, Storage], tmp_path: Path) -> World:
    return World(*server, tmp_path)


def word(before: tuple[int, int], after: tuple[int, int]) -> str:
    """What was kept, in the page's word."""
    taken, refused = after[0] > before[0], after[1] > before[1]
    return {(False, False): "nothing", (False, True): "quarantine", (True, True): "good", (True, False): "decision"}[
        taken, refused
    ]


def test_the_page_and_the_tests_have_the_same_rows() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| id |", "| --- |"))]
    assert len(lines) == len(ROWS) >= 25
    assert set(ROWS) == set(WRONG)


@pytest.mark.parametrize("name", ROWS)
def test_bad_input_gets_what_the_page_promises(name: str, world: World) -> None:
    row = ROWS[name]
    if name in BEFORE:
        assert BEFORE[name](world).status in (0, 202)
    before = world.kept()
    found = WRONG[name](world)
    assert found.status == int(row["status"]), found.text
    assert row["message"] in found.text
    assert word(before, world.kept()) == row["kept"]


def test_a_password_is_in_no_message(world: World) -> None:
    assert "secret" not in WRONG["unknown-scheme"](world).text
