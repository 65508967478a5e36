"""``tastemaker migrate`` and ``rebuild``, as people type them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from processes import INTERRUPTED
from profiles import toml
from tastemaker.cli import main
from tastemaker.config import Config, Connect, Log
from tastemaker.pipelines.moving.move import migrate
from tastemaker.registry import live
from tastemaker.storage import Storage, connect, keys
from tastemaker.streaming.rebuild import rebuild_states


def test_the_command_prints_both_sides_and_says_what_differs(
    published: tuple[Storage, Config], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, config = published
    source.close()
    here, there = tmp_path / "here.toml", tmp_path / "there.toml"
    extra = '[log]\npartitions = {}\n[train]\nmodels = ["popular", "als"]\n[publish]\nslate = 30\nblock = 50\n'
    here.write_text(toml(config.connect) + extra.format(4))
    there.write_text(toml(Connect(home=str(tmp_path / "wrong"))) + extra.format(3))
    monkeypatch.setenv("TASTEMAKER_TO__CONNECT__HOME", f'"{tmp_path / "there"}"')
    monkeypatch.setenv("TASTEMAKER_CONNECT__HOME", f'"{config.home}"')
    main(["--config", str(here), "migrate", "--to", str(there), "--dry-run", "--quiet"])
    said = capsys.readouterr().out
    assert "events" in said
    assert not list((tmp_path / "there" / "lake").glob("*"))
    main(["--config", str(here), "migrate", "--to", str(there), "--quiet"])
    said = capsys.readouterr().out
    assert "✗" not in said
    assert "both sides hold the same" in said
    assert not (tmp_path / "wrong").exists()
    monkeypatch.delenv("TASTEMAKER_TO__CONNECT__HOME")
    monkeypatch.delenv("TASTEMAKER_CONNECT__HOME")
    with connect(replace(config, connect=Connect(home=str(tmp_path / "there")), log=Log(partitions=3))) as target:
        names = target.lake.names()
        target.lake.overwrite("items", target.lake.read("items").slice(1))
    assert "items" in names
    there.write_text(there.read_text().replace("wrong", "there"))
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(here), "migrate", "--to", str(there), "--quiet"])
    assert ended.value.code == 1
    table, wrong = capsys.readouterr()
    assert "✗" in table
    assert "lake items (80 here, 79 there)" in wrong


def test_interrupted_by_hand_it_says_that_the_same_command_goes_on(published: tuple[Storage, Config], tmp_path: Path) -> None:
    source, config = published
    source.close()
    there = tmp_path / "there.toml"
    there.write_text(toml(Connect(home=str(tmp_path / "there"))))
    here = tmp_path / "here.toml"
    here.write_text(toml(config.connect) + "[log]\npartitions = 4\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "tastemaker", "--config", str(here), "migrate", "--to", str(there), "--quiet"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "there" / "migration.json").exists() and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in INTERRUPTED, said
    assert "goes on from here" in said
    target = replace(config, connect=Connect(home=str(tmp_path / "there")), log=Log())
    with connect(config) as goes, connect(target) as comes:
        assert migrate(goes, comes, lambda *_: None, rebuild_states).differences == []
        assert live.read(comes.kv) == live.read(goes.kv)


def test_rebuild_makes_states_and_slates_again_and_either_may_be_left_out(
    published: tuple[Storage, Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, config = published
    here = tmp_path / "here.toml"
    here.write_text(toml(config.connect) + "[log]\npartitions = 4\n")
    now = live.read(storage.kv)
    assert now is not None
    storage.kv.delete([keys.state("u1"), keys.slate(now.version, "u1")])
    main(["--config", str(here), "rebuild", "--no-slates", "--quiet"])
    assert "states of 126 users rebuilt" in capsys.readouterr().out
    assert [value is None for value in storage.kv.get([keys.state("u1"), keys.slate(now.version, "u1")])] == [False, True]
    storage.kv.delete([keys.state("u1")])
    main(["--config", str(here), "rebuild", "--no-states", "--quiet"])
    assert f"slates of 120 users written under {now.version}" in capsys.readouterr().out
    assert [value is None for value in storage.kv.get([keys.state("u1"), keys.slate(now.version, "u1")])] == [True, False]
