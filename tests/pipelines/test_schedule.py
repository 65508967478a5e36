"""The schedule: what is due when, in a child of its own, which can be stopped and goes on later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

import world
from processes import wait_for
from tastemaker.config import Config
from tastemaker.config import Schedule as Hours
from tastemaker.domain import Interaction, Run
from tastemaker.pipelines import local, schedule
from tastemaker.pipelines.running import LOCK
from tastemaker.pipelines.schedule import Schedule
from tastemaker.storage import Storage, connect
from tastemaker.storage.lockfile import locked

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_769_860_800_000
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TASTEMAKER_")}


def timer(storage: Storage, config: Config) -> Schedule:
    return Schedule(storage, config, ENVIRONMENT)


def ran(storage: Storage, name: str, began: int, state: str = "done", **steps: dict[str, object]) -> None:
    storage.tables.runs.put(Run(f"{name}-{began}", name, 0, began, state, began, steps=steps))


def test_nothing_is_due_before_the_first_event(storage: Storage, home: Config) -> None:
    assert timer(storage, home).due(NOW) is None
    storage.log.append([Interaction("e", 1, "u", "i", "click")]).result()
    assert timer(storage, home).due(NOW) == "daily"


def test_daily_is_due_a_day_after_it_began_and_hourly_an_hour_after_either(published: tuple[Storage, Config]) -> None:
    storage, config = published
    due = timer(storage, replace(config, schedule=Hours(evaluate_minutes=0.0, maintain_hours=0.0))).due
    begin = storage.tables.runs.last("daily", 1)[0].began
    assert due(begin + HOUR - 1) is None
    assert due(begin + HOUR) == "hourly"
    ran(storage, "hourly", begin + HOUR)
    assert due(begin + 2 * HOUR - 1) is None
    assert due(begin + 2 * HOUR) == "hourly"
    assert due(begin + DAY - 1) == "hourly"
    assert due(begin + DAY) == "daily"


def test_hourly_waits_for_the_first_model(storage: Storage, home: Config) -> None:
    storage.log.append([Interaction("e", 1, "u", "i", "click")]).result()
    ran(storage, "daily", NOW, "failed")
    assert timer(storage, home).due(NOW + 2 * HOUR) is None


def test_zero_switches_a_pipeline_off(published: tuple[Storage, Config]) -> None:
    storage, config = published
    never = replace(config, schedule=Hours(daily_hours=0.0, hourly_minutes=0.0, evaluate_minutes=0.0, maintain_hours=0.0))
    assert timer(storage, never).due(NOW + 10**12) is None
    no_daily = replace(config, schedule=Hours(daily_hours=0.0))
    assert timer(storage, no_daily).due(NOW + 10**12) == "hourly"


def test_evaluate_and_maintain_are_due_some_time_after_the_first_daily_and_then_after_themselves(
    published: tuple[Storage, Config],
) -> None:
    storage, config = published
    due = timer(storage, replace(config, schedule=Hours(daily_hours=1000.0, hourly_minutes=0.0, evaluate_minutes=30.0))).due
    begin = storage.tables.runs.last("daily", 1)[0].began
    assert due(begin + HOUR // 2 - 1) is None
    assert due(begin + HOUR // 2) == "evaluate"
    ran(storage, "evaluate", begin + DAY - 1)
    assert due(begin + DAY - 1) is None
    assert due(begin + DAY) == "maintain"
    ran(storage, "maintain", begin + DAY)
    assert due(begin + DAY + 1) is None
    assert due(begin + DAY + HOUR // 2) == "evaluate"


def test_a_trigger_makes_daily_due_at_once_unless_it_is_switched_off(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begin = storage.tables.runs.last("daily", 1)[0].began
    assert timer(storage, config).due(begin + 1) is None
    storage.tables.triggers.ask("t", "daily", "the world moved", begin + 1)
    assert timer(storage, config).due(begin + 1) == "daily"
    off = replace(config, schedule=Hours(daily_hours=0.0))
    assert timer(storage, off).due(begin + 1) is None


def test_a_trigger_begins_a_new_run_where_the_last_one_has_failed(filled: tuple[Storage, Config, dict[str, str]]) -> None:
    storage, config, environment = filled
    ran(storage, "daily", NOW, "failed", train={"state": "failed", "began": NOW, "ended": NOW})
    storage.tables.triggers.ask("t", "daily", "the world moved", NOW + 1)
    assert Schedule(storage, config, environment).run("daily") == 0
    new, old = storage.tables.runs.last("daily")
    assert (old.state, new.state) == ("abandoned", "done")
    assert storage.tables.triggers.last()[0].run == new.id


def test_an_interrupted_run_goes_on_at_once_and_a_failed_one_after_the_usual_time(storage: Storage, home: Config) -> None:
    storage.log.append([Interaction("e", 1, "u", "i", "click")]).result()
    ran(storage, "daily", NOW, "running", train={"state": "running", "began": NOW})
    assert timer(storage, home).due(NOW + 1) == "daily"
    ran(storage, "daily", NOW, "failed", train={"state": "failed", "began": NOW, "ended": NOW + 5 * HOUR})
    assert timer(storage, home).due(NOW + DAY + 5 * HOUR - 1) is None
    assert timer(storage, home).due(NOW + DAY + 5 * HOUR) == "daily"


def test_nothing_is_due_while_somebody_runs_a_pipeline(storage: Storage, home: Config) -> None:
    storage.log.append([Interaction("e", 1, "u", "i", "click")]).result()
    with locked(home.home / LOCK):
        assert timer(storage, home).due(NOW) is None
    assert timer(storage, home).due(NOW) == "daily"


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[tuple[Storage, Config, dict[str, str]]]:
    """A world that was never trained, and an environment whose configuration file names another home."""
    config = world.config_of(tmp_path / "home 7", ("popular",))
    file = tmp_path / "elsewhere.toml"
    file.write_text(
        '[connect]\nhome = "nowhere"\n[log]\npartitions = 4\n[train]\nmodels = ["popular"]\n[gate]\nlatency_ms = 60000.0\n'
    )
    with connect(config) as storage:
        world.fill(storage, users=60, items=40, per_user=10)
        yield storage, config, {**ENVIRONMENT, "TASTEMAKER_CONFIG": str(file)}


def test_a_run_is_a_child_with_the_same_home_and_configuration(filled: tuple[Storage, Config, dict[str, str]]) -> None:
    storage, config, environment = filled
    assert Schedule(storage, config, environment).run("daily") == 0
    run = storage.tables.runs.last("daily", 1)[0]
    assert run.state == "done"
    assert [version.partition("-")[0] for version in run.steps["train"]["summary"]["models"]] == ["popular"]
    assert not Path("nowhere").exists()


def test_a_run_that_fails_is_told_by_its_exit_code(storage: Storage, home: Config) -> None:
    assert timer(storage, home).run("daily") == 1
    assert storage.tables.runs.last("daily", 1)[0].state == "failed"


def test_stopping_ends_the_child_and_the_next_start_goes_on_with_its_run(
    filled: tuple[Storage, Config, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, config, environment = filled
    monkeypatch.setattr(schedule, "LOOK", 0.05)
    first = Schedule(storage, config, environment)
    first.start()
    wait_for(lambda: bool(storage.tables.runs.last("daily", 1)))
    began = time.monotonic()
    first.stop()
    assert time.monotonic() - began < 5
    assert not local.is_running(config), "the child is gone"
    interrupted = storage.tables.runs.last("daily", 1)[0]
    assert interrupted.state == "running"
    second = Schedule(storage, config, environment)
    second.start()
    wait_for(lambda: storage.tables.runs.last("daily", 1)[0].state == "done")
    second.stop()
    assert [run.id for run in storage.tables.runs.last("daily")] == [interrupted.id]


def test_stopping_a_schedule_that_never_started_is_no_matter(storage: Storage, home: Config) -> None:
    timer(storage, home).stop()


def test_the_child_has_a_lower_priority_than_the_server(filled: tuple[Storage, Config, dict[str, str]]) -> None:
    storage, config, environment = filled
    here = os.getpriority(os.PRIO_PROCESS, 0)
    timer_ = Schedule(storage, config, environment)
    timer_.start()
    wait_for(lambda: timer_._child is not None)
    child = timer_._child
    assert child is not None
    wait_for(lambda: child.poll() is not None or os.getpriority(os.PRIO_PROCESS, child.pid) >= min(19, here + 10))
    assert child.poll() is None, "it still ran when its priority was seen"
    timer_.stop()
    assert child.poll() == -signal.SIGTERM


def test_a_child_of_a_killed_server_does_no_harm(filled: tuple[Storage, Config, dict[str, str]]) -> None:
    storage, config, environment = filled
    child = environment | {"TASTEMAKER_CONNECT__HOME": f'"{config.connect.home}"'}
    command = [sys.executable, "-m", "tastemaker", "run", "daily", "--quiet"]
    with subprocess.Popen(command, env=child, stderr=subprocess.DEVNULL) as orphan:
        wait_for(lambda: local.is_running(config))
        assert timer(storage, config).due(NOW * 2) is None, "the new server waits for it"
        assert orphan.wait() == 0
    assert storage.tables.runs.last("daily", 1)[0].state == "done"
