"""DAGs of Airflow, run for real on small pipelines: states, retries, failures, gates, parts, parameters, alerts, links."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from msgspec.structs import replace

from airflow_process import CHECKOUT, Airflow, environment, written
from tastemaker.config import Airflow as Settings
from tastemaker.config import Config, Cron
from tastemaker.config.loading import decode
from tastemaker.pipelines.catalog import PIPELINES
from tastemaker.storage import connect

pytestmark = pytest.mark.slow

NOON = "2026-01-31T12:00:00+00:00"
END = 1_769_860_800_000


@pytest.fixture
def quick(home: Config) -> Config:
    """A home of this test, and an Airflow that does not wait between tries."""
    home.home.mkdir(parents=True)
    return replace(home, airflow=Settings(retries=1, retry_seconds=0.1, dashboard="http://board.example/"))


def words(config: Config) -> list[str]:
    return (config.home / "journal").read_text().split()


def test_a_step_that_fails_once_is_tried_again_and_the_run_is_whole(airflow: Airflow, quick: Config) -> None:
    ran = airflow.run("retrying", quick, logical_date=NOON)
    assert ran.state == "success"
    assert words(quick) == ["first", "shaky", "shaky", "last"]
    assert (ran.tries("first"), ran.tries("shaky"), ran.tries("last")) == (1, 2, 1)
    with connect(quick) as storage:
        run = storage.tables.runs.get("retrying-20260131T120000000")
        assert run is not None
        assert (run.state, run.end, run.steps["shaky"]["tries"]) == ("done", END, 2)
        assert storage.tables.alerts.open() == []
    assert ran.xcom("first")["summary"] == {"window": [0, END], "nothing": None}, "what is no number is null"
    assert ran.xcom("last", "summary") == "ok True"
    assert ran.xcom("last", "_link_RunLink") == "http://board.example/runs/retrying-20260131T120000000"


def test_a_step_that_keeps_failing_fails_the_run_and_raises_one_alert(airflow: Airflow, quick: Config) -> None:
    ran = airflow.run("breaking", quick, logical_date=NOON)
    assert ran.state == "failed"
    assert ran.states() == {"first": "success", "broken": "failed", "last": "upstream_failed", "close": "upstream_failed"}
    assert words(quick) == ["first", "broken", "broken"], "what is always done is not done behind a failure"
    with connect(quick) as storage:
        (alert,) = storage.tables.alerts.open()
        run = storage.tables.runs.get("breaking-20260131T120000000")
    assert (alert.name, alert.subject, alert.count) == ("run_failed", "breaking", 1), "once, after the last try"
    assert alert.text == "run breaking-20260131T120000000, step broken: the line stays bad"
    assert run is not None
    assert (run.state, run.steps["broken"]["state"]) == ("failed", "failed")
    assert ran.xcom("broken", "summary") == "failed: the line stays bad"
    assert ran.xcom("broken", "_link_RunLink") == "http://board.example/runs/breaking-20260131T120000000"


def test_a_wrong_value_is_not_tried_again(airflow: Airflow, quick: Config) -> None:
    ran = airflow.run("refusing", quick, logical_date=NOON)
    assert (ran.state, ran.tries("wrong"), words(quick)) == ("failed", 1, ["wrong"])
    with connect(quick) as storage:
        (alert,) = storage.tables.alerts.open()
    assert "value = 7: give another one" in alert.text


def test_a_step_that_takes_too_long_is_ended_and_the_runs_table_hears_of_it(airflow: Airflow, quick: Config) -> None:
    config = replace(quick, airflow=replace(quick.airflow, retries=0, timeout_minutes=0.02))
    ran = airflow.run("lasting", config, logical_date=NOON)
    assert (ran.state, ran.states()["slow"]) == ("failed", "failed")
    with connect(quick) as storage:
        run = storage.tables.runs.get("lasting-20260131T120000000")
        (alert,) = storage.tables.alerts.open()
    assert run is not None
    assert run.steps["slow"]["state"] == "failed"
    assert "Timeout" in run.steps["slow"]["error"]
    assert alert.subject == "lasting"


def test_a_closed_gate_skips_what_follows_but_for_what_is_always_done(airflow: Airflow, quick: Config) -> None:
    ran = airflow.run("halting", quick, logical_date=NOON)
    assert ran.state == "success"
    assert ran.states() == {
        "closed": "success", "spelled_parts": "skipped", "spelled_each": "skipped", "spelled": "skipped",
        "last": "success", "close": "success",
    }  # fmt: skip
    assert words(quick) == ["closed", "last"]
    assert ran.xcom("spelled", "summary") == "skipped: not good enough"
    with connect(quick) as storage:
        run = storage.tables.runs.get("halting-20260131T120000000")
    assert run is not None
    assert run.state == "done"
    assert run.steps["spelled"] == {"state": "skipped", "reason": "not good enough"}
    (quick.home / "journal").write_text("open\n")
    again = airflow.run("halting", quick, logical_date=NOON)
    assert set(again.states().values()) == {"success"}, "the gate is asked anew: what it said the last time does not skip it"
    done = words(quick)
    assert (done[:2], sorted(done[2:5]), done[5:]) == (["open", "closed"], ["letter-a", "letter-b", "letter-c"], ["last"])


def test_parts_are_tasks_side_by_side_named_by_their_labels(airflow: Airflow, quick: Config) -> None:
    ran = airflow.run("spelling", quick, run_after="2026-01-31T12:00:00.123+00:00")
    assert ran.states() == {
        "spelled_parts": "success", "spelled_each a": "success", "spelled_each b": "success", "spelled_each c": "success",
        "spelled": "success", "last": "success", "close": "success",
    }  # fmt: skip
    assert ran.xcom("spelled_parts") == ["a", "b", "c"]
    assert [found["summary"]["letter"] for found in ran.xcom("spelled_each")] == ["a", "b", "c"]
    assert ran.xcom("spelled")["summary"] == {"word": "abc"}
    assert (ran.start, ran.xcom("close")["run"]) == (None, "spelling-20260131T120000123"), "without an interval: until it may run"
    again = airflow.run("spelling", quick, run_after="2026-01-31T12:00:00.123+00:00")
    assert again.state == "success"
    assert words(quick).count("letter-a") == 1, "a part that is done is not done again"
    forced = airflow.run("spelling", quick, run_after="2026-01-31T12:00:00.123+00:00", conf={"force": True})
    assert forced.state == "success"
    assert words(quick).count("letter-a") == 2


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"models": ["alls"]}, "'alls' is not one of"),
        ({"models": ["als", "als"]}, "has non-unique elements"),
        ({"interval": {"end": "yesterday"}}, "'yesterday' does not match"),
        ({"interval": {"until": "2026-01-31"}}, "'until' was unexpected"),
        ({"force": "yes"}, "'yes' is not of type 'boolean'"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(airflow: Airflow, quick: Config, conf: object, told: str) -> None:
    ran = airflow.run("daily", quick, logical_date=NOON, conf=conf)
    assert ran.error.startswith("ParamValidationError")
    assert told in ran.error


def test_an_interval_of_ones_own_names_the_run(airflow: Airflow, quick: Config) -> None:
    own = {"interval": {"start": "2026-01-01", "end": "2026-01-02T03:04:05Z"}}
    ran = airflow.run("retrying", quick, logical_date=NOON, conf=own)
    assert ran.xcom("close")["run"] == "retrying-20260102T030405000"
    assert ran.xcom("first")["summary"]["window"] == [1_767_225_600_000, 1_767_323_045_000]
    turned = {"interval": {"start": "2026-01-03", "end": "2026-01-02"}}
    ran = airflow.run("retrying", quick, logical_date=NOON, conf=turned)
    assert (ran.state, ran.tries("first")) == ("failed", 1)
    assert "an interval starts before it ends" in ran.xcom("first", "summary")


LOOK = """
import json, sys, time
import airflow.sdk
from airflow.sdk import Asset, AssetOrTimeSchedule, CronDataIntervalTimetable, DAG, Param, TriggerRule, task
from airflow.sdk.bases.decorator import DecoratedOperator
from airflow.providers.standard.operators.python import ExternalPythonOperator
from airflow.plugins_manager import AirflowPlugin
before, began = set(sys.modules), time.process_time()
import runpy
found = runpy.run_path(sys.argv[1])
print(json.dumps([sorted(set(sys.modules) - before), time.process_time() - began, found["tastemaker_daily"].doc_md]))
"""


def test_the_dag_file_loads_nothing_heavy_and_loads_at_once(tmp_path: Path, quick: Config) -> None:
    file = written(quick, tmp_path / "tastemaker.toml")
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(CHECKOUT / "dags" / "tastemaker.py")],
        env=environment(tmp_path, TASTEMAKER_CONFIG=str(file)), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names, took, about = json.loads(done.stdout.splitlines()[-1])
    added = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert added == {"airflow", "tastemaker", "prometheus_client"}, "Airflow's environment needs no more than the how-to says"
    assert took < 1.0
    assert "Trains every configured model" in about


def test_there_is_a_dag_for_each_pipeline_of_the_catalogue(airflow: Airflow, quick: Config) -> None:
    dags = airflow.look(quick)
    assert {f"tastemaker_{name}" for name in PIPELINES} <= set(dags)
    *tasks, schedule = dags["tastemaker_daily"]
    assert tasks == [
        "ingest", "features", "train_parts", "train_each", "train", "evaluate", "gate", "publish", "arms", "monitor", "close",
    ]  # fmt: skip
    assert schedule.startswith("AssetOrTimeSchedule")
    assert "0 4 * * *" in schedule
    assert "tastemaker_retrain" in schedule
    assert "retrain" in dags["tastemaker_evaluate"]


def test_without_a_cron_expression_a_pipeline_waits_to_be_asked(airflow: Airflow, quick: Config) -> None:
    dags = airflow.look(replace(quick, airflow=Settings(cron=Cron(daily="", hourly=""))))
    assert dags["tastemaker_hourly"][-1] == "None"
    assert "tastemaker_retrain" in dags["tastemaker_daily"][-1]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(cron=Cron(hourly="often")), "ConfigError: airflow.cron.hourly = 'often'"),
        (Settings(start_date="soon"), "ConfigError: airflow.start_date = 'soon': give a date as 2026-01-31"),
        (Settings(image="tastemaker:1"), "MissingExtra: airflow.image needs a package that is not installed: pip install"),
    ],
)
def test_a_wrong_setting_is_named_when_airflow_reads_the_file(
    airflow: Airflow, quick: Config, settings: Settings, told: str
) -> None:
    if settings.image and importlib.util.find_spec("kubernetes") is not None:
        pytest.skip("the provider for Kubernetes is installed")
    with pytest.raises(RuntimeError, match=re.escape(told)):
        airflow.look(replace(quick, airflow=settings))


def fenced(language: str) -> list[str]:
    """The blocks of a language on the how-to's page."""
    page = (CHECKOUT / "docs" / "how-to" / "airflow.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_configurations_of_the_how_to_are_right() -> None:
    blocks = fenced("toml")
    assert len(blocks) == 3
    for text in blocks:
        assert decode(tomllib.loads(text), {}, "airflow.md").airflow != Settings()


def test_the_dag_of_the_how_to_waits_for_the_asset(airflow: Airflow, quick: Config) -> None:
    (text,) = fenced("py")
    (tasks,) = airflow.look(quick, text).values()
    assert tasks[0] == "say"
    assert "tastemaker_model_published" in tasks[-1]
    assert "tastemaker://model" in tasks[-1]
