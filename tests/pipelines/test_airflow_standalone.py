"""A whole Airflow: scheduler, API server, triggerer, a run that the schedule starts, an asset that starts another, and the page.

It takes minutes and gigabytes, so it must be asked for: TASTEMAKER_TEST_AIRFLOW=standalone. The pictures of the pages are left
in ``build``: look at them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import world
from airflow_process import CHECKOUT, environment, written
from ports import free_port
from processes import wait_for
from tastemaker.config import Airflow as Settings
from tastemaker.config import Config, Cron
from tastemaker.config.watching import Rule
from tastemaker.storage import connect

ASKED = os.environ.get("TASTEMAKER_TEST_AIRFLOW") == "standalone"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ASKED, reason="set TASTEMAKER_TEST_AIRFLOW=standalone to start a whole Airflow"),
]

PATIENCE = 600.0  # of a small machine that does other things, too


@dataclass
class Server:
    """An Airflow that listens."""

    url: str
    folder: Path
    token: str = ""

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def healthy(self) -> bool:
        assert "address already in use" not in self.said(), self.said()
        try:
            health = self.ask("/api/v2/monitor/health")
        except (urllib.error.URLError, OSError):
            return False
        return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))

    def said(self) -> str:
        """The last words of all its processes."""
        return (self.folder / "standalone.log").read_text()[-5000:]

    def password(self) -> str:
        path = self.folder / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(path.read_text())["admin"])

    def runs(self, dag: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(f"/api/v2/dags/{dag}/dagRuns?order_by=run_after")["dag_runs"]
        return found

    def ended(self, dag: str, kind: str) -> str:
        """The id of a run of a kind that was a success; empty: there is none. A failure fails the test."""
        found = [run for run in self.runs(dag) if run["run_type"] == kind]
        assert not any(run["state"] == "failed" for run in found), found
        return next((str(run["dag_run_id"]) for run in found if run["state"] == "success"), "")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A world, a schedule of every minute for ``evaluate``, and a rule that always asks for a training."""
    config: Config = world.config_of(tmp_path_factory.mktemp("standalone") / "home")
    with connect(config) as storage:
        world.fill(storage)
    rule = Rule(metric="lag_archive", above=-1.0, evaluations=1, action="retrain")
    cron = Cron(daily="0 4 * * *", hourly="", evaluate="* * * * *", maintain="")
    return replace(
        config,
        airflow=Settings(cron=cron, retry_seconds=1.0, dashboard="http://board.example"),
        watch=replace(config.watch, rules={"always": rule}),
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, config: Config) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("airflow")
    port, logs, triggers = free_port(), free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    environ = environment(
        folder,
        TASTEMAKER_CONFIG=str(written(config, folder / "tastemaker.toml")),
        AIRFLOW__API__PORT=str(port), AIRFLOW__API__HOST="127.0.0.1", AIRFLOW__API__BASE_URL=url, AIRFLOW__API__WORKERS="1",
        AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"{url}/execution/", AIRFLOW__CORE__PARALLELISM="2",
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="True", AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=str(logs),
        AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT=str(triggers), AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL="5",
    )  # fmt: skip
    with (folder / "standalone.log").open("w") as log:
        process = subprocess.Popen(
            ["airflow", "standalone"], env=environ, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    server = Server(url, folder)
    try:
        wait_for(server.healthy, PATIENCE, server.said)
        server.token = server.ask("/auth/token", {"username": "admin", "password": server.password()})["access_token"]
        wait_for(lambda: server.ask("/api/v2/dags")["total_entries"] >= 4, PATIENCE, server.said)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # a signal to the parent alone leaves its children
        process.wait()


def test_the_schedule_starts_evaluate_whose_rule_starts_daily_by_its_asset(server: Server, config: Config) -> None:
    for dag in ("tastemaker_daily", "tastemaker_evaluate"):
        server.ask(f"/api/v2/dags/{dag}", {"is_paused": False}, "PATCH")
    wait_for(lambda: bool(server.ended("tastemaker_evaluate", "scheduled")), PATIENCE, server.said)
    server.ask("/api/v2/dags/tastemaker_evaluate", {"is_paused": True}, "PATCH")
    wait_for(lambda: bool(server.ended("tastemaker_daily", "asset_triggered")), PATIENCE, server.said)
    events = server.ask("/api/v2/assets/events?order_by=timestamp")["asset_events"]
    assert any("retrain" in event["uri"] and event["extra"]["reason"].startswith("always") for event in events)
    published = [event for event in events if event["uri"].startswith("tastemaker://model")]
    assert published[0]["extra"]["verdict"]["passed"] is True
    with connect(config) as storage:
        assert storage.tables.runs.last("daily")[0].state == "done"
    run = server.ended("tastemaker_daily", "asset_triggered")
    links = server.ask(f"/api/v2/dags/tastemaker_daily/dagRuns/{run}/taskInstances/gate/links")["extra_links"]
    assert links["tastemaker run"].startswith("http://board.example/runs/daily-")
    found = server.ask(f"/api/v2/dags/tastemaker_daily/dagRuns/{run}/taskInstances/gate/xcomEntries/summary")
    assert "passed: ndcg@10" in found["value"]


def test_a_wrong_parameter_is_refused_by_the_api(server: Server) -> None:
    wrong = {"logical_date": None, "conf": {"models": ["alls"]}}
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.ask("/api/v2/dags/tastemaker_daily/dagRuns", wrong)
    assert refused.value.code == 400
    assert "alls" in refused.value.read().decode()


def test_a_backfill_fills_intervals_of_the_past(server: Server, config: Config) -> None:
    server.ask("/api/v2/dags/tastemaker_daily", {"is_paused": False}, "PATCH")
    span = {"dag_id": "tastemaker_daily", "from_date": "2026-01-02T00:00:00Z", "to_date": "2026-01-03T23:00:00Z"}
    server.ask("/api/v2/backfills", {**span, "max_active_runs": 1, "run_backwards": False, "dag_run_conf": {}})

    def done() -> bool:
        runs = [run for run in server.runs("tastemaker_daily") if run["run_type"] == "backfill"]
        assert not any(run["state"] == "failed" for run in runs), runs
        return len(runs) >= 2 and all(run["state"] == "success" for run in runs)

    wait_for(done, PATIENCE, server.said)
    with connect(config) as storage:
        ids = {run.id for run in storage.tables.runs.last("daily")}
    assert {"daily-20260103T040000000", "daily-20260104T040000000"} <= ids


def test_the_pages_show_the_graph(server: Server) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    build = CHECKOUT / "build"
    build.mkdir(exist_ok=True)
    run = server.ended("tastemaker_daily", "asset_triggered")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, headless=True, args=quiet)
        context = browser.new_context(viewport={"width": 1900, "height": 1000})
        context.add_cookies([{"name": "_token", "value": server.token, "url": server.url}])
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(f"{server.url}/dags/tastemaker_daily/runs/{run}")
        page.get_by_text("train_each").first.wait_for()
        page.keyboard.press("g")  # from the grid to the graph
        page.wait_for_timeout(10_000)  # the graph is laid out by a worker of the page
        page.screenshot(path=build / "airflow-graph.png")
        page.goto(f"{server.url}/dags/tastemaker_daily/runs/{run}/tasks/gate/xcom")
        page.get_by_text("checks passed").first.wait_for()
        page.goto(f"{server.url}/dags/tastemaker_daily/runs/{run}/tasks/gate/details")
        page.get_by_role("link", name="tastemaker run").first.wait_for()
        page.screenshot(path=build / "airflow-task.png")
        browser.close()
    assert (build / "airflow-graph.png").stat().st_size > 20_000
