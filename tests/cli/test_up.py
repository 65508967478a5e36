"""``tastemaker up`` as a process: it says where it is, ends cleanly, and keeps what it acknowledged."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import world
from processes import environment, up, wait_for
from tastemaker.config import Config, Connect
from tastemaker.domain import Interaction
from tastemaker.pipelines import local
from tastemaker.storage import Storage, connect
from tastemaker.storage.kv import consumer_of


def clicks(storage: Storage) -> list[str]:
    records = [record for p in range(storage.log.partitions) for record in storage.log.read(p, 0, 10**6)]
    return sorted(record.event.id for record in records if isinstance(record.event, Interaction))


@pytest.mark.parametrize(("number", "codes"), [(signal.SIGINT, {0, 130}), (signal.SIGTERM, {0})])
def test_a_signal_ends_it_cleanly_with_every_acknowledged_event_stored_and_applied(
    tmp_path: Path, number: signal.Signals, codes: set[int]
) -> None:
    home = tmp_path / "home"
    with up(home, "--no-schedule") as server:
        assert server.call("/ready")["ready"]
        for start in range(0, 100, 10):
            events = [
                {"type": "interaction", "id": f"e{n:03}", "user": f"u{n % 7}", "item": f"i{n % 5}", "kind": "click"}
                for n in range(start, start + 10)
            ]
            assert server.call("/v1/events", events)["accepted"] == 10
        answer = server.call("/v1/users/u1/recommendations")
        assert answer["rung"] in ("popular", "empty")
        code, seconds, errors = server.end(number)
    assert code in codes
    assert seconds < 5
    assert "Traceback" not in errors
    with connect(Config(connect=Connect(home=str(home)))) as storage:
        assert clicks(storage) == [f"e{n:03}" for n in range(100)]
        assert storage.log.committed(consumer_of(storage.kv)) == storage.log.ends(), "the worker finished what was there"


def test_a_port_in_use_is_a_clear_error_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "tastemaker", "up"],
            env=environment(tmp_path / "home", TASTEMAKER_SERVING__PORT=str(port)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: serving.port = {port}: cannot listen on 127.0.0.1 (Address already in use)")
    assert len(done.stderr.splitlines()) == 1


def test_an_open_door_without_a_key_is_refused_and_with_one_it_opens(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run = [sys.executable, "-m", "tastemaker"]
    there = environment(home, TASTEMAKER_SERVING__HOST="0.0.0.0", TASTEMAKER_SERVING__PORT="0")
    done = subprocess.run([*run, "up"], env=there, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "there is no API key: make one first" in done.stderr
    made = subprocess.run(
        [*run, "keys", "create", "shop", "--scope", "read"], env=there, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    with subprocess.Popen(
        [*run, "up", "--no-schedule"], env=there, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = int(re.findall(r":(\d+) ", process.stdout.readline())[0])
            address = f"http://127.0.0.1:{port}/v1/users/u/recommendations"
            with pytest.raises(urllib.error.HTTPError, match="401") as refused:
                urllib.request.urlopen(address, timeout=30)
            refused.value.close()
            request = urllib.request.Request(address, headers={"x-api-key": made.stdout.strip()})
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert json.load(answer)["user"] == "u"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def test_the_schedule_begins_a_run_which_ends_with_the_server_and_goes_on_with_the_next(tmp_path: Path) -> None:
    file = tmp_path / "other name.toml"
    file.write_text('[train]\nmodels = ["popular"]\n[gate]\nlatency_ms = 60000.0\n[schedule]\nhourly_minutes = 0.0\n')
    home = tmp_path / "home"
    config = Config(connect=Connect(home=str(home)))
    with connect(config) as storage:
        storage.log.append(world.interactions(40, 30, 8, seed=1)).result()
        with up(home, file=file) as server:
            wait_for(lambda: bool(storage.tables.runs.last("daily", 1)))
            code, seconds, _ = server.end(signal.SIGTERM)
        assert (code, seconds < 5) == (0, True)
        wait_for(lambda: not local.is_running(config))
        first = storage.tables.runs.last("daily", 1)[0]
        assert first.state == "running"
        with up(home, file=file) as server:
            wait_for(lambda: storage.tables.runs.last("daily", 1)[0].state == "done")
            wait_for(lambda: server.call("/ready")["live"] is not None)
            server.end(signal.SIGINT)
        runs = storage.tables.runs.last("daily")
        assert [run.id for run in runs] == [first.id]
        models = runs[0].steps["train"]["summary"]["models"]
        assert [version.partition("-")[0] for version in models] == ["popular"], "the file of the command line is the run's, too"
