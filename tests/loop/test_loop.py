"""The whole circle on files and on servers: from a file to a click to a better model, through real processes."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import world
from processes import Up, command, running, up, wait_for
from profiles import PROFILES, toml
from tastemaker.config import Connect
from tastemaker.registry import live
from tastemaker.storage import Storage, connect, keys
from tastemaker.storage.kv import consumer_of
from tastemaker.storage.log import lag_of

SETTINGS = """
{connect}
[log]
partitions = 4
[train]
models = ["popular", "als"]
[evaluate]
bootstrap = 100
[gate]
latency_ms = 60000.0
margin = 0.3
[serving]
deadline_ms = 20000.0
[models.als]
factors = {factors}
epochs = {epochs}
reg = {reg}
"""
GOOD = {"factors": 8, "epochs": 4, "reg": 0.001}
ABSURD = {"factors": 1, "epochs": 1, "reg": 1e9}
USER = "u5"


def settings(folder: Path, connect: Connect, **values: float) -> None:
    (folder / "tastemaker.toml").write_text(SETTINGS.format(connect=toml(connect), **values))


@contextmanager
def serving(home: Path, profile: str) -> Iterator[Up]:
    """The platform at work: all in one process on files, on servers a process for each plane."""
    if profile == "files":
        with up(home, "--no-schedule") as server:
            yield server
    else:
        with running(home, "stream"), up(home, "--workers", "2", process="serve") as server:
            yield server


def run(home: Path, *arguments: str) -> None:
    done = command(home, *arguments)
    assert done.code == 0, done.out + done.err


def last_run(home: Path, pipeline: str) -> Any:
    rows = json.loads(command(home, "runs", "--json").out)
    return next(row for row in rows if row["pipeline"] == pipeline)


def pointer(storage: Storage) -> live.Live:
    found = live.read(storage.kv)
    assert found is not None
    return found


def items(answer: Any) -> list[str]:
    return [item["item"] for item in answer["items"]]


def trending(storage: Storage, name: str) -> float:
    (packed,) = storage.kv.get([keys.TRENDING])
    return dict(json.loads(packed)).get(name, 0.0) if packed is not None else 0.0


def click(server: Up, answer: Any, place: int) -> str:
    """A click on a place of an answer, and the wait until the next answer is without it."""
    chosen: str = answer["items"][place]["item"]
    event = {
        "type": "interaction",
        "user": USER,
        "item": chosen,
        "kind": "click",
        "decision": answer["decision"],
        "position": place,
    }
    assert server.call("/v1/events", event)["accepted"] == 1
    wait_for(lambda: chosen not in items(server.call(f"/v1/users/{USER}/recommendations")), 10)
    return chosen


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_from_a_file_to_a_click_to_a_model_that_learnt_it_and_a_gate_that_refuses_a_broken_one(
    tmp_path: Path, profile: str
) -> None:
    home = tmp_path / "home"
    places = PROFILES[profile](home)
    config = replace(world.config_of(home), connect=places)
    settings(tmp_path, places, **GOOD)
    with (tmp_path / "clicks.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "kind", "time"])
        writer.writerows((e.user, e.item, e.kind, e.time / 1000) for e in world.interactions(80, 60, 15, seed=0))
    run(home, "import", "clicks.csv", "--quiet")
    run(home, "run", "daily", "--quiet")
    first = last_run(home, "daily")
    version = first["steps"]["publish"]["summary"]["version"]
    assert version.startswith("als-")

    with serving(home, profile) as server, connect(config) as storage:
        wait_for(lambda: lag_of(storage.log.ends(), storage.log.committed(consumer_of(storage.kv))) == 0)
        before = server.call(f"/v1/users/{USER}/recommendations")
        assert (before["model"], before["rung"], len(before["items"])) == (version, "personal", 10)
        chosen = click(server, before, 0)
        after = server.call(f"/v1/users/{USER}/recommendations")
        assert chosen in items(before)
        assert items(after) != items(before)
        assert after["rung"] == "personal"
        assert after["decision"] != before["decision"]
        wait_for(lambda: trending(storage, chosen) > 0.5, 10)
        other = click(server, after, 3)
        similar = server.call(f"/v1/items/{chosen}/similar?k=5")
        assert similar["items"]
        assert chosen not in items(similar)
        assert server.end(signal.SIGINT)[0] in (0, 130)

    run(home, "run", "daily", "--quiet")
    second = last_run(home, "daily")
    facts = second["steps"]["train"]["summary"]["data"]
    assert facts["events"] == first["steps"]["train"]["summary"]["data"]["events"] + 2, "it learnt from both clicks"
    assert second["start"] == first["end"]
    measured = second["steps"]["monitor"]["summary"]["metrics"]
    with connect(config) as storage:
        decisions = storage.lake.read("decisions").to_pylist()
        ids = [row["id"] for row in decisions]
        assert len(set(ids)) == len(ids)
        mine = next(row for row in decisions if row["id"] == before["decision"])
        assert [slot["item"] for slot in mine["slots"]] == items(before)
        slots = sum(len(row["slots"]) for row in decisions)
        assert measured[f"ctr {version}"] == pytest.approx(2 / slots)
        assert storage.tables.metrics.history("ctr", version)[0].value == pytest.approx(2 / slots)
        now = pointer(storage)
        assert now.version == second["steps"]["publish"]["summary"]["version"] != version
        state = storage.lake.read("user_features").to_pylist()
        assert USER in {row["user"] for row in state}

    settings(tmp_path, places, **ABSURD)
    (tmp_path / "tastemaker.toml").write_text((tmp_path / "tastemaker.toml").read_text().replace('["popular", "als"]', '["als"]'))
    run(home, "run", "daily", "--quiet")
    third = last_run(home, "daily")
    assert third["state"] == "done"
    assert "not_worse" in third["steps"]["gate"]["summary"]["failed"]
    assert third["steps"]["publish"]["state"] == "skipped"
    with connect(config) as storage:
        assert pointer(storage) == now, "the live version stays"
    with serving(home, profile) as server:
        answer = server.call(f"/v1/users/{USER}/recommendations")
        assert answer["model"] == now.version
        assert not {chosen, other} & set(items(answer))
        server.end(signal.SIGTERM)
