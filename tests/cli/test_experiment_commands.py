"""``tastemaker experiment``, run for real: from a draft to its end, from files and options, and wrong ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tastemaker.cli import app, main
from tastemaker.config import Config, Connect
from tastemaker.registry.experiments import running
from tastemaker.storage import connect, keys

CREATE = ("experiment", "create", "cards", "--arm", "control", "--arm", "diverse:0.5::diversity=0.3")


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASTEMAKER_CONNECT__HOME", f'"{tmp_path / "home"}"')
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(*arguments: str) -> str:
    """The output of a command that succeeds."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line that a command ends with, which fails."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code in (1, 2)
    return capsys.readouterr().err


def test_from_a_draft_to_its_end(inside: Path) -> None:
    assert told("experiment", "list") == "no experiments: tastemaker experiment create --help\n"
    assert told(*CREATE, "--coverage", "0.2") == "cards version 1 is written; start it: tastemaker experiment start cards\n"
    assert told("experiment", "start", "cards") == "cards version 1 runs, with 20% of its slice\n"
    assert told("experiment", "ramp", "cards", "0.5") == "cards: 50% of its slice take part\n"
    row = told("experiment", "list").splitlines()[1].split()
    assert row[:6] == ["cards", "1", "running", "ab", "control,", "diverse"]
    with connect(Config(connect=Connect(home=str(inside / "home")))) as storage:
        (one,) = running(storage.kv.get([keys.EXPERIMENTS])[0])
    assert (one.coverage, one.arms[1].settings) == (0.5, {"diversity": 0.3})
    assert told("experiment", "stop", "cards", "--outcome", "kept by Ann") == "cards version 1 is stopped\n"
    text = told("experiment", "show", "cards")
    assert "kept by Ann" in text
    assert "diverse 50% the live model diversity=0.3" in text
    assert told(*CREATE).startswith("cards version 2")


def test_what_is_shown_as_json_can_be_given_as_a_file(inside: Path) -> None:
    told(*CREATE, "--guardrail", "reward=0.02", "--force", "ann=diverse", "--slice", "0.25", "0.75", "--mde", "0.1")
    text = told("experiment", "show", "cards", "--json")
    (inside / "again.json").write_text(text, "utf-8")
    told("experiment", "create", "again", "--file", "again.json")
    first, second = json.loads(text), json.loads(told("experiment", "show", "again", "--json"))
    assert {**first, "name": "again", "made": second["made"]} == second
    assert second["guardrails"] == {"reward": 0.02}
    assert (second["start"], second["stop"], second["forced"], second["mde"]) == (0.25, 0.75, {"ann": "diverse"}, 0.1)


def test_a_toml_file_is_taken_and_options_overrule_it(inside: Path) -> None:
    (inside / "x.toml").write_text('name = "x"\ncoverage = 0.3\n[[arms]]\nname = "a"\n[[arms]]\nname = "b"\n', "utf-8")
    told("experiment", "create", "--file", "x.toml", "--coverage", "0.4", "--metric", "reward", "--metric", "ctr")
    (found,) = json.loads(told("experiment", "list", "--state", "draft", "--json"))
    assert (found["name"], found["coverage"], found["metrics"]) == ("x", 0.4, ["reward", "ctr"])


def test_arms_without_a_share_are_of_one_size() -> None:
    told("experiment", "create", "three", "--arm", "a", "--arm", "b:cap=3", "--arm", "c:diversity=0.1:cap=2")
    arms = json.loads(told("experiment", "show", "three", "--json"))["arms"]
    assert [arm["weight"] for arm in arms] == pytest.approx([1 / 3] * 3)
    assert [arm.get("settings") for arm in arms] == [None, {"cap": 3.0}, {"diversity": 0.1, "cap": 2.0}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("start", "crads"), 'did you mean "cards"?'),
        (("stop", "cards"), "only one that runs can be stopped"),
        (("ramp", "cards", "1.5"), "coverage = 1.5: expected `float` <= 1.0"),
        (("create", "x"), "give at least two arms"),
        (("create", "--arm", "a", "--arm", "b"), "give the experiment a NAME"),
        (("create", "x", "--arm", "a"), "arms"),
        (("create", "x", "--arm", "a", "--arm", "b:half"), "'half'"),
        (("create", "x", "--arm", "a", "--arm", "b:0.5:m:n"), "write NAME:WEIGHT:MODEL:KEY=VALUE"),
        (("create", "x", "--arm", "a", "--arm", "b:divrsity=1"), 'did you mean "diversity"?'),
        (("create", "x", "--arm", "a", "--arm", "b", "--guardrail", "ctr"), "write it as NAME=VALUE"),
        (("create", "x", "--arm", "a", "--arm", "b", "--metric", "crt"), 'did you mean "ctr"?'),
        (("create", "--file", "absent.json"), "there is no such file"),
        (("create", "--file", "list.json"), "an object with the fields name and arms"),
        (("create", "--file", "bad.json"), "neither JSON nor"),
        (("create", "--file", "field.json"), 'did you mean "coverage"?'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_line(
    inside: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    (inside / "list.json").write_text("[]", "utf-8")
    (inside / "bad.json").write_text("{", "utf-8")
    (inside / "field.json").write_text('{"name": "x", "arms": [{"name": "a"}, {"name": "b"}], "covrage": 1}', "utf-8")
    told(*CREATE)
    text = refused(capsys, "experiment", *arguments)
    assert message in text
    assert "Traceback" not in text
