"""Experiments measured from the lake and from the stream: the same as a count of every event by hand."""

from __future__ import annotations

import html
from dataclasses import fields
from pathlib import Path

import pytest
from msgspec.structs import replace

from experiment_oracle import AB, BASE, BOTH, MORE, SURFACED, answers, first_of, moments, preferred, world
from tastemaker.config import Config, Connect, Experiments, Log
from tastemaker.config.experimenting import usual_metrics
from tastemaker.domain import AnyEvent, Decision, Erase, Experiment, Exposure, Interaction, Slot, View
from tastemaker.errors import InputError
from tastemaker.experiments.moments import Moments
from tastemaker.experiments.reporting import decode, encode, report
from tastemaker.experiments.verdicts import Data
from tastemaker.features.rewards import DAY
from tastemaker.monitoring.results import record
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.experiments.measure import measured
from tastemaker.pipelines.experiments.page import page
from tastemaker.pipelines.experiments.report import lines
from tastemaker.pipelines.local import run_pipeline
from tastemaker.storage import connect
from tastemaker.storage.archive import archive
from tastemaker.streaming.experiments import Follower, Tail, measure

NOW, HOUR = BASE + 13 * DAY, 3_600_000


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
        for experiment, ended in ((AB, None), (AB, BASE + 8 * DAY), (SURFACED, None), (SURFACED, BASE + 8 * DAY)):
            asked, until = replace(experiment, ended=ended), ended or NOW
            data = measured(storage, config, asked, NOW)
            units, twice = first_of(events, asked, until)
            assert (sum(data.units.values()), data.twice) == (len(units), twice)
            assert (data.reward, data.answers) == ("1", answers(events, asked, until))
            assert set(data.moments) == {*AB.metrics, *AB.guardrails}
            for name, found in data.moments.items():
                expected = moments(config, events, asked, config.experiments.metrics[name], until)
                assert set(found) == set(expected)
                for arm, each in expected.items():
                    same(found[arm], each)
        both = measured(storage, config, BOTH, NOW)
        count, preference = preferred(config, events, BOTH, NOW)
        assert both.units == {"both": count}
        assert both.answers == answers(events, BOTH, NOW)
        assert preference.n > 2
        same(both.moments["preference"]["b"], preference)


def test_an_experiment_that_nobody_met_has_no_units_and_an_unknown_metric_is_named(tmp_path: Path) -> None:
    config = config_at(tmp_path)
    with connect(config) as storage:
        assert measured(storage, config, AB, NOW).units == {}
        with pytest.raises(InputError, match=r"experiment 'cards'\.metrics = 'ctrr'.*did you mean"):
            measured(storage, config, replace(AB, metrics=("ctrr",)), NOW)


def agree(one: Data, other: Data) -> None:
    assert (one.units, one.twice, set(one.moments)) == (other.units, other.twice, set(other.moments))
    assert one.answers == other.answers
    for name, arms in one.moments.items():
        for arm, found in arms.items():
            same(found, other.moments[name][arm])


@pytest.mark.parametrize("experiment", [AB, SURFACED, BOTH], ids=["ab", "surfaces", "interleaving"])
def test_the_stream_knows_events_before_the_lake_does_and_then_both_say_the_same(tmp_path: Path, experiment: Experiment) -> None:
    config, events = config_at(tmp_path), world(7)
    with connect(config) as storage:
        tail = Tail(storage.log)
        for start in range(0, len(events), len(events) // 4):
            storage.log.append(events[start : start + len(events) // 4]).result()
            tail.refresh()
            ahead = measure(storage.lake, tail, config, experiment, NOW)
            afresh = Tail(storage.log)  # a process that has just begun knows as much as one that has read on
            afresh.refresh()
            agree(ahead, measure(storage.lake, afresh, config, experiment, NOW))
            archive(storage.log, storage.lake)  # the tail holds now what the lake holds, too
            agree(ahead, measure(storage.lake, tail, config, experiment, NOW))
            agree(ahead, measured(storage, config, experiment, NOW))
        tail.refresh()
        assert not any(tail.parts)
        assert sum(ahead.units.values()) > 20


def test_on_a_surface_only_its_answers_count_before_and_after_the_exposure(tmp_path: Path) -> None:
    config = config_at(tmp_path)
    events: list[AnyEvent] = []
    for number, arm in enumerate(("control", "other") * 2):
        user = f"s{number}"
        events.append(Exposure(f"x{number}", BASE, "cards", user, arm))
        for place, (surface, at) in enumerate((("home", -5), ("cart", -5), ("home", 5), ("cart", 5), ("cart", 6))):
            answer, slots = f"d{number}-{place}", (Slot("i"), Slot("j"))
            events.append(Decision(answer, BASE + at, user, surface, arms={"cards": arm}, slots=slots))
            events.append(View(f"v{number}-{place}", BASE + at, user, answer, "i"))
            events.append(Interaction(f"c{number}-{place}", BASE + at, user, "i", "click", decision=answer))
        events.append(Interaction(f"late{number}", BASE + 8 * DAY, user, "i", "click", decision=f"d{number}-3"))
    with connect(config) as storage:
        storage.log.append(events).result()
        archive(storage.log, storage.lake)
        found = measured(storage, config, replace(SURFACED, surfaces=("cart",)), NOW).moments
    of = {name: found[name]["other"] for name in ("ctr", "seen", "share", "wide", "activity")}
    assert {name: one.n for name, one in of.items()} == dict.fromkeys(of, 2.0)
    assert (of["ctr"].y, of["ctr"].x) == (4, 4), "two answers and two clicks of each unit: the late click is nobody's"
    assert (of["seen"].y, of["seen"].x) == (4, 4)
    assert of["share"].x == 4
    assert (of["wide"].y, of["wide"].x) == (2, 8)
    assert (of["activity"].y, of["activity"].x) == (8, 2), "what is not of answers counts wherever it happens"
    assert of["activity"].z == 4


def test_a_user_who_is_erased_leaves_the_stream(tmp_path: Path) -> None:
    config, events = config_at(tmp_path), world(1)
    with connect(config) as storage:
        storage.log.append(events).result()
        tail = Tail(storage.log)
        tail.refresh()
        before = measure(storage.lake, tail, config, BOTH, NOW)
        storage.log.append([Erase("gone", NOW, "u1")]).result()
        tail.refresh()
        assert measure(storage.lake, tail, config, BOTH, NOW).units["both"] == before.units["both"] - 1


def test_a_round_of_the_stream_keeps_one_result_an_hour_and_a_run_of_the_pipeline_each(tmp_path: Path) -> None:
    config, events = config_at(tmp_path), world(2)
    with connect(config) as storage:
        storage.tables.experiments.put(AB)
        storage.log.append(events).result()
        follower = Follower(storage, config)
        for minute in range(3):
            assert follower.step(NOW + minute * 60_000) == 1
        follower.step(NOW + HOUR)
        assert [one.time for one in storage.tables.results.history("cards", source="stream")] == [NOW + HOUR, NOW + 120_000]
        run = run_pipeline(storage, config, pipeline("experiments"), now=NOW + HOUR)
        assert (
            run.steps["experiments"]["summary"]["experiments"]["cards"]["verdicts"]["other"][0] == "broken"
        )  # units that met two arms
        lake, stream = (storage.tables.results.newest("cards", source=source) for source in ("lake", "stream"))
        assert lake is not None
        assert stream is not None
        one, other = decode(lake.payload), decode(stream.payload)
        assert (one.units, one.time, one.source) == (other.units, other.time, "lake")
        assert one.conclusions[0].text == other.conclusions[0].text


def test_a_result_that_another_process_has_just_made_is_not_made_again_and_a_wrong_experiment_stops_no_other(
    tmp_path: Path,
) -> None:
    config = config_at(tmp_path)
    with connect(config) as storage:
        for experiment in (AB, BOTH, replace(AB, name="wrong", metrics=("ctrr",))):
            storage.tables.experiments.put(experiment)
        storage.log.append(world(5)).result()
        one, other = Follower(storage, config), Follower(storage, config)
        assert (one.step(NOW), other.step(NOW + 10_000), other.step(NOW + 20_000), one.step(NOW + 30_000)) == (2, 0, 2, 0)
        with pytest.raises(InputError, match="experiment 'wrong'"):
            run_pipeline(storage, config, pipeline("experiments"), now=NOW)
        made = {name: storage.tables.results.newest(name, source="lake") is not None for name in ("cards", "merged", "wrong")}
        assert made == {"cards": True, "merged": True, "wrong": False}


def test_a_report_names_the_rewards_and_says_when_they_have_changed_meanwhile() -> None:
    same = report(AB, Data({}, 0, {}, reward="2", answers={"2": 7}), "lake", 1)
    assert (same.reward, same.answers, same.warnings) == ("2", {"2": 7}, ())
    made = report(AB, Data({}, 0, {}, reward="2", answers={"2": 7, "1": 1200}), "lake", 1)
    (changed,) = made.warnings
    assert decode(encode(made)) == made
    assert f"warning</span>: {html.escape(changed)}" in page(made)
    assert f"[bold yellow]warning[/] {changed}" in list(lines(made))
    assert changed.startswith("the rewards have changed while it ran: answers were given 1,200 under '1', 7 under '2'.")
    assert "counted by '2' throughout" in changed
    (other,) = report(AB, Data({}, 0, {}, reward="2", answers={"1": 3}), "lake", 1).warnings
    assert other.endswith("3 under '1', counted by '2'")


def test_people_are_told_that_an_experiment_is_broken_until_it_is_well(tmp_path: Path) -> None:
    config = config_at(tmp_path)
    one = Moments.of([1.0] * 500 + [0.0] * 500)
    with connect(config) as storage:
        broken = record(storage, AB, Data({"control": 1000, "other": 500}, 0, {"ctr": {"control": one, "other": one}}), "lake", 1)
        assert broken.conclusions[0].decision == "broken"
        assert [(alert.name, alert.subject) for alert in storage.tables.alerts.open()] == [("experiment_broken", "cards")]
        poor = Moments.of([1.0] * 100 + [0.0] * 900)
        by_arm = {"control": one, "other": poor}
        harmed = Data({"control": 1000, "other": 1000}, 0, {"ctr": {"control": one, "other": one}, "activity": by_arm})
        assert record(storage, AB, harmed, "lake", 2).conclusions[0].decision == "keep"
        assert [alert.name for alert in storage.tables.alerts.open()] == ["experiment_harms"]
        record(storage, replace(AB, state="stopped"), harmed, "lake", 3)
        assert storage.tables.alerts.open() == []
