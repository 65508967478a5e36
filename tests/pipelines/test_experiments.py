"""Experiments measured from the lake and from the stream: the same as a count of every event by hand."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from experiment_oracle import AB, BASE, BOTH, MORE, first_of, moments, preferred, world
from msgspec.structs import replace

from tastemaker.config import Config, Connect, Experiments, Log
from tastemaker.config.experimenting import usual_metrics
from tastemaker.errors import InputError
from tastemaker.experiments.moments import Moments
from tastemaker.features.rewards import DAY
from tastemaker.pipelines.experiments.measure import measured
from tastemaker.storage import connect
from tastemaker.storage.archive import archive

NOW = BASE + 13 * DAY


def config_at(home: Path) -> Config:
    return Config(connect=Connect(home=str(home)), log=Log(partitions=3), experiments=Experiments(metrics=usual_metrics() | MORE))


def same(found: Moments, expected: Moments) -> None:
    for field in fields(Moments):
        value, wanted = getattr(found, field.name), getattr(expected, field.name)
        assert value == pytest.approx(wanted, rel=1e-9, abs=1e-9), (field.name, found, expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_lake_gives_the_sums_that_counting_by_hand_gives(tmp_path: Path, seed: int) -> None:
    config, events = config_at(tmp_path), world(seed)
    with connect(config) as storage:
        storage.log.append(events).result()
        archive(storage.log, storage.lake)
        for ended in (None, BASE + 8 * DAY):
            asked, until = replace(AB, ended=ended), ended or NOW
            data = measured(storage, config, asked, NOW)
            units, twice = first_of(events, asked, until)
            assert (sum(data.units.values()), data.twice) == (len(units), twice)
            assert set(data.moments) == {*AB.metrics, *AB.guardrails}
            for name, found in data.moments.items():
                expected = moments(config, events, asked, config.experiments.metrics[name], until)
                assert set(found) == set(expected)
                for arm, each in expected.items():
                    same(found[arm], each)
        both = measured(storage, config, BOTH, NOW)
        units, expected = preferred(config, events, BOTH, NOW)
        assert both.units == {"both": units}
        assert expected.n > 2
        same(both.moments["preference"]["b"], expected)


def test_an_experiment_that_nobody_met_has_no_units_and_an_unknown_metric_is_named(tmp_path: Path) -> None:
    config = config_at(tmp_path)
    with connect(config) as storage:
        assert measured(storage, config, AB, NOW).units == {}
        with pytest.raises(InputError, match=r"experiment 'cards'\.metrics = 'ctrr'.*did you mean"):
            measured(storage, config, replace(AB, metrics=("ctrr",)), NOW)
