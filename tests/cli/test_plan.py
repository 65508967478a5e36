"""``tastemaker plan``: the tables, the JSON, errors that name the option, and the page that shows three plans."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import asdict, fields

from processes import command
from tastemaker.cli import app
from tastemaker.cli.plan import option_of
from tastemaker.pipelines.sizing.plan import plan
from tastemaker.pipelines.sizing.workload import Workload

DOCS = Path(__file__).resolve().parents[2] / "docs"
LOAD = ("plan", "--users", "30M", "--events-per-day", "300M")


def told(*arguments: str) -> str:
    """The output of a command that succeeds."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_the_tables_hold_every_figure_with_its_formula_and_where_rates_come_from(tmp_path: Path) -> None:
    done = command(tmp_path / "home", *LOAD)
    assert (done.code, done.err) == (0, "")
    assert not (tmp_path / "home").exists(), "a plan needs no stores"
    made = plan(Workload(users=3e7, events_per_day=3e8))
    assert done.out.startswith("What runs where\n")
    for section in made.sections:
        assert f"\n{section.title}\n" in done.out
    words = set(flat(done.out).split())
    for one in made.figures.values():
        assert one.name in flat(done.out)
        assert set(one.formula.split()) <= words, one.name
    for what, remedy in made.limits:
        assert set(f"{what} {remedy}".split()) <= words
    assert f"Rates: {made.rates.machine}; {made.rates.date}, load" in flat(done.out)
    assert "python -m benchmarks rates" in flat(done.out)
    assert max(map(len, done.out.splitlines())) <= 120, "as wide as a page"


def test_json_is_the_plan(tmp_path: Path) -> None:
    found: dict[str, Any] = json.loads(told(*LOAD, "--items", "2e5", "--headroom", "0", "--json"))
    made = plan(Workload(users=3e7, events_per_day=3e8, items=2e5, headroom=0.0))
    assert found["workload"] == asdict(made.work)
    figures = [one for section in found["sections"] for one in section["figures"]]
    assert {one["name"]: one["value"] for one in figures} == {name: one.value for name, one in made.figures.items()}
    assert all(set(one) == {"name", "value", "unit", "formula"} for one in figures)
    assert [one["limit"] for one in found["limits"]] == [what for what, _ in made.limits]
    assert [one["part"] for one in found["places"]] == [part for part, _ in made.places]
    assert found["rates"]["command"] == "python -m benchmarks rates"


def test_every_field_of_the_workload_is_an_option_with_its_sentence_and_default() -> None:
    text = flat(told("plan", "--help"))
    for info in fields(Workload):
        sentence: str = info.type.__metadata__[0].description
        assert f"{option_of(info.name)} NUMBER" in text
        assert sentence in text
    assert "[default: 100,000]" in text
    assert text.count("[required]") == 2


@pytest.mark.parametrize("field", [info.name for info in fields(Workload)])
def test_every_option_reaches_the_plan(field: str) -> None:
    value = {"active": "0.5", "headroom": "1", "memory": "2T", "window": "8"}.get(field, "7")
    load = dict(zip(LOAD[1::2], LOAD[2::2], strict=True)) | {option_of(field): value}
    found = json.loads(told("plan", *[word for pair in load.items() for word in pair], "--json"))
    assert found["workload"][field] == {"2T": 2e12}.get(value) or float(value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--users", "30X"], "--users = '30X': give a number, as 250000, 250k, 30M or 1.5G"),
        (["--users", "0"], "--users = '0': give a number from 1 to 1e+11"),
        (["--active", "2"], "--active = '2': give a number above 0 to 1"),
        (["--active", "0"], "--active = '0': give a number above 0 to 1"),
        (["--events-per-day", "-5"], "--events-per-day = '-5': give a number, as"),
        (["--window", "36"], "--window = '36': give a number above 0 to 24"),
        (["--memory", "16"], "--memory = '16': give a number from 1e+09 to 1e+14"),
    ],
)
def test_a_wrong_number_is_one_line_that_names_the_option(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = command(tmp_path / "home", *LOAD, *arguments)
    assert done.code == 1
    assert done.err.startswith(f"error: {words}")
    assert len(done.err.splitlines()) == 1
    assert done.out == ""


def test_a_load_without_its_two_numbers_is_asked_for_them(tmp_path: Path) -> None:
    done = command(tmp_path / "home", "plan", "--users", "3M")
    assert done.code == 2
    assert "Missing option '--events-per-day'" in done.err


def test_the_page_on_scale_shows_what_the_command_says(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("blocks", DOCS / "blocks.py")
    assert spec is not None
    assert spec.loader is not None
    blocks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(blocks)
    page = (DOCS / "design" / "scale.md").read_text("utf-8")
    shown = blocks.BLOCK.findall(page)
    assert [re.findall(r"--users (\S+)", arguments) for _, arguments, _, _ in shown] == [["1M"], ["30M"], ["300M"]]
    for _, arguments, output, _ in shown:
        assert output == blocks.answer(arguments), "run `python docs/blocks.py`"
        assert "x 3 peak" in output
    assert blocks.filled(page) == page
    assert blocks.filled(page.replace("x 3 peak =", "x 2 peak =")) == page, "what is wrong is mended"
