"""Plans: what is printed is what was calculated, more load never needs less, and errors name the field."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from benchmarks.growth import bound
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from tastemaker.config import Config, Log
from tastemaker.errors import InputError, StorageError
from tastemaker.features import fold
from tastemaker.models.als import AlsParams
from tastemaker.pipelines.sizing import offline, online, rates
from tastemaker.pipelines.sizing.arithmetic import rounded
from tastemaker.pipelines.sizing.plan import HOURLY, MOST_PARTITIONS, Plan, plan
from tastemaker.pipelines.sizing.rates import KNOWN, Measured, Rates, measured
from tastemaker.pipelines.sizing.workload import Workload, check, limits_of, number

# ── arithmetic in text, read by other code than that which wrote it ─────────────────────────────────────────────────

SCALES = dict(zip("kMGTPE", (10.0 ** (3 * n) for n in range(1, 7)), strict=True))
UNITS = {"": 1.0, "B": 1.0, "B/s": 1.0, "/s": 1.0, "s": 1.0, "h": 1.0, "cores": 1.0, "%": 0.01}
UNITS |= {"ms": 1e-3, "µs": 1e-6, "ns": 1e-9, "ps": 1e-12}
UNITS |= SCALES | {f"{name}{unit}": scale for name, scale in SCALES.items() for unit in ("B", "B/s")}
MARKS = re.compile(r"( x | / | \+ |, |(?:min|max|roundup)?\(|\))")
TERM = re.compile(r"(\d[\d,]*(?:\.\d+)?)(?: (\S+))?(?: .*)?")


def value_of(term: str) -> float:
    """``1.9 kB state`` -> 1900."""
    found = TERM.fullmatch(term.strip())
    assert found, term
    return float(found[1].replace(",", "")) * UNITS.get(found[2] or "", 1.0)


def evaluated(text: str) -> float:
    """The value of a formula's left side."""
    signs = {" x ": "*", " / ": "/", " + ": "+"}
    python = "".join(
        signs.get(part, part) if MARKS.fullmatch(part) else repr(value_of(part)) for part in MARKS.split(text) if part.strip()
    )
    known = {"min": min, "max": max, "roundup": lambda value: float(math.ceil(value * (1 - 1e-9)))}
    return float(eval(python, {"__builtins__": {}}, known))


def test_the_reader_of_formulas_reads() -> None:
    assert evaluated("300 M users x 1.9 kB state x 1.25 overhead") == pytest.approx(712.5e9)
    assert evaluated("max(8 at least, roundup(2 partitions a worker x 3.5 workers)) / (1 a + 20 % b)") == pytest.approx(8 / 1.2)
    assert evaluated("1,234.5 things x 2 µs CPU a thing") == pytest.approx(0.002469)
    with pytest.raises(AssertionError, match="and more"):
        evaluated("1 thing, and more")


def logs(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers of every size between two."""
    return st.floats(math.log(low), math.log(high)).map(lambda power: min(max(math.exp(power), low), high))


WORKLOADS = st.builds(
    Workload,
    users=logs(1, 1e10), events_per_day=logs(1, 1e12), items=logs(1, 1e9), active=logs(0.001, 1), visits=logs(0.01, 1000),
    requests=st.just(0.0) | logs(0.1, 1e8), history=logs(1, 10_000), slate=logs(1, 1000), factors=logs(1, 2048),
    epochs=logs(1, 100), retention=logs(1, 10_000), replication=logs(1, 10), copies=logs(1, 10), versions=logs(1, 10),
    peak=logs(1, 20), headroom=st.just(0.0) | logs(0.01, 10), cores=logs(1, 1024), memory=logs(1e9, 1e13),
    window=logs(0.1, 24),
)  # fmt: skip


@given(WORKLOADS)
@settings(max_examples=80, deadline=None)
def test_every_formula_evaluates_to_the_value_that_it_states(work: Workload) -> None:
    for name, made in plan(work).figures.items():
        left, _, right = made.formula.rpartition(" = ")
        assert left, name
        assert rounded(value_of(right)) == pytest.approx(made.value, rel=1e-9, abs=1e-30), made.formula
        assert evaluated(left) == pytest.approx(made.value, rel=5.01e-4, abs=1e-30), made.formula


# ── more of anything never needs less ───────────────────────────────────────────────────────────────────────────────

MORE = (
    "users", "events_per_day", "items", "active", "visits", "history", "slate", "factors", "epochs", "retention", "replication",
    "copies", "versions", "peak", "headroom",
)  # fmt: skip
PER_USER = {"a state", "stores for events"}
"""With more users and the same events a user has fewer: these are means, and may fall."""


@given(WORKLOADS, st.sampled_from(MORE), st.floats(1.0, 100.0))
@settings(max_examples=150, deadline=None)
@example(Workload(users=1e6, events_per_day=1e7), "users", 1.0001)
def test_more_of_anything_never_needs_less(work: Workload, field: str, times: float) -> None:
    work = replace(work, requests=0.0)
    most = limits_of(field).le
    assert most is not None
    larger = replace(work, **{field: min(most, getattr(work, field) * times)})
    before, after = plan(work).figures, plan(larger).figures
    for name in before:
        if not (field == "users" and name in PER_USER):
            assert after[name].value >= before[name].value, (before[name].formula, after[name].formula)


@given(WORKLOADS, st.floats(1.0, 100.0))
@settings(max_examples=30, deadline=None)
def test_more_requests_a_second_never_need_less(work: Workload, times: float) -> None:
    work = replace(work, requests=max(work.requests, 1.0))
    before, after = plan(work).figures, plan(replace(work, requests=work.requests * times)).figures
    assert all(after[name].value >= before[name].value for name in before)


@pytest.mark.parametrize("field", MORE)
def test_every_input_matters(field: str) -> None:
    work = Workload(users=3e7, events_per_day=3e8)
    larger = plan(replace(work, **{field: 1.0 if field == "active" else getattr(work, field) * 1.5})).figures
    if field == "history":  # 500 events are fewer than anybody has in a year
        assert larger["training disk"].value > plan(work).figures["training disk"].value
    assert any(made.value > plan(work).figures[name].value for name, made in larger.items())


def test_larger_machines_and_longer_nights_need_fewer() -> None:
    work = Workload(users=3e8, events_per_day=3e9)
    before = plan(work).figures
    after = plan(replace(work, cores=64.0, memory=1e12, window=8.0)).figures
    for name in ("hours of the run", "machines for the traffic", "Redis masters", "Spark cores, als too", "executors, als here"):
        assert after[name].value < before[name].value


# ── by hand ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def made_up(**given: float) -> Rates:
    """Rates that are easy to calculate with: 1 unless given."""
    return Rates("a machine", "today", "a command", 0.0, {name: Measured(given.get(name, 1.0), 0, 0) for name in KNOWN})


WORK = Workload(
    users=1000, events_per_day=86_400, items=10, active=0.5, visits=172.8, history=100, slate=20, factors=4, epochs=2,
    retention=10, replication=2, copies=2, versions=3, peak=2, headroom=0.5, cores=4, memory=1e9, window=2,
)  # fmt: skip


def value(made: Plan, name: str) -> float:
    return made.figures[name].value


def test_rates_and_totals_are_those_of_a_hand() -> None:
    made = plan(WORK, made_up())
    assert value(made, "events at the peak") == 2  # a second: 86,400 a day is one
    assert value(made, "requests a day") == 86_400  # 1,000 x half of them x 172.8
    assert value(made, "requests at the peak") == 2
    assert value(made, "events kept") == 864_000
    assert value(made, "events in histories") == 100_000  # a hundred of each, not all
    assert value(made, "remembered ids") == 256_000
    assert value(plan(replace(WORK, users=1e6), made_up()), "events in histories") == 864_000  # all there are
    given_rate = plan(replace(WORK, requests=20), made_up())
    assert value(given_rate, "requests at the peak") == 20
    assert value(given_rate, "requests a day") == 864_000


def test_cores_are_seconds_of_work_in_a_second_with_headroom() -> None:
    made = plan(WORK, made_up(request=0.5, ingested=0.25, refreshed=0.6, one_score=0.01, read=0.5))
    assert value(made, "API cores") == 2.25  # (2 x 0.5 + 2 x 0.25) x 1.5
    assert value(made, "API processes") == 3
    assert value(made, "an event with its slate") == 1  # 0.6 and 10 x 4 x 0.01
    assert value(plan(WORK, made_up(archived=0.1, archived_decision=0.4)), "archive cores") == 1.5  # (2 x 0.1 + 2 x 0.4) x 1.5
    assert value(made, "nearline cores") == 4.5  # (2 x 1 + 2 x 0.5) x 1.5
    assert value(made, "workers") == 5
    assert value(made, "partitions") == 10
    assert value(plan(replace(WORK, events_per_day=1, visits=0), made_up()), "partitions") == online.LEAST_PARTITIONS


def test_bytes_are_those_of_a_hand() -> None:
    made = plan(
        WORK,
        made_up(log_event=100, log_decision=200, lake_event=10, lake_decision=20, state_bytes=50, history_bytes=3, recent_bytes=2,
                mark_bytes=5, front_bytes=30, whole_bytes=10, slot_bytes=4, counter_bytes=7, redis_key=60, redis_value=2,
                postgres_value=1.5, one_score=1e-9, refreshed=1e-9, read=1e-9),
    )  # fmt: skip
    assert value(made, "log a day") == 86_400 * 300
    assert value(made, "broker disks") == rounded(86_400 * 300 * 10 * 2 * 1.5)
    assert value(made, "lake") == rounded(86_400 * 30 * 10)
    assert value(made, "states") == 50_000 + 300_000 + 512_000
    assert value(made, "fronts") == 90_000
    assert value(made, "whole slates") == 1000 * 3 * 90
    assert value(made, "counters") == 10 * 8 * 7
    values = 862_000 + 5_000 + 90_000 + 270_000 + 560
    assert value(made, "values") == rounded(values)
    assert value(made, "keys") == 8_000
    assert value(made, "one copy in Redis") == pytest.approx(values * 2 + 8_000 * 60, rel=1e-3)
    assert value(made, "Redis memory") == pytest.approx((values * 2 + 8_000 * 60) * 3, rel=1e-3)
    assert value(made, "PostgreSQL disk") == pytest.approx(values * 1.5 * 3, rel=1e-3)


def test_hours_of_the_run_are_those_of_a_hand() -> None:
    made = plan(WORK, made_up(trained=0.036, prepared=0.01, featured=0.02, judged=3, composed=6, block_score=0.1, archived=0.5,
                              archived_decision=0.5, spark_featured=0.1, spark_prepared=0.05, spark_trained=0.36))  # fmt: skip
    assert value(made, "archive") == 24
    assert value(made, "features") == 4.8
    assert value(made, "a training set") == 2.4
    assert value(made, "train als") == 16  # 100,000 x 4 x 2 x 0.036 x 2 / 3600
    assert value(made, "evaluate") == pytest.approx(500 * 2 * 7 / 3600, rel=1e-3)
    assert value(made, "publish") == pytest.approx(1000 * 10 / 3600, rel=1e-3)
    alone = 24 + 500 * 2 * 7 / 3600 + 1000 * 10 / 3600
    assert value(made, "hours of the run") == pytest.approx(alone + (4.8 + 16 + 3 * 2.4) / 4, rel=1e-3)
    assert value(made, "training memory") == pytest.approx(1010 * (4 * 12 + 256 + 60) + 4.096e9 + 268.4e6, rel=1e-3)
    assert value(made, "Spark cores, als here") == pytest.approx((24 + 36 + 10_000 / 3600) * 1.5 / 2, rel=1e-3)
    assert value(made, "Spark cores, als too") == pytest.approx((24 + 36 + 160 + 10_000 / 3600) * 1.5 / 2, rel=1e-3)


def test_figures_have_units_that_are_known_and_values_above_nothing() -> None:
    made = plan(Workload(users=3e7, events_per_day=3e8))
    assert {one.unit for one in made.figures.values()} <= {"", "B", "B/s", "/s", "s", "h", "cores"}
    assert all(0 < one.value < math.inf for one in made.figures.values())
    assert len(made.figures) == sum(len(section.figures) for section in made.sections), "names are used once"


# ── what runs where, and limits ─────────────────────────────────────────────────────────────────────────────────────


def test_a_small_load_runs_on_one_machine_and_a_large_one_on_many() -> None:
    small = plan(Workload(users=1e5, events_per_day=1e6))
    assert [part for part, _ in small.places] == ["everything", "its disk"]
    assert small.limits == ()
    large = plan(Workload(users=3e8, events_per_day=3e9, items=1e6))
    told = dict(large.places)
    assert "hash slots each" in told["Redis"]
    assert f"over {large.figures['partitions'].shown} partitions" in told["tastemaker stream"]
    assert told["the daily run"].endswith("of Spark, als among it")
    assert plan(replace(large.work, memory=1e12)).places[-1][1].startswith("als on one machine")
    assert plan(Workload(users=1e5, events_per_day=1e8, retention=30)).places[-1][1].startswith("one machine of 16 cores")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"events_per_day": 1e12}, "partitions, `log.partitions` takes 1,024"),
        ({"items": 1e9}, "scoring 1 G items takes"),
        ({"items": 1e7}, "the counters of a partition are"),
        ({"users": 1e10}, "training needs"),
        ({"users": 3e8}, "the daily run takes"),
        ({"events_per_day": 3e10}, "archiving takes"),
        ({"events_per_day": 3e11}, "PostgreSQL takes"),
        ({"users": 2e8}, "Redis holds everybody's values"),
        ({"users": 1e8}, "`hourly` publishes slates for everybody"),
        ({"retention": 36_500.0}, "the brokers hold"),
    ],
)
def test_a_limit_is_named_with_what_to_do(change: dict[str, float], words: str) -> None:
    found = [(what, remedy) for what, remedy in plan(replace(Workload(users=3e7, events_per_day=3e8), **change)).limits]
    (limit,) = [(what, remedy) for what, remedy in found if words in what]
    assert len(limit[1]) > 20


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("field", [info.name for info in fields(Workload)])
@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_a_number_outside_its_limits_is_named_with_them(field: str, wrong: float) -> None:
    with pytest.raises(InputError, match=rf"^{field} = .*: give a number (from|above) .* to ") as caught:
        plan(replace(Workload(users=1e6, events_per_day=1e6), **{field: wrong}))
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["", "many", "30X", "-3", "3 0", "1..2", "nan", "inf", "M", "3MM", "0x10"])
def test_what_is_no_number_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"give a number, as 250000, 250k, 30M or 1\.5G") as caught:
        number("--users", text)
    assert caught.value.field == "--users"


@given(logs(1, 1e11), st.sampled_from([("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)]))
def test_numbers_with_suffixes_are_read(base: float, suffix: tuple[str, float]) -> None:
    assert number("users", f"{base:.3f}{suffix[0]}") == pytest.approx(base * suffix[1], rel=1e-3)


def test_a_limit_itself_is_allowed() -> None:
    check("active", 1.0)
    check("headroom", 0.0)
    with pytest.raises(InputError, match=r"active = 0\.0: give a number above 0 to 1"):
        check("active", 0.0)


def test_rates_that_lack_a_figure_or_have_nothing_in_it_are_named() -> None:
    whole: dict[str, Any] = msgspec.to_builtins(measured())
    assert rates.decoded(msgspec.json.encode(whole)) == measured()
    del whole["figures"]["request"]
    whole["figures"]["state"]["value"] = 0
    with pytest.raises(StorageError, match=r"rates\.json lacks request, state: make it anew by `python -m benchmarks rates`"):
        rates.decoded(msgspec.json.encode(whole))
    with pytest.raises(StorageError, match=r"rates\.json: "):
        rates.decoded(b'{"machine": 3}')


def test_the_rates_say_where_they_come_from() -> None:
    made = measured()
    assert set(made.figures) == set(KNOWN)
    assert "cores" in made.machine
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made.date)
    assert made.command == "python -m benchmarks rates"
    assert all(made.figures[name].source for name in KNOWN if name.startswith("spark"))


# ── beside what other benchmarks have measured ──────────────────────────────────────────────────────────────────────

REPORT = Path(__file__).resolve().parents[2] / "benchmarks" / "README.md"


def reported(section: str, row: str, column: int) -> float:
    """A number of the benchmarks' report: of the one row of a section that begins so."""
    part = REPORT.read_text("utf-8").partition(f"<!-- {section}:begin -->")[2].partition(f"<!-- {section}:end -->")[0]
    (line,) = [line for line in part.splitlines() if line.startswith(row)]
    return float(re.sub(r"[^\d.]", "", line.split("|")[column + 1].partition("(")[0]))


def test_training_takes_what_it_took_at_a_hundred_million_events() -> None:
    """Within a factor of two: machines are not equally busy when they are measured."""
    events, users, items, seconds = (reported("growth", "| als | 100,006,170 |", column) for column in (1, 2, 3, 5))
    work = Workload(users=users, items=items, events_per_day=events, retention=1, history=10_000, factors=64)
    hours = plan(work).figures["train als"].value / offline.TRAININGS
    assert 0.5 < hours * 3600 / seconds < 2


def test_a_core_does_what_it_did_for_requests_and_for_events() -> None:
    """The nearline benchmark counts seconds on the clock, in which a worker also waits for servers."""
    rates, row = measured().figures, "| Redis before PostgreSQL |"
    event = rates["refreshed"].value + 20_000 * 64 * rates["one_score"].value
    assert 0.4 < event * reported("nearline", row, 3) < 2
    assert 0.5 < rates["request"].value * 1e6 / reported("serving-remote", row, 1) < 2


# ── what the sizing says again of other places ──────────────────────────────────────────────────────────────────────


def test_what_is_said_twice_is_said_alike() -> None:
    config = Config()
    work = Workload(users=1, events_per_day=1)
    assert config.schedule.hourly_minutes == 60 * HOURLY
    assert online.REMEMBERED == fold.REMEMBERED
    assert config.log.partitions == online.LEAST_PARTITIONS
    (limit,) = [info.type.__metadata__[0].le for info in fields(Log) if info.name == "partitions"]
    assert limit == MOST_PARTITIONS
    assert config.train.memory_mb * 1_000_000 == offline.DUCKDB
    assert (work.history, work.slate, work.versions) == (config.rewards.history, config.publish.slate, config.publish.keep + 1)
    assert work.epochs == AlsParams().epochs
    assert bound("als", 3, 4) == 7 * (64 * offline.VECTORS + offline.ROW)
