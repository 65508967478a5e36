"""Runs as metrics: what the API and a worker's own port show of work that other processes have done."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from prometheus_client import Gauge

import servers
from api import Api, api
from ports import free_port
from processes import up
from tastemaker import telemetry
from tastemaker.config import Config, Connect
from tastemaker.domain import Run
from tastemaker.monitoring import runs as module
from tastemaker.monitoring.runs import RunMetrics, rows_of, show, show_all, show_quality
from tastemaker.storage import Storage, connect
from tastemaker.storage.tables import Metric

SHOWN = (
    telemetry.RUN_STATE, telemetry.RUN_SECONDS, telemetry.RUN_AGE, telemetry.STEP_STATE, telemetry.STEP_SECONDS,
    telemetry.STEP_TRIES, telemetry.STEP_ROWS, telemetry.GATE, telemetry.MODEL_METRIC, telemetry.ALERTS, telemetry.TRIGGERS,
    telemetry.QUALITY,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_shown() -> Iterator[None]:
    for gauge in SHOWN:
        gauge.clear()
    yield
    for gauge in SHOWN:
        gauge.clear()


def values(gauge: Gauge) -> dict[tuple[str, ...], float]:
    return {tuple(s.labels.values()): s.value for family in gauge.collect() for s in family.samples}


def done(began: int, ended: int, **more: object) -> dict[str, object]:
    return {"state": "done", "began": began, "ended": ended, "tries": 1, "summary": {}} | more


def test_the_last_good_run_tells_how_long_and_the_newest_its_state(storage: Storage) -> None:
    steps = {"ingest": done(0, 2000, summary={"rows": {"interactions": 7, "views": 3}}), "train": done(2000, 9000, tries=2)}
    storage.tables.runs.put(Run("daily-1", "daily", 0, 1, "done", 1000, 61_000, steps))
    failing = {"ingest": done(100_000, 101_000), "train": {"state": "failed", "began": 101_000, "ended": 105_000, "tries": 3}}
    storage.tables.runs.put(Run("daily-2", "daily", 1, 2, "failed", 100_000, None, failing))
    show_all(storage, 161_000)
    assert values(telemetry.RUN_SECONDS) == {("daily",): 60.0}
    assert values(telemetry.RUN_AGE) == {("daily",): 100.0}
    assert {labels for labels, value in values(telemetry.RUN_STATE).items() if value} == {("daily", "failed")}
    assert {labels for labels, value in values(telemetry.STEP_STATE).items() if value} == {
        ("daily", "ingest", "done"),
        ("daily", "train", "failed"),
    }
    assert values(telemetry.STEP_SECONDS) == {("daily", "ingest", ""): 1.0, ("daily", "train", ""): 4.0}
    assert values(telemetry.STEP_TRIES)["daily", "train"] == 3.0
    assert values(telemetry.STEP_ROWS) == {}, "the newest ingest tells of none"


def test_a_run_under_way_leaves_what_its_steps_did_last_in_sight(storage: Storage) -> None:
    steps = {"ingest": done(0, 2000, summary={"rows": {"interactions": 7}})}
    storage.tables.runs.put(Run("daily-1", "daily", 0, 1, "done", 0, 2000, steps))
    storage.tables.runs.put(Run("daily-2", "daily", 1, 2, "running", 5000, None, {"ingest": {"state": "running", "began": 5000}}))
    show_all(storage, 6000)
    assert values(telemetry.STEP_ROWS) == {("daily", "ingest", "out"): 7.0}
    assert values(telemetry.STEP_SECONDS) == {("daily", "ingest", ""): 2.0}
    assert values(telemetry.STEP_STATE)["daily", "ingest", "running"] == 1.0


def test_parts_of_a_step_have_times_of_their_own(storage: Storage) -> None:
    train = done(0, 9000, parts={"als": done(0, 8000), "nmf": done(0, 9000), "bpr": {"state": "running", "began": 1}})
    storage.tables.runs.put(Run("daily-1", "daily", 0, 1, "running", 0, None, {"train": train}))
    show_all(storage, 0)
    assert values(telemetry.STEP_SECONDS) == {
        ("daily", "train", ""): 9.0, ("daily", "train", "als"): 8.0, ("daily", "train", "nmf"): 9.0,
    }  # fmt: skip
    assert values(telemetry.RUN_SECONDS) == {}


def test_the_published_world_shows_rows_models_and_the_open_gate(published: tuple[Storage, Config]) -> None:
    storage, _ = published
    show_all(storage, int(time.time() * 1000))
    (live,) = storage.tables.models.all(state="live")
    assert values(telemetry.GATE) == {(live.kind,): 1.0}
    shown = values(telemetry.MODEL_METRIC)
    assert shown["live", live.kind, "ndcg@10"] == live.metrics["ndcg@10"].value
    assert {(role, kind) for role, kind, _ in shown} == {("live", "als"), ("candidate", "popular")}
    rows = values(telemetry.STEP_ROWS)
    run = storage.tables.runs.last("daily", 1)[0]
    assert rows["daily", "train", "in"] == run.steps["train"]["summary"]["data"]["events"] > 1000
    assert rows["daily", "publish", "out"] == run.steps["publish"]["summary"]["users"] == 120
    assert {step for _, step, _ in rows} == {"ingest", "features", "train", "evaluate", "publish"}


def test_alerts_and_triggers_are_counted(storage: Storage) -> None:
    storage.tables.runs.put(Run("daily-1", "daily", 0, 1, "done", 0, 1))
    storage.tables.alerts.note("a", "s", "error", "t", 1.0, 1)
    storage.tables.triggers.ask("t", "daily", "r", 1)
    show_all(storage, 2)
    assert (values(telemetry.ALERTS), values(telemetry.TRIGGERS)) == ({("error",): 1.0}, {("daily",): 1.0})
    storage.tables.alerts.close("a", "s", 3)
    storage.tables.triggers.take("daily", "r", 3)
    show_all(storage, 4)
    assert (values(telemetry.ALERTS), values(telemetry.TRIGGERS)) == ({}, {("daily",): 0.0})


def test_a_gauge_loses_what_is_no_more_and_nothing_else() -> None:
    show(telemetry.STEP_TRIES, {("daily", "a"): 1.0, ("daily", "b"): 2.0})
    show(telemetry.STEP_TRIES, {("daily", "b"): 3.0})
    assert values(telemetry.STEP_TRIES) == {("daily", "b"): 3.0}


def test_a_summary_that_tells_no_rows_shows_none() -> None:
    assert list(rows_of("train", {"data": None})) == []
    assert list(rows_of("gate", {"rows": 3})) == []
    assert list(rows_of("retain", {"removed": {"views": 3, "runs": 2}})) == [("out", 5)]


def test_the_newest_rates_of_the_history_are_shown_as_metrics(storage: Storage) -> None:
    def point(model: str, value: float, time: int) -> Metric:
        return Metric(name="ctr", model=model, value=value, low=0.0, high=1.0, n=5, time=time, source="online")

    storage.tables.metrics.put([point("old-1", 0.5, 1), point("als-1", 0.1, 1), point("als-1", 0.2, 2), point("none", 0.3, 2)])
    show_quality(storage)
    assert values(telemetry.QUALITY) == {("ctr", "als-1"): 0.2, ("ctr", "none"): 0.3}


def test_collectors_in_a_row_look_at_the_tables_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(module, "show_all", lambda _, now: looks.append(now))
    shown = RunMetrics(storage, every=0.2)
    for _ in range(20):
        shown.refresh()
    assert len(looks) == 1
    time.sleep(0.25)
    shown.refresh()
    assert len(looks) == 2
    shown.stop()
    time.sleep(0.25)
    shown.refresh()
    assert len(looks) == 2


def test_a_look_that_takes_long_is_not_waited_for(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "show_all", lambda *_: time.sleep(0.6))
    shown = RunMetrics(storage)
    began = time.monotonic()
    shown.refresh(patience=0.05)
    assert time.monotonic() - began < 0.4
    shown.stop()


def test_tables_that_cannot_be_read_are_told_once_and_harm_nothing(tmp_path: Path) -> None:
    (tmp_path / "tables.db").write_text("this is no database")
    broken = Config(connect=Connect(home=str(tmp_path), tables=f"sqlite:///{tmp_path}/tables.db"))
    with connect(broken) as storage, structlog.testing.capture_logs() as lines:
        shown = RunMetrics(storage, every=0.0)
        for _ in range(3):
            shown.refresh()
            shown.stop()
            shown._stopped = False
    assert [line["event"] for line in lines] == ["runs_unreadable"]


@pytest.fixture
def server(published: tuple[Storage, Config]) -> Iterator[Api]:
    with api(*published) as running:
        yield running


def test_the_api_shows_runs_and_promtool_finds_nothing_wrong(server: Api) -> None:
    text = server.client.get("/metrics").text
    assert re.search(r'^tastemaker_run_state\{pipeline="daily",state="done"\} 1\.0$', text, re.MULTILINE)
    assert re.search(r'^tastemaker_step_rows\{pipeline="daily",step="publish",way="out"\} 120\.0$', text, re.MULTILINE)
    versions = re.findall(r'="(\w+-\d{8}T\d{9})"', "\n".join(line for line in text.splitlines() if "_live_model" not in line))
    assert [version for version in versions if f'model="{version}"' not in text] == [], "a version is a label of quality alone"
    checked = subprocess.run([servers.program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_server_without_a_schedule_shows_them_too_also_on_its_own_port(published: tuple[Storage, Config]) -> None:
    storage, config = published
    storage.close()
    port = free_port()
    more = {"TASTEMAKER_LOG__PARTITIONS": "4"}
    with up(config.home, "--metrics-port", str(port), process="serve", more=more) as running:
        for base in (running.base, f"http://127.0.0.1:{port}"):
            with urllib.request.urlopen(f"{base}/metrics", timeout=30) as answer:
                text = answer.read().decode()
            assert 'tastemaker_run_state{pipeline="daily",state="done"} 1.0' in text
            assert 'tastemaker_gate_passed{kind="als"} 1.0' in text
