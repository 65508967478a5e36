"""Alerts: raised once, closed when all is well, shown by the command; runs raise and close their own."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import structlog
from msgspec.structs import replace

from processes import command
from tastemaker.config import Config, Connect, Schedule
from tastemaker.errors import ConfigError, InputError, NotFound
from tastemaker.monitoring.alerts import close_alert, close_by_id, raise_alert, run_failed
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.pipeline import Outcome, Pipeline, Progress, Step, Window
from tastemaker.storage import Storage, connect


def breaks(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Fails until somebody puts a file there."""
    if not (config.home / "mended").exists():
        raise ConfigError("this cannot be")
    return Outcome()


LINE = Pipeline("line", "", (Step("breaks", f"{__name__}:breaks", ""),))


def test_an_alert_says_so_once_aloud_and_then_quietly(storage: Storage) -> None:
    with structlog.testing.capture_logs() as lines:
        for now in (1, 2, 3):
            raise_alert(storage, name="late", subject="daily", text="it is late", value=2.0, now=now)
        assert close_alert(storage, name="late", subject="daily", now=4) is not None
        assert close_alert(storage, name="late", subject="daily", now=5) is None
    told = [(line["event"], line["log_level"], line["count"]) for line in lines]
    assert told == [
        ("alert_raised", "warning", 1), ("alert_raised", "info", 2), ("alert_raised", "info", 3), ("alert_closed", "info", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "alert.name"),
        ({"subject": "x" * 257}, "alert.subject"),
        ({"severity": "fatal"}, "alert.severity"),
        ({"value": math.inf}, "alert.value"),
    ],
)
def test_what_cannot_be_an_alert_is_refused_by_its_field(storage: Storage, wrong: dict[str, object], field: str) -> None:
    given = {"name": "n", "subject": "s", "text": "t"} | wrong
    with pytest.raises(InputError, match=field):
        raise_alert(storage, **given)  # type: ignore[arg-type]  # wrong on purpose


def test_a_failed_run_raises_an_alert_that_its_later_end_closes(storage: Storage, home: Config) -> None:
    config = replace(home, schedule=Schedule(retries=0))
    for _ in range(2):
        with pytest.raises(ConfigError):
            run_pipeline(storage, config, LINE)
    (alert,) = storage.tables.alerts.open()
    run = storage.tables.runs.last("line", 1)[0]
    assert (alert.name, alert.subject, alert.count, alert.severity) == ("run_failed", "line", 2, "error")
    assert alert.text == f"run {run.id}, step breaks: this cannot be"
    (config.home / "mended").touch()
    run_pipeline(storage, config, LINE)
    assert storage.tables.alerts.open() == []
    assert storage.tables.alerts.last()[0].state == "closed"


def test_a_failure_is_not_hidden_by_tables_that_are_away(tmp_path: Path) -> None:
    (tmp_path / "tables.db").write_text("this is no database")
    broken = Config(connect=Connect(home=str(tmp_path), tables=f"sqlite:///{tmp_path}/tables.db"))
    with connect(broken) as away, structlog.testing.capture_logs() as lines:
        assert run_failed(away, pipeline="daily", run="daily-1", step="train", error="x") is None
    assert [line["event"] for line in lines] == ["alert_lost"]


def test_the_command_lists_and_closes_alerts(storage: Storage, home: Config) -> None:
    assert command(home.home, "alerts", "list").out.strip() == "no open alerts"
    alert = raise_alert(storage, name="late", subject="daily [x]", text="it is late")
    raise_alert(storage, name="late", subject="hourly", text="t")
    close_alert(storage, name="late", subject="hourly")
    shown = command(home.home, "alerts", "list")
    assert (shown.code, "daily [x]" in shown.out, "hourly" in shown.out) == (0, True, False)
    rows = json.loads(command(home.home, "alerts", "list", "--all", "--json").out)
    assert {(row["subject"], row["state"]) for row in rows} == {("daily [x]", "open"), ("hourly", "closed")}
    assert "closed" in command(home.home, "alerts", "close", alert.id).out
    assert storage.tables.alerts.open() == []
    wrong = command(home.home, "alerts", "close", "nothing")
    assert (wrong.code, "tastemaker alerts list --all" in wrong.err) == (1, True)


def test_closing_by_id_leaves_a_closed_alert_and_its_successor_alone(storage: Storage) -> None:
    old = raise_alert(storage, name="n", subject="s", text="t", now=1)
    close_alert(storage, name="n", subject="s", now=2)
    raise_alert(storage, name="n", subject="s", text="t", now=3)
    assert close_by_id(storage, old.id).closed == 2
    assert len(storage.tables.alerts.open()) == 1
    with pytest.raises(NotFound):
        close_by_id(storage, "x")
