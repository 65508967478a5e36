"""Every command, run for real."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import world
from processes import Done, command
from tastemaker.cli import COMMANDS, app, main
from tastemaker.config import Config
from tastemaker.registry import live
from tastemaker.storage import connect, keys

SMALL = '[log]\npartitions = 4\n[train]\nmodels = ["popular", "als"]\n[evaluate]\nbootstrap = 100\n[gate]\nlatency_ms = 60000.0\n'


@pytest.fixture
def platform(published_home: Path, tmp_path: Path) -> Path:
    """A copy of the published world with the configuration file beside it."""
    home = shutil.copytree(published_home, tmp_path / "home")
    (tmp_path / "tastemaker.toml").write_text(SMALL)
    return home


@pytest.fixture
def inside(platform: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, for commands that run in this process: quick, and all but the exit code is theirs."""
    for name in ("HOME", "KV", "LOG"):
        monkeypatch.delenv(f"TASTEMAKER_CONNECT__{name}", raising=False)
    monkeypatch.setenv("TASTEMAKER_CONNECT__HOME", f'"{platform}"')
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(platform.parent)
    return platform


def told(*arguments: str) -> str:
    """The output of a command that succeeds."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def live_version(config: Config) -> str:
    with connect(config) as storage:
        now = live.read(storage.kv)
        assert now is not None
        return now.version


def good(done: Done) -> str:
    assert done.code == 0, done.err
    assert done.err == ""
    return done.out


def test_help_lists_every_command_with_a_sentence_and_each_has_help_of_its_own() -> None:
    text = told("--help")
    for name in COMMANDS:
        assert f"\n  {name} " in text
        own = told(name, "--help")
        assert own.startswith((f"Usage: root {name}", f"Usage: app {name}"))
        assert len(own.splitlines()[2].strip()) > 10, "a sentence"
    for group in ("models", "keys"):
        for line in told(group, "--help").partition("Commands:")[2].strip().splitlines():
            assert told(group, line.split()[0], "-h").startswith("Usage:")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) in (0, None)
    assert capsys.readouterr().out.startswith("tastemaker, version 0.")


def test_run_and_runs_as_a_person_sees_them(platform: Path) -> None:
    out = good(command(platform, "run", "daily"))
    assert "daily-" in out
    for step in ("ingest", "features", "train", "evaluate", "gate", "publish", "arms", "monitor"):
        assert f"{step} " in out
    lines = good(command(platform, "runs", "--limit", "1"))
    assert lines.count("daily-") == 1
    assert " done " in lines


def test_a_quiet_run_says_nothing(platform: Path) -> None:
    assert good(command(platform, "run", "hourly", "--quiet")) == ""


def test_runs_in_words_and_for_programs(inside: Path) -> None:
    rows = json.loads(told("runs", "--json"))
    assert [row["pipeline"] for row in rows] == ["daily"]
    one = json.loads(told("runs", rows[0]["id"], "--json"))
    assert one == rows[0]
    text = told("runs", rows[0]["id"])
    assert '"events": 3000' in text
    assert "evaluate done" in " ".join(text.split())


def test_a_failed_run_shows_its_error_with_all_its_letters(platform: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty" / "home"
    empty.parent.mkdir()
    (empty.parent / "tastemaker.toml").write_text("[rewards]\ndefault = 0.0\n")
    (empty.parent / "a.csv").write_text("user,item,time\nu,i,1600000000\n")
    good(command(empty, "import", "a.csv", "--quiet"))
    failed = command(empty, "run", "daily", "--quiet")
    assert failed.code == 1
    assert "under `at_least` (see [rewards.kinds])" in failed.err
    shown = good(command(empty, "runs"))
    assert "(see [rewards.kinds])" in " ".join(shown.split()), "a table's name is no markup"
    assert " failed " in shown


def test_import_tells_what_became_of_the_rows(inside: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who,what,when\nu,i,1600000000\nu,,1600000001\n")
    text = told("import", "a.csv", "--map", "user=who,item=what,time=when", "--quiet")
    assert "interactions: 1 imported, 0 there already, 1 refused" in text
    assert "refused rows, with line and reason: " in text
    again = told("import", "a.csv", "--map", "user=who,item=what,time=when", "--quiet")
    assert "0 imported" in again


def test_models_are_listed_shown_and_compared(inside: Path) -> None:
    config = world.config_of(inside)
    als = live_version(config)
    popular = als.replace("als", "popular")
    table = told("models", "list")
    assert [line.split()[1] for line in table.splitlines()[1:]] == ["candidate", "live"]
    assert told("models", "list", "--state", "live").count("als-") == 1
    assert told("models", "list", "--limit", "1").count("-2") == 1
    card = told("models", "show", als)
    assert '"factors": 8' in card
    assert "the gate is open" in card
    assert "✓ not_worse: no model is live" in card
    both = told("models", "compare", popular, als)
    row = next(line for line in both.splitlines() if line.split()[0] == "ndcg@10")
    assert " +0." in row


def test_promote_and_rollback_move_the_pointer(inside: Path) -> None:
    config = world.config_of(inside)
    als = live_version(config)
    popular = als.replace("als", "popular")
    assert told("models", "promote", popular) == f"live: {popular} (before: {als})\n"
    assert live_version(config) == popular
    assert told("models", "rollback") == f"live: {als} (before: {popular})\n"
    assert live_version(config) == als


def test_without_models_the_list_says_how_to_get_one(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_CONNECT__HOME", f'"{inside.parent / "other"}"')
    assert told("models", "list") == "no models yet: tastemaker run daily\n"
    assert told("runs") == "no runs yet: tastemaker run daily\n"
    assert told("runs", "--json") == "[]\n"
    assert "no keys yet" in told("keys", "list")


def test_keys_are_made_listed_and_revoked(inside: Path) -> None:
    secret = told("keys", "create", "shop [red]", "--scope", "write", "--scope", "read").strip()
    assert secret.startswith("tm_")
    with connect(world.config_of(inside)) as storage:
        key = storage.tables.keys.verify(secret)
        assert key is not None
        assert set(key.scopes) == {"read", "write"}
    listed = told("keys", "list")
    assert secret not in listed
    assert f"{key.id}" in listed
    assert "shop [red]" in listed, "a name is no markup"
    assert "active" in listed
    assert told("keys", "revoke", key.id) == f"revoked {key.id}\n"
    assert "revoked" in told("keys", "list")
    with connect(world.config_of(inside)) as storage:
        assert storage.tables.keys.verify(secret) is None


def test_config_shows_origins_and_hides_passwords(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_CONNECT__KV", "redis://me:geheim@host/0")
    rows = {line.split()[0]: line.split() for line in told("config").splitlines()[1:]}
    assert rows["connect.kv"][1:] == ["redis://me:***@host/0", "$TASTEMAKER_CONNECT__KV"]
    assert rows["log.partitions"][1:] == ["4", "tastemaker.toml"]
    assert rows["serving.port"][1:] == ["8000", "default"]
    changed = told("config", "--changed")
    assert "serving.port" not in changed
    assert "log.partitions" in changed
    assert "geheim" not in changed


def test_erase_asks_first_and_then_removes_a_user_everywhere(platform: Path) -> None:
    asked = command(platform, "erase", "u3", text="n\n")
    assert asked.code == 130
    config = world.config_of(platform)
    with connect(config) as storage:
        assert storage.kv.get([keys.state("u3")]) != [None]
    rows = dict(line.split() for line in good(command(platform, "erase", "u3", "--yes")).splitlines())
    assert rows["log"] == "25"
    assert rows["lake.interactions"] == "25"
    assert rows["lake.user_features"] == "1"
    assert rows["lake.evaluations"] == "2"
    assert int(rows["kv.slate"]) >= 1
    version = live_version(config)
    with connect(config) as storage:
        assert storage.kv.get([keys.state("u3"), keys.slate(version, "u3")]) == [None, None]
        for name in ("interactions", "user_features", "evaluations"):
            assert "u3" not in storage.lake.read(name)["user"].to_pylist()
    again = dict(line.split() for line in good(command(platform, "erase", "u3", "--yes")).splitlines())
    assert set(again.values()) == {"0"}
