"""From the world's shift to a new model: drift is measured, a rule fires once, one run begins, and the rule recovers."""

from __future__ import annotations

import os
import time

import pytest
from msgspec.structs import replace

from processes import wait_for
from tastemaker.config import Config, Rule, Schedule, Watch
from tastemaker.domain import Decision, Interaction, ItemChange, Run, Slot
from tastemaker.pipelines import schedule
from tastemaker.pipelines.catalog import CHECK, DRIFT, INGEST, pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.pipeline import Pipeline
from tastemaker.pipelines.running import do_step
from tastemaker.storage import Storage, connect
from tastemaker.storage.tables import Metric

NOW = 1_769_860_800_000
HOUR = 3_600_000
DAY = 24 * HOUR
LINE = Pipeline("line", "", (CHECK,))
LOOK = Pipeline("look", "", (INGEST, DRIFT))


# ── check ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def watching(config: Config, **rules: Rule) -> Config:
    return replace(config, watch=Watch(rules=rules))


def measured(storage: Storage, name: str, value: float, time: int, n: int = 0) -> None:
    storage.tables.metrics.put([Metric(name, "", value, float("nan"), float("nan"), n, time, source="online")])


def checked(storage: Storage, config: Config, value: float, hour: int) -> Run:
    """One more value of ctr, and one more evaluation."""
    measured(storage, "ctr", value, NOW + hour * HOUR)
    return run_pipeline(storage, config, LINE, now=NOW + hour * HOUR)


def test_a_rule_asks_once_for_a_retraining_raises_one_alert_and_recovers(storage: Storage, home: Config) -> None:
    config = watching(home, ctr=Rule("ctr", below=0.1, evaluations=2, action="retrain"))
    asked = []
    for hour, value in enumerate([0.2, 0.05, 0.05, 0.05, 0.05, 0.2, 0.2]):
        summary = checked(storage, config, value, hour).steps["check"]["summary"]
        asked.append(summary["retrain"])
        if hour == 2:
            assert summary["fired"] == ["ctr"]
            assert summary["reason"] == "ctr: ctr is 0.05, under 0.1, 2 times in a row"
    assert asked == [False, False, True, False, False, False, False]
    (trigger,) = storage.tables.triggers.pending("daily")
    assert trigger.reason == "ctr: ctr is 0.05, under 0.1, 2 times in a row"
    (alert,) = storage.tables.alerts.last()
    assert (alert.name, alert.subject, alert.count, alert.state, alert.value) == ("watch.ctr", "ctr", 3, "closed", 0.05)
    assert summary["rules"]["ctr"]["state"] == "well"
    assert summary["recovered"] == ["ctr"]


def test_a_step_that_is_done_again_says_the_same_and_does_nothing_twice(storage: Storage, home: Config) -> None:
    config = watching(home, ctr=Rule("ctr", below=0.1, evaluations=1, action="retrain"))
    run = checked(storage, config, 0.05, 1)
    storage.tables.triggers.take("daily", "a-run", run.began + 10**9)
    again = do_step(storage, config, run, CHECK, lambda *_: None)
    assert again.steps["check"]["summary"] == run.steps["check"]["summary"]
    assert run.steps["check"]["summary"]["retrain"] is True
    assert storage.tables.triggers.pending() == []
    assert [alert.count for alert in storage.tables.alerts.last()] == [1]


def test_a_run_for_the_past_changes_nothing(storage: Storage, home: Config) -> None:
    config = watching(home, ctr=Rule("ctr", below=0.1, evaluations=1, action="retrain"))
    checked(storage, config, 0.2, 5)
    late = checked(storage, config, 0.05, 2)
    assert late.steps["check"]["summary"]["retrain"] is False
    assert late.steps["check"]["summary"]["rules"]["ctr"]["state"] == "fired", "it is told as it would have been"
    assert (storage.tables.alerts.open(), storage.tables.triggers.pending()) == ([], [])
    assert checked(storage, config, 0.2, 6).steps["check"]["summary"]["rules"]["ctr"]["good"] == 2


def test_a_storm_of_rules_asks_for_one_run_and_the_others_rest(storage: Storage, home: Config) -> None:
    bad = {"evaluations": 1, "action": "retrain"}
    config = watching(
        home,
        one=Rule("ctr", below=0.1, **bad),  # type: ignore[arg-type]  # the same for all
        two=Rule("ctr", below=0.2, **bad),  # type: ignore[arg-type]  # as above
        later=Rule("lag", above=5.0, **bad),  # type: ignore[arg-type]  # as above
        told=Rule("lag", above=5.0, evaluations=1),
    )
    first = checked(storage, config, 0.05, 1).steps["check"]["summary"]
    assert (first["retrain"], first["fired"]) == (True, ["one", "two"])
    measured(storage, "lag", 9.0, NOW + 2 * HOUR)
    second = checked(storage, config, 0.05, 2).steps["check"]["summary"]
    assert (second["retrain"], second["fired"]) == (False, ["told"]), "another retraining rests for a day, an alert does not"
    assert len(storage.tables.triggers.last()) == 1
    assert {alert.name for alert in storage.tables.alerts.open()} == {"watch.one", "watch.two", "watch.told"}
    measured(storage, "lag", 9.0, NOW + 26 * HOUR)
    third = checked(storage, config, 0.05, 26).steps["check"]["summary"]
    assert third["fired"] == ["later"], "it is still bad when the day has passed"


def test_the_alert_of_a_rule_that_is_no_more_is_closed(storage: Storage, home: Config) -> None:
    checked(storage, watching(home, ctr=Rule("ctr", below=0.1, evaluations=1)), 0.05, 1)
    assert len(storage.tables.alerts.open()) == 1
    summary = checked(storage, watching(home), 0.05, 2).steps["check"]["summary"]
    assert storage.tables.alerts.open() == []
    assert summary == {"retrain": False, "reason": "", "fired": [], "recovered": [], "rules": {}}


def test_a_rule_of_the_live_model_waits_until_there_is_one(storage: Storage, home: Config) -> None:
    config = watching(home, live=Rule("ctr", model="live", below=0.9, evaluations=1))
    assert checked(storage, config, 0.05, 1).steps["check"]["summary"]["rules"]["live"]["state"] == "unknown"


# ── drift ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def day(storage: Storage, number: int, items: range, kind: str = "click", users: int = 100, hits: int = 3) -> None:
    """A day's clicks, by users of that day alone: each takes ``hits`` items in turn."""
    start = NOW + (number - 1) * DAY
    events = [
        Interaction(
            f"{number}-{u}-{h}", start + (u * hits + h) * 60_000, f"u{number}-{u}", f"i{items[(u + h) % len(items)]}", kind
        )
        for u in range(users)
        for h in range(hits)
    ]
    storage.log.append(events).result()


def looked(storage: Storage, config: Config, number: int) -> dict[str, float]:
    run = run_pipeline(storage, config, LOOK, now=NOW + number * DAY)
    summary = run.steps["drift"]["summary"]
    assert "causes" in summary, summary
    assert summary["interval"] == [NOW + (number - 1) * DAY, NOW + number * DAY]
    assert summary["reference"][1] == summary["interval"][0], "nothing is live: the day before"
    return {cause["name"]: cause["psi"] for cause in summary["causes"]}


@pytest.mark.slow
def test_days_that_are_alike_do_not_drift_and_a_day_with_other_items_does(storage: Storage, home: Config) -> None:
    config = replace(home, watch=Watch(drift_least=100))
    storage.tables.items.put([ItemChange(f"c{n}", 1, f"i{n}", categories=("Drama",)) for n in range(40)])
    for number in (0, 1):
        day(storage, number, range(20))
    same = looked(storage, config, 1)
    for name in ("events", "kinds", "popularity", "user_events", "user_category_affinity"):
        assert same[name] == 0.0, name
    day(storage, 2, range(20, 40), kind="play", users=300)
    run = run_pipeline(storage, config, LOOK, now=NOW + 2 * DAY)
    summary = run.steps["drift"]["summary"]
    moved = {cause["name"]: cause["psi"] for cause in summary["causes"]}
    assert summary["causes"][0]["name"] in ("kinds", "popularity")
    assert moved["kinds"] > 5
    assert moved["popularity"] > 5
    assert moved["events"] == pytest.approx(0.27, abs=0.01)
    assert moved["user_events"] == 0.0
    assert summary["drift"] == pytest.approx(max(moved["kinds"], moved["popularity"]), rel=1e-3)
    assert moved["item_events"] > 1, "twice as many as the day before: that is growth"
    points = storage.tables.metrics.history("psi", slice="popularity")
    assert [(point.time, point.source) for point in points] == [(NOW + 2 * DAY, "drift"), (NOW + DAY, "drift")]
    assert points[0].value == pytest.approx(moved["popularity"], rel=1e-3)
    assert storage.tables.metrics.history("js", slice="kinds")[0].value == 1.0
    assert storage.tables.metrics.history("drift")[0].value == pytest.approx(summary["drift"], rel=1e-3)


def test_an_interval_with_few_events_is_not_judged(storage: Storage, home: Config) -> None:
    assert "skipped" in run_pipeline(storage, home, LOOK, now=NOW).steps["drift"]["summary"]
    day(storage, 0, range(5))
    day(storage, 1, range(5))
    few = run_pipeline(storage, home, LOOK, now=NOW + DAY).steps["drift"]["summary"]
    assert few["skipped"] == "an interval has fewer than 500 events (watch.drift_least)"
    assert (few["events"], few["reference_events"]) == (300, 300)
    assert storage.tables.metrics.history("drift") == []


def test_the_reference_is_the_day_before_the_live_model_was_trained(published: tuple[Storage, Config]) -> None:
    storage, config = published
    made = storage.tables.models.all(state="live")[0].made
    old = run_pipeline(storage, config, LOOK, now=made + 3 * DAY).steps["drift"]["summary"]
    assert old["reference"] == [made - DAY, made]
    young = run_pipeline(storage, config, LOOK, now=made + DAY - 1).steps["drift"]["summary"]
    assert young["reference"] == [made - DAY - 1, made - 1], "the model is younger than the interval: the day before that"


# ── the whole loop ──────────────────────────────────────────────────────────────────────────────────────────────────


def served(storage: Storage, hour: int, rate: float) -> None:
    """An hour of slates to forty people, of whose slots a share is clicked."""
    events: list[Decision | Interaction] = []
    for n in range(40):
        time, name = NOW + hour * HOUR - 1000 - n, f"d{hour}-{n}"
        slots = tuple(Slot(f"i{place}", position=place) for place in range(5))
        events.append(Decision(name, time, f"u{n}", models=("als-1",), slots=slots, rung="personal"))
        taken = round(rate * 5 * (n + 1)) - round(rate * 5 * n)
        events += [
            Interaction(f"c{hour}-{n}-{place}", time + 1, f"u{n}", f"i{place}", "click", decision=name) for place in range(taken)
        ]
    storage.log.append(events).result()


@pytest.fixture
def shop(published: tuple[Storage, Config]) -> tuple[Storage, Config]:
    storage, config = published
    rule = Rule("ctr", drop=0.3, baseline_hours=48.0, evaluations=2, least=20, action="retrain")
    return storage, replace(config, watch=Watch(rules={"ctr": rule}), schedule=Schedule(0.0, 0.0, 0.0, 0.0))


def evaluated(storage: Storage, config: Config, hour: int, rate: float) -> dict[str, object]:
    served(storage, hour, rate)
    run = run_pipeline(storage, config, pipeline("evaluate"), now=NOW + hour * HOUR)
    summary: dict[str, object] = run.steps["check"]["summary"]
    return summary


@pytest.mark.slow
def test_a_fall_of_the_rate_starts_one_run_of_daily_and_the_rule_recovers(
    shop: tuple[Storage, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, config = shop
    for hour in range(4):
        assert evaluated(storage, config, hour, 0.2)["retrain"] is False
    assert evaluated(storage, config, 4, 0.05)["retrain"] is False
    fallen = evaluated(storage, config, 5, 0.05)
    assert (fallen["retrain"], fallen["fired"]) == (True, ["ctr"])
    assert evaluated(storage, config, 6, 0.05)["retrain"] is False
    assert len(storage.tables.triggers.pending("daily")) == 1
    before = [run.id for run in storage.tables.runs.last("daily")]

    monkeypatch.setattr(schedule, "LOOK", 0.05)
    rare = replace(config, schedule=Schedule(24.0, 0.0, 0.0, 0.0))
    there = {name: value for name, value in os.environ.items() if not name.startswith("TASTEMAKER_")}
    there |= {
        "TASTEMAKER_LOG__PARTITIONS": "4",
        "TASTEMAKER_TRAIN__MODELS": '["popular"]',
        "TASTEMAKER_GATE__LATENCY_MS": "60000",
    }
    with connect(rare) as own:  # a process that comes after the one that asked
        timer = schedule.Schedule(own, rare, there)
        timer.start()
        wait_for(lambda: storage.tables.runs.last("daily", 1)[0].id not in before)
        wait_for(lambda: storage.tables.runs.last("daily", 1)[0].state == "done")
        time.sleep(0.5)  # ten looks at the clock
        timer.stop()
    (new,) = [run for run in storage.tables.runs.last("daily") if run.id not in before]
    assert [(trigger.run, trigger.reason) for trigger in storage.tables.triggers.last()] == [(new.id, fallen["reason"])]
    assert timer.due(new.began + HOUR) is None

    assert evaluated(storage, config, 7, 0.2)["recovered"] == []
    assert [alert.name for alert in storage.tables.alerts.open()] == ["watch.ctr"]
    assert evaluated(storage, config, 8, 0.2)["recovered"] == ["ctr"]
    assert storage.tables.alerts.open() == []
    assert storage.tables.triggers.pending() == []
