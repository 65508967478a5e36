"""``tastemaker tune`` as people run it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import world
from processes import INTERRUPTED, Done, command, environment
from tastemaker.cli import main
from tastemaker.storage import connect
from tastemaker.storage.archive import archive

SETTINGS = """# the shop's own file
[log]
partitions = 4   # chosen in May

[evaluate]
bootstrap = 100
# what we found out in June:
[models.popular]
half_life_days = 0.001  # far too short
[train]
seed = 3
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a small world in its lake, and a configuration file beside it, where commands of this process find it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TASTEMAKER_CONNECT__HOME", f'"{folder}"')
    monkeypatch.chdir(tmp_path)
    with connect(world.config_of(folder)) as storage:
        world.fill(storage, users=60, items=40, per_user=15)
        archive(storage.log, storage.lake)
    (tmp_path / "tastemaker.toml").write_text(SETTINGS)
    return folder


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Commands in this process: quicker than one each."""

    def one(*arguments: str) -> Done:
        code = 0
        try:
            main(list(arguments))
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    return one


def test_a_search_is_told_and_printed_as_a_table_to_paste(home: Path) -> None:
    done = command(home, "tune", "popular", "--trials", "8")
    assert done.code == 0, done.err
    assert done.err == ""
    assert re.search(r"half_life_days +0.001 +\d", done.out)
    assert re.search(r"ndcg@10 +0\.\d{4} 0\.\d{4}–0\.\d{4} +0\.\d{4} 0\.\d{4}–0\.\d{4}", done.out)
    assert re.search(
        r"Difference, user by user \(\d+ users\): [+-]0\.\d{4}, 95% interval [+-]0\.\d{4} to [+-]0\.\d{4}\.", done.out
    )
    block = tomllib.loads(done.out[done.out.index("\n[models.popular]") :])
    assert block["models"]["popular"]["half_life_days"] >= 1
    assert (home.parent / "tastemaker.toml").read_text() == SETTINGS
    (path,) = re.findall(r"plots: (.+\.html)", done.out)
    assert Path(path).read_text("utf-8").count("<svg ") == 2
    assert Path(path).is_relative_to(home / "tuning")


def test_write_changes_the_value_and_nothing_else(home: Path, run: Run) -> None:
    done = run("tune", "popular", "--trials", "6", "--write", "--quiet")
    assert done.code == 0, done.err
    text = (home.parent / "tastemaker.toml").read_text()
    (value,) = re.findall(r"half_life_days = (\S+)  # far too short", text)
    assert text == SETTINGS.replace("0.001", value)
    assert float(value) >= 1
    assert "written: [models.popular] of tastemaker.toml" in done.out
    best = re.findall(r"half_life_days +0.001 +(\S+)", done.out)[0]
    assert float(best) == pytest.approx(float(value), rel=1e-3)


def test_write_needs_a_file_and_makes_the_one_that_is_named(home: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.parent / "tastemaker.toml").unlink()
    monkeypatch.setenv("TASTEMAKER_LOG__PARTITIONS", "4")
    monkeypatch.setenv("TASTEMAKER_MODELS__POPULAR__HALF_LIFE_DAYS", "0.001")
    done = run("tune", "popular", "--trials", "4", "--write")
    assert done.code == 1
    assert "name the file to make: tastemaker --config tastemaker.toml" in done.err
    done = run("--config", "absent/new.toml", "tune", "popular", "--trials", "4", "--write")
    assert done.code == 1
    assert "absent" in done.err
    done = run("--config", "new.toml", "tune", "popular", "--trials", "4", "--write")
    assert done.code == 0, done.err
    written = tomllib.loads((home.parent / "new.toml").read_text())
    assert list(written) == ["models"]
    assert list(written["models"]["popular"]) == ["half_life_days"]
    assert "$TASTEMAKER_MODELS__POPULAR__HALF_LIFE_DAYS overrides what was written" in done.out


def test_when_the_best_is_what_is_configured_nothing_is_written(home: Path, run: Run) -> None:
    done = run("tune", "popular", "--trials", "1", "--write")
    assert done.code == 0, done.err
    assert "What is configured is the best of 1 trials: it is fine as it is." in done.out
    assert (home.parent / "tastemaker.toml").read_text() == SETTINGS


def test_ctrl_c_shows_what_there_is_and_the_same_command_goes_on(home: Path, run: Run) -> None:
    whole = [sys.executable, "-m", "tastemaker", "tune", "popular", "--minutes", "5", "--quiet"]
    process = subprocess.Popen(
        whole, cwd=home.parent, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while not any(len(file.read_bytes().splitlines()) > 30 for file in home.glob("tuning/*/study.log")):
        assert time.monotonic() < end, "no trial was finished"
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode in INTERRUPTED
    assert "stopped; the same command goes on from here" in err
    assert "Traceback" not in err
    assert re.search(r"half_life_days +0.001", out), "what there is"
    (page,) = home.glob("tuning/*/search.html")
    counted = int(re.findall(r"<p>(\d+) trials", page.read_text("utf-8"))[0])
    assert counted >= 2
    done = run("tune", "popular", "--trials", str(counted + 1))
    assert done.code == 0, done.err
    assert f"{counted + 1}/{counted + 1}" in done.out
    assert re.findall(r"<p>(\d+) trials", page.read_text("utf-8")) == [str(counted + 1)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["poplar"], 1, "model 'poplar' is unknown; did you mean \"popular\"?"),
        (["popular", "--trials", "0"], 2, "0 is not in the range x>=1"),
        (["popular", "--minutes", "0"], 2, "0.0 is not in the range x>0"),
        (["als", "--trials", "many"], 2, "'many' is not a valid integer range"),
        (["popular", "--minutes", "nan"], 1, "seconds = nan: give a time above zero"),
        ([], 2, "Missing argument 'MODEL'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_named(home: Path, run: Run, arguments: list[str], code: int, words: str) -> None:
    done = run("tune", *arguments)
    assert done.code == code
    assert words in done.err
    assert "Traceback" not in done.err + done.out


def test_without_data_the_next_step_is_said(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_CONNECT__HOME", f'"{tmp_path / "empty"}"')
    monkeypatch.chdir(tmp_path)
    done = run("tune", "popular")
    assert done.code == 1
    assert done.err.startswith("error: there are no interactions in the lake to tune on: use `tastemaker import`")


def test_a_broken_study_is_one_line_and_fresh_begins_anew(home: Path, run: Run) -> None:
    assert run("tune", "popular", "--trials", "2").code == 0
    (journal,) = home.glob("tuning/*/study.log")
    journal.write_text("{}\n" + journal.read_text())
    done = run("tune", "popular", "--trials", "2")
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert "begin the search anew with --fresh" in line
    assert "Traceback" not in done.err
    assert run("tune", "popular", "--trials", "2", "--fresh").code == 0
