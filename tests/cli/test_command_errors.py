"""Errors on the command line: one line, exit code 1, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import world
from processes import INTERRUPTED, command, environment
from tastemaker.storage import connect


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "dayly"], "pipeline 'dayly' does not exist; did you mean \"daily\"?"),
        (["run", "daily"], "there are no interactions to learn from: send events to the API or use `tastemaker import`"),
        (["runs", "daily-1"], "run 'daily-1' does not exist; `tastemaker runs` lists them"),
        (["models", "show", "als-1"], "model version 'als-1'"),
        (["models", "promote", "als-1"], "model version 'als-1': no such version"),
        (["models", "rollback"], "nothing is live, so there is nothing to roll back; run `tastemaker run daily` first"),
        (["keys", "revoke", "x"], "key 'x' does not exist; `tastemaker keys list` shows them"),
        (["import", "missing.csv"], "missing.csv"),
        (["import", "missing.csv", "--map", "user"], "--map = 'user'"),
        (["--config", "missing.toml", "runs"], "missing.toml: no such configuration file"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line_with_the_remedy(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = command(tmp_path / "home", *arguments, TASTEMAKER_CONNECT__HOME='"home"')
    assert done.code == 1
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert words in lines[0]
    assert "Traceback" not in done.err + done.out


def test_a_wrong_key_of_the_configuration_is_named_with_its_origin(tmp_path: Path) -> None:
    done = command(tmp_path / "home", "config", TASTEMAKER_SERVING__PROT="1")
    assert done.code == 1
    assert done.err == 'error: $TASTEMAKER_SERVING__PROT: unknown key serving.prot; did you mean "port"?\n'


def test_an_unknown_command_or_option_gets_a_hint(tmp_path: Path) -> None:
    done = command(tmp_path / "home", "modells")
    assert done.code == 2
    assert "there is no command 'modells'; did you mean \"models\"?" in done.err
    done = command(tmp_path / "home", "runs", "--jsn")
    assert done.code == 2
    assert "--json" in done.err
    assert "Traceback" not in done.err


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments in (["run", "daily"], ["runs"], ["keys", "list"]):
        done = run_in(tmp_path, *arguments)
        assert done.returncode == 1, arguments
        assert "Traceback" not in done.stderr, arguments
        assert done.stderr.startswith("error: "), arguments
        assert "file" in done.stderr


def run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command whose home lies below a file."""
    return subprocess.run(
        [sys.executable, "-m", "tastemaker", *arguments],
        capture_output=True,
        text=True,
        env=environment(folder / "file" / "home"),
        cwd=folder,
        check=False,
    )


def test_a_reader_that_has_had_enough_is_no_error(tmp_path: Path) -> None:
    pipe = f"{sys.executable} -m tastemaker config | head -n 1"
    done = subprocess.run(
        ["bash", "-c", pipe], capture_output=True, text=True, env=environment(tmp_path / "home"), cwd=tmp_path, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_ctrl_c_ends_a_run_with_130_and_says_that_it_goes_on(tmp_path: Path) -> None:
    config = world.config_of(tmp_path / "home", ("popular",))
    with connect(config) as storage:
        world.fill(storage, users=40, items=30, per_user=8)
        (tmp_path / "tastemaker.toml").write_text(
            '[log]\npartitions = 4\n[train]\nmodels = ["popular"]\n[gate]\nlatency_ms = 60000.0\n'
        )
        run = [sys.executable, "-m", "tastemaker", "run", "daily", "--quiet"]
        with subprocess.Popen(run, env=environment(config.home), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as child:
            end = time.monotonic() + 60
            while not storage.tables.runs.last("daily", 1):
                assert time.monotonic() < end
                time.sleep(0.01)
            os.kill(child.pid, signal.SIGINT)
            _, errors = child.communicate(timeout=30)
        assert child.returncode in INTERRUPTED
        assert errors.strip().splitlines()[-1] == "stopped; the same command goes on from here"
        assert "Traceback" not in errors
        interrupted = storage.tables.runs.last("daily", 1)[0]
        assert interrupted.state == "running"
        assert command(config.home, "run", "daily", "--quiet").code == 0
        assert [(found.id, found.state) for found in storage.tables.runs.last("daily")] == [(interrupted.id, "done")]
