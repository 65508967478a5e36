"""What people read of an experiment: in the terminal, as JSON, as a page, over HTTP; and how large one has to be."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from test_experiment_commands import inside, refused, told  # noqa: F401 - a fixture for every test here

from api import api
from tastemaker.config import Config, Connect, Experiments, Serving
from tastemaker.domain import AnyEvent, Decision, Exposure, Interaction
from tastemaker.experiments.reporting import decode
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.experiments.plan import size
from tastemaker.pipelines.local import run_pipeline
from tastemaker.storage import Storage, connect
from tastemaker.streaming.experiments import Follower

UNITS, ANSWERS, HOUR = 600, 5, 3_600_000
CREATE = ("experiment", "create", "cards", "--arm", "control", "--arm", "other", "--guardrail", "activity=0.05")


def events(now: int) -> list[AnyEvent]:
    """Two arms of users who have answered clicks: the second one does more of it."""
    random, made = np.random.default_rng(0), list[AnyEvent]()
    for number in range(UNITS):
        user, arm = f"u{number}", ("control", "other")[number % 2]
        made.append(Exposure(f"x{number}", now - 3 * HOUR, "cards", user, arm, reason="hashed"))
        for place in range(ANSWERS):
            decision = f"d{number}-{place}"
            made.append(Decision(decision, now - 2 * HOUR, user, arms={"cards": arm}, reward="1"))
            if random.random() < (0.3, 0.5)[number % 2]:
                made.append(Interaction(f"c{number}-{place}", now - HOUR, user, "i", "click", decision=decision))
    return made


@pytest.fixture
def opened(tmp_path: Path) -> tuple[Config, Storage]:
    config = Config(connect=Connect(home=str(tmp_path / "home")), serving=Serving(port=0))
    told(*CREATE)
    told("experiment", "start", "cards")
    with connect(config) as storage:
        storage.log.append(events(int(time.time() * 1000))).result()
    return config, storage


def test_a_report_says_what_was_decided_and_why(opened: tuple[Config, Storage], tmp_path: Path) -> None:
    text = told("experiment", "report", "cards", "--html", "page.html")
    assert "ship ctr 0." in text
    assert "other is better than control, and the guardrails hold" in text
    assert "units: control 300, other 300" in text
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("<svg") == 1  # one look: no curve yet
    assert "nan" not in page
    made = json.loads(told("experiment", "report", "cards", "--json"))
    assert made["conclusions"][0]["decision"] == "ship"
    assert made["units"] == {"control": 300, "other": 300}
    before = json.loads(told("experiment", "report", "cards", "--json", "--source", "lake"))
    assert before["units"] == {}  # nothing is ingested yet
    config, _ = opened
    with connect(config) as storage:
        run_pipeline(storage, config, pipeline("experiments"))
    after = json.loads(told("experiment", "report", "cards", "--json", "--source", "lake"))
    assert after["conclusions"] == made["conclusions"]
    told("experiment", "report", "cards", "--html", "page.html")
    assert (tmp_path / "page.html").read_text("utf-8").count("<svg") == 2


def test_reports_history_and_size_follow_the_error_of_the_configuration(
    opened: tuple[Config, Storage], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = json.loads(told("experiment", "report", "cards", "--json"))
    monkeypatch.setenv("TASTEMAKER_EXPERIMENTS__ALPHA", "0.001")
    strict = json.loads(told("experiment", "report", "cards", "--json"))
    assert (usual["alpha"], strict["alpha"], strict["reward"]) == (0.05, 0.001, "1")
    one, other = (made["conclusions"][0]["changes"][0] for made in (usual, strict))
    assert other["low"] < one["low"] < one["high"] < other["high"]
    assert "intervals hold with 99.9 %; rewards of version 1" in told("experiment", "report", "cards")
    config, _ = opened
    config = replace(config, experiments=Experiments(alpha=0.001))
    with connect(config) as storage:
        run_pipeline(storage, config, pipeline("experiments"))
        assert Follower(storage, config).step(int(time.time() * 1000)) == 1
        for source in ("lake", "stream"):
            kept = storage.tables.results.newest("cards", source=source)
            assert kept is not None
            assert decode(kept.payload).conclusions[0].changes[0].low == pytest.approx(other["low"])
        now = int(time.time() * 1000)
        sizes = [size(storage, Config(experiments=Experiments(alpha=alpha)), "ctr", 0.1, now).units for alpha in (0.05, 0.001)]
        assert sizes[1] > 2 * sizes[0]
        three = size(storage, config, "ctr", 0.1, now, arms=3)
        assert three.units > sizes[1], "two treatments share the error"


def test_results_are_read_over_http_once_they_are_stored(opened: tuple[Config, Storage]) -> None:
    config, _ = opened
    with connect(config) as storage, api(storage, config) as server:
        client = server.client
        assert client.get("/v1/experiments/cards/results").status_code == 404
        run_pipeline(storage, config, pipeline("experiments"))
        found = client.get("/v1/experiments/cards/results").json()
        assert (found["source"], found["conclusions"][0]["decision"]) == ("lake", "ship")
        assert client.get("/v1/experiments/cards/results?source=stream").status_code == 404
        assert client.get("/v1/experiments/cards/results?source=lakes").status_code == 422
        assert client.get("/v1/experiments/crads/results").status_code == 404


def test_the_size_follows_from_what_users_do(opened: tuple[Config, Storage]) -> None:
    config, _ = opened
    assert told("archive", "--once")
    text = told("experiment", "size", "--metric", "ctr", "--mde", "0.1")
    assert "units in each of 2 arms find 10.0% of ctr 0.4" in text
    with connect(config) as storage:
        now = int(time.time() * 1000)
        one, half = (size(storage, config, "ctr", mde, now) for mde in (0.1, 0.05))
        assert half.units == pytest.approx(4 * one.units, rel=0.01)
        assert one.seen == UNITS
        assert one.days == pytest.approx(2 * one.units / UNITS * 14, abs=0.1)
        assert one.smallest == pytest.approx(0.1 * (one.units / (UNITS / 2)) ** 0.5, rel=0.01)


def test_what_cannot_be_planned_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert "the lake has no answers yet" in refused(capsys, "experiment", "size")
    assert 'did you mean "ctr"' in refused(capsys, "experiment", "size", "--metric", "crt")
    assert "there is none of that name" in refused(capsys, "experiment", "report", "cards")
