"""Whoever measures experiments may be killed at any moment: the next one says what the lake says, and a count of every event."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import astuple, replace

import forked
from experiment_oracle import AB, BASE, BOTH, MORE, first_of, moments, world
from processes import running, wait_for
from tastemaker.config import Config, Connect, Experiments, Log
from tastemaker.config.experimenting import usual_metrics
from tastemaker.domain import AnyEvent, Experiment
from tastemaker.experiments.reporting import Report, decode, report
from tastemaker.features.rewards import DAY
from tastemaker.pipelines.experiments.measure import measured
from tastemaker.storage import Storage, connect
from tastemaker.storage.archive import archive
from tastemaker.streaming.experiments import Follower

NOW, MINUTE = BASE + 13 * DAY, 60_000
KILLS = 4


def config_at(home: Path) -> Config:
    return Config(connect=Connect(home=str(home)), log=Log(partitions=3), experiments=Experiments(metrics=usual_metrics() | MORE))


def follow(config: Config, now: int, told: Connection) -> None:
    """Round after round without a rest; tells of each before it begins. Ends by being killed."""
    with connect(config) as storage:
        follower = Follower(storage, config)
        for number in range(100_000):
            told.send(number)
            follower.step(now + number * MINUTE)


def killed_in_a_round(config: Config, now: int, rng: np.random.Generator) -> None:
    """A process that dies somewhere in its second round, or in one soon after it."""
    here, there = Pipe(duplex=False)
    process = forked.start(follow, config, now, there)
    try:
        while here.recv() < 1:
            pass
        time.sleep(float(rng.uniform(0, 0.5)))
    finally:
        process.kill()
    assert forked.code_of(process) == -signal.SIGKILL


def newest(storage: Storage, name: str) -> Report:
    found = storage.tables.results.newest(name, source="stream")
    assert found is not None
    return decode(found.payload)


def numbers(made: Report) -> list[float]:
    """All that is told of metrics."""
    changes = [change for one in made.conclusions for change in one.changes]
    return [value for change in changes for value in astuple(change) if isinstance(value, float)]


def same_as_the_lake(storage: Storage, config: Config, asked: Experiment, events: Sequence[AnyEvent], now: int) -> None:
    """The newest result beside the lake, which holds everything now, and beside a count of every event."""
    archive(storage.log, storage.lake)
    for experiment in (asked, BOTH):
        stream = newest(storage, experiment.name)
        lake = report(experiment, measured(storage, config, experiment, now), "lake", now)
        assert (stream.units, stream.twice, stream.answers) == (lake.units, lake.twice, lake.answers)
        assert [one.text for one in stream.conclusions] == [one.text for one in lake.conclusions]
        assert numbers(stream) == pytest.approx(numbers(lake), rel=1e-9, nan_ok=True)
        assert numbers(stream) or experiment is BOTH  # too few units for a preference
    units, twice = first_of(events, asked, now)
    found = newest(storage, asked.name)
    assert (sum(found.units.values()), found.twice) == (len(units), twice)
    data = measured(storage, config, asked, now)
    expected = moments(config, events, asked, config.experiments.metrics["ctr"], now)
    assert {arm: one.y for arm, one in data.moments["ctr"].items()} == {arm: one.y for arm, one in expected.items()}


def test_after_any_number_of_kills_the_next_round_says_what_the_lake_says(tmp_path: Path) -> None:
    config, events, rng = config_at(tmp_path), world(3), np.random.default_rng(0)
    with connect(config) as storage:
        for experiment in (AB, BOTH):
            storage.tables.experiments.put(experiment)
        part = len(events) // KILLS + 1
        for number in range(KILLS):
            storage.log.append(events[number * part : (number + 1) * part]).result()
            killed_in_a_round(config, NOW + number * DAY, rng)
            if number % 2:
                archive(storage.log, storage.lake)
        last = NOW + KILLS * DAY
        assert Follower(storage, config).step(last) == 2
        same_as_the_lake(storage, config, AB, events, last)


@pytest.mark.nightly
def test_a_platform_that_is_killed_comes_up_again_and_counts_what_came_meanwhile(tmp_path: Path) -> None:
    config, events = replace(config_at(tmp_path / "home"), experiments=Experiments()), world(4)
    more = {"TASTEMAKER_LOG__PARTITIONS": "3", "TASTEMAKER_SERVING__PORT": "0"}
    asked = replace(AB, metrics=("ctr", "reward"))
    thirds = [events[number::3] for number in range(3)]
    with connect(config) as storage:
        for experiment in (asked, BOTH):
            storage.tables.experiments.put(experiment)
        storage.log.append(thirds[0]).result()
        with running(tmp_path / "home", "up", "--no-schedule", **more) as first:
            wait_for(lambda: storage.tables.results.newest("merged", source="stream") is not None, 90)
            storage.log.append(thirds[1]).result()
            first.process.kill()
        storage.log.append(thirds[2]).result()
        now = int(time.time() * 1000)
        units, _ = first_of(events, asked, now)
        with running(tmp_path / "home", "up", "--no-schedule", **more):
            wait_for(lambda: sum(newest(storage, "cards").units.values()) == len(units), 90)
            wait_for(lambda: newest(storage, "merged").time >= now, 90)
        same_as_the_lake(storage, config, asked, events, now)
