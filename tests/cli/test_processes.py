"""``serve``, ``stream`` and ``archive`` as processes: together they do what ``up`` does, and each may die alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from processes import command, running, up, wait_for
from tastemaker.config import Config, Connect
from tastemaker.storage import connect, keys
from tastemaker.storage.kv import consumer_of


def events(start: int, count: int) -> list[dict[str, object]]:
    return [
        {"type": "interaction", "id": f"e{n:04}", "user": f"u{n % 7}", "item": f"i{n % 5}", "kind": "click"}
        for n in range(start, start + count)
    ]


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split()]


def test_the_planes_as_processes_do_together_what_up_does_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = Config(connect=Connect(home=str(home)))
    with (
        running(home, "stream", "--metrics-port", "0") as stream,
        up(home, process="serve") as server,
        connect(config) as storage,
    ):
        assert server.call("/v1/events", events(0, 50))["accepted"] == 50
        wait_for(lambda: storage.log.committed(consumer_of(storage.kv)) == storage.log.ends())
        assert storage.kv.get([keys.state("u1")])[0] is not None
        assert "50 rows archived" in command(home, "archive", "--once").out
        assert storage.lake.read("interactions").num_rows == 50
        stream.process.send_signal(signal.SIGKILL)
        assert server.call("/v1/events", events(50, 50))["accepted"] == 50, "the API does not wait for the worker"
        with running(home, "stream"):
            wait_for(lambda: storage.log.committed(consumer_of(storage.kv)) == storage.log.ends())


def test_a_server_process_that_dies_is_replaced_and_the_others_answer_meanwhile(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with up(home, "--workers", "2", process="serve") as server:
        wait_for(lambda: len(children(server.process.pid)) == 2)
        server.call("/health")
        before = children(server.process.pid)
        os.kill(before[0], signal.SIGKILL)
        for number in range(20):
            assert server.call("/v1/events", events(number, 1))["accepted"] == 1
        wait_for(lambda: len(children(server.process.pid)) == 2 and set(children(server.process.pid)) != set(before))
        code, seconds, errors = server.end(signal.SIGTERM)
    assert (code, "Traceback" in errors) == (0, False)
    assert seconds < 12
    with connect(Config(connect=Connect(home=str(home)))) as storage:
        ids = [record.event.id for p in range(8) for record in storage.log.read(p, 0, 100)]
    assert sorted(ids) == sorted(set(ids)) == [f"e{n:04}" for n in range(20)]


def test_health_and_metrics_of_a_process_that_serves_nobody_else(tmp_path: Path) -> None:
    with running(tmp_path / "home", "archive", "--every", "0.1", "--metrics-port", "0") as archiver:
        base = archiver.line.split("metrics ")[1].split("/metrics")[0]
        with urllib.request.urlopen(f"{base}/health", timeout=10) as answer:
            assert json.load(answer)["status"] == "alive"
        with urllib.request.urlopen(f"{base}/metrics", timeout=10) as answer:
            assert b"tastemaker_log_lag_records" in answer.read()
        archiver.process.terminate()
        assert archiver.process.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["archive", "--every", "0"], "give seconds above 0"),
        (["serve", "--workers", "0"], "not in the range"),
        (["run"], "name a pipeline"),
        (["run", "daily", "--schedule"], "name a pipeline"),
        (["stream", "--metrics-port", "70000"], "not in the range"),
    ],
)
def test_wrong_arguments_are_told(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = command(tmp_path / "home", *arguments)
    assert done.code == 2
    assert words in done.err
