"""The real pipelines in Airflow, over a small world on real files: they make what the local runner makes."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import world
from airflow_process import Airflow
from tastemaker.config import Airflow as Settings
from tastemaker.config import Config, Gate
from tastemaker.config.watching import Rule
from tastemaker.domain import ModelCard
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.registry import live
from tastemaker.storage import Storage, connect, keys

pytestmark = pytest.mark.slow

SOON = "2026-01-10T09:30:00+00:00"  # later than everything in the world
SOON_MS = 1_768_037_400_000
QUICK = Settings(retries=0, retry_seconds=0.1)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose log holds a world, and nothing has run yet. Leave it as it is: copy it."""
    home = tmp_path_factory.mktemp("filled") / "home"
    with connect(world.config_of(home)) as storage:
        world.fill(storage)
    return home


@pytest.fixture
def config(filled: Path, tmp_path: Path) -> Config:
    return copied(filled, tmp_path / "home")


def copied(home: Path, place: Path) -> Config:
    config: Config = world.config_of(shutil.copytree(home, place))
    return replace(config, airflow=QUICK)


def card_of(storage: Storage, version: str) -> ModelCard:
    found = storage.tables.models.get(version)
    assert found is not None
    return found


def facts(config: Config, run: str) -> dict[str, Any]:
    """Everything that a run of ``daily`` decides or computes, without what is only about when and how fast."""
    with connect(config) as storage:
        found = storage.tables.runs.get(run)
        now = live.read(storage.kv)
        assert found is not None
        assert now is not None
        cards = [msgspec.json.encode(replace(card, seconds=0.0, verdict=None)) for card in storage.tables.models.all()]
        verdicts = {
            card.version: [(one.name, one.passed, one.name == "latency" or one.value) for one in card.verdict.checks]
            for card in storage.tables.models.all()
            if card.verdict is not None
        }
        steps = {name: step["state"] for name, step in found.steps.items()}
        tables = {name: storage.lake.read(name).to_pylist() for name in ("user_features", "item_features", "evaluations")}
        slates = dict(storage.kv.scan(keys.slates(now.version)[0]))
        return {
            "run": (found.state, found.start, found.end, steps), "live": replace(now, since=0), "cards": cards,
            "verdicts": verdicts, "tables": tables, "slates": slates,
        }  # fmt: skip


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows agree, their floats up to the last digits."""
    numbers = {name for name, value in other.items() if isinstance(value, float)}
    rest = [{name: value for name, value in row.items() if name not in numbers} for row in (one, other)]
    return rest[0] == rest[1] and all(math.isclose(one[name], other[name], rel_tol=1e-12) for name in numbers)


def test_daily_in_airflow_is_daily_of_the_local_runner(airflow: Airflow, filled: Path, tmp_path: Path) -> None:
    here, there = copied(filled, tmp_path / "here"), copied(filled, tmp_path / "there")
    with connect(here) as storage:
        run = run_pipeline(storage, here, pipeline("daily"), now=SOON_MS)
    ran = airflow.run("daily", there, run_after=SOON)
    assert ran.state == "success"
    assert set(ran.states().values()) == {"success"}
    assert {"train_each popular", "train_each als"} <= set(ran.states())
    assert ran.xcom("close")["run"] == run.id == "daily-20260110T093000000"
    expected, found = facts(here, run.id), facts(there, run.id)
    tables, others = expected.pop("tables"), found.pop("tables")
    for what, value in expected.items():
        assert found[what] == value, what
    for name, rows in tables.items():  # DuckDB's threads add up in any order
        assert len(others[name]) == len(rows)
        assert all(map(same, others[name], rows)), name
    assert len(expected["slates"]) > 100
    version = expected["live"].version
    (event,) = ran.events
    assert (event["asset"], event["task"], event["extra"]["version"]) == ("tastemaker_model_published", "publish", version)
    assert event["extra"]["verdict"]["passed"] is True
    assert event["extra"]["metrics"]["ndcg@10"][0] == pytest.approx(card_value(expected, version))
    assert ran.xcom("gate", "summary").startswith(f"{version} passed: ndcg@10 0.")
    assert ran.xcom("gate", "summary").endswith("checks passed")
    assert ran.xcom("ingest", "summary").startswith("80 items, 6 users, 3000 interactions taken in")


def card_value(found: dict[str, Any], version: str) -> float:
    cards = [msgspec.json.decode(card) for card in found["cards"]]
    (value,) = [card["metrics"]["ndcg@10"]["value"] for card in cards if card["version"] == version]
    return float(value)


def test_a_closed_gate_is_a_success_that_publishes_nothing_and_is_monitored(airflow: Airflow, config: Config) -> None:
    ran = airflow.run("daily", replace(config, gate=Gate(floor=0.99, latency_ms=60_000.0)), run_after=SOON)
    assert ran.state == "success"
    states = ran.states()
    assert (states["gate"], states["publish"], states["monitor"], states["close"]) == ("success", "skipped", "success", "success")
    assert ran.events == []
    assert "refused: ndcg@10" in ran.xcom("gate", "summary")
    assert ran.xcom("gate", "summary").endswith("not floor")
    with connect(config) as storage:
        assert live.read(storage.kv) is None
        (run,) = storage.tables.runs.last("daily")
        assert (run.state, run.steps["publish"]["state"], run.steps["monitor"]["state"]) == ("done", "skipped", "done")


def test_intervals_of_the_past_are_filled_without_replacing_what_is_live(airflow: Airflow, config: Config) -> None:
    """The newest interval first, as the schedule has it, and then those before it, as a backfill brings them."""
    days = [airflow.run("daily", config, logical_date=f"2026-01-0{day}T05:00:00+00:00") for day in (4, 2, 3)]
    assert [day.state for day in days] == ["success"] * 3
    assert [(day.start, day.end) for day in days] == [
        (f"2026-01-0{day - 1} 04:00:00+00:00", f"2026-01-0{day} 04:00:00+00:00") for day in (4, 2, 3)
    ]
    assert days[0].states()["publish"] == "success"
    newest = "als-20260104T040000000"
    for day in days[1:]:
        assert day.states()["publish"] == "skipped"
        assert day.states()["close"] == "success"
        assert day.events == [], "nothing was published, so nobody hears of it"
    with connect(config) as storage:
        now = live.read(storage.kv)
        assert now is not None
        assert now.version == newest
        events = [card_of(storage, f"als-2026010{day}T040000000").data["events"] for day in (2, 3, 4)]
        assert events[0] < events[1] <= events[2], "a model of the past has learnt what one would have known then"
        assert {card.version for card in storage.tables.models.all(kind="als")} == {
            f"als-2026010{day}T040000000" for day in (2, 3, 4)
        }
        known = {card.version: card.seconds for card in storage.tables.models.all()}
    again = airflow.run("daily", config, logical_date="2026-01-03T05:00:00+00:00")
    assert (again.state, again.states()["publish"]) == ("success", "skipped")
    with connect(config) as storage:
        found = {card.version: card.seconds for card in storage.tables.models.all()}
        assert found == known, "the same interval, the same versions, and nothing is trained twice"
        assert len(storage.tables.runs.last("daily")) == 3


def test_only_the_models_that_are_asked_for_are_trained_and_the_fallback(airflow: Airflow, filled: Path, tmp_path: Path) -> None:
    config = replace(copied(filled, tmp_path / "home"), gate=Gate(floor=0.0, latency_ms=60_000.0))
    config = replace(config, train=replace(config.train, models=("popular", "als", "item_knn")))
    ran = airflow.run("daily", config, run_after=SOON, conf={"models": ["item_knn"]})
    assert ran.state == "success"
    assert [found["summary"]["models"] for found in ran.xcom("train_each")] == [
        ["popular-20260110T093000000"], ["item_knn-20260110T093000000"],
    ]  # fmt: skip
    anew = airflow.run("daily", config, run_after=SOON, conf={"models": ["item_knn"], "force": True})
    assert anew.state == "failed"
    assert {state for name, state in anew.states().items() if name.startswith("train_each")} == {"failed"}
    assert "this version is in use" in " ".join(anew.xcom("train_each", "summary"))


def test_another_python_does_the_steps(airflow: Airflow, published_home: Path, tmp_path: Path) -> None:
    config = replace(copied(published_home, tmp_path / "home"), airflow=replace(QUICK, python=sys.executable))
    ran = airflow.run("hourly", config, run_after="2027-01-10T09:30:00+00:00")
    assert ran.state == "success"
    assert ran.states() == {"ingest": "success", "freshen": "success", "publish": "success", "close": "success"}
    assert ran.xcom("publish", "summary").endswith("is live, with slates for 120 users")
    assert ran.events == [], "new slates of the same version are no new version"
    with connect(config) as storage:
        (run,) = storage.tables.runs.last("hourly")
    assert (run.state, run.id) == ("done", "hourly-20270110T093000000")
    refused = airflow.run("hourly", config, run_after="2027-01-10T09:30:00+00:00", conf={"interval": {"start": "2027-01-11"}})
    assert (refused.state, refused.states()["ingest"]) == ("failed", "failed")
    with connect(config) as storage:
        (alert,) = storage.tables.alerts.open()
    assert "an interval starts before it ends" in alert.text


def test_a_rule_that_fires_asks_for_a_training_by_its_asset(airflow: Airflow, published_home: Path, tmp_path: Path) -> None:
    quiet = copied(published_home, tmp_path / "quiet")
    ran = airflow.run("evaluate", quiet, run_after="2027-01-10T09:30:00+00:00")
    assert ran.state == "success"
    assert (ran.states()["check"], ran.states()["retrain"], ran.events) == ("success", "skipped", [])
    bound = Rule(metric="lag_archive", above=-1.0, evaluations=1, action="retrain")
    strict = replace(quiet, watch=replace(quiet.watch, rules={"always": bound}))
    ran = airflow.run("evaluate", strict, run_after="2027-01-10T10:30:00+00:00")
    assert (ran.state, ran.states()["retrain"]) == ("success", "success")
    (event,) = ran.events
    assert (event["asset"], event["extra"]["run"]) == ("tastemaker_retrain", "evaluate-20270110T103000000")
    assert event["extra"]["reason"].startswith("always: ")
