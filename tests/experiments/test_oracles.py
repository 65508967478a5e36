"""Effects and intervals are those of two libraries that others decide by, to the ninth digit.

``gbstats.json`` holds sums and results of gbstats, which wants older versions of numpy and pandas than we do and so cannot be
installed beside us: the file was made once in an environment of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tea_tasting as tt

from tastemaker.experiments.effects import difference, lift
from tastemaker.experiments.intervals import anytime, anytime_p, fixed, p_value
from tastemaker.experiments.moments import Moments, from_columns

GOLDEN = json.loads((Path(__file__).parent / "gbstats.json").read_text())["cases"]
CLOSE = 1e-9


def moments(sums: dict[str, float], kind: str) -> Moments:
    if kind == "mean":
        return Moments(sums["n"], sums["y"], sums["yy"], sums["n"], sums["n"], sums["y"])
    return Moments(**sums)


@pytest.mark.parametrize(
    "case", GOLDEN, ids=lambda case: f"{case['kind']} {case['control']['n']} {case['relative']} {case['alpha']}"
)
def test_intervals_are_those_of_gbstats(case: dict[str, Any]) -> None:
    change = lift if case["relative"] else difference
    effect = change(moments(case["control"], case["kind"]), moments(case["treatment"], case["kind"]))
    once, always = fixed(effect, case["alpha"]), anytime(effect, case["alpha"], case["planned"])
    found = [effect.value, effect.se, once.low, once.high, always.low, always.high]
    assert found == pytest.approx([case["value"], case["se"], *case["fixed"], *case["anytime"]], rel=CLOSE)
    assert p_value(effect) == pytest.approx(case["p"], rel=1e-6, abs=1e-12)
    assert anytime_p(effect, case["planned"], case["alpha"]) == pytest.approx(case["anytime_p"], rel=1e-6)


@pytest.fixture(scope="module")
def users() -> pa.Table:
    """Impressions and clicks of users, with what they did before."""
    random = np.random.default_rng(3)
    arm, eager = random.integers(0, 2, 4000), random.gamma(2.0, 1.0, 4000)
    before = random.poisson(4 * eager)
    shown = random.poisson(6 * eager) + 1
    clicks = random.binomial(shown, np.clip(0.05 * eager * (1 + 0.1 * arm), 0, 0.9))
    return pa.table({"variant": arm, "before": before, "shown": shown, "clicks": clicks})


@pytest.mark.parametrize("ratio", [False, True], ids=["mean", "ratio"])
@pytest.mark.parametrize("covariate", [False, True], ids=["plain", "cuped"])
def test_effects_are_those_of_tea_tasting(users: pa.Table, ratio: bool, covariate: bool) -> None:
    numbers = {"numer": "clicks", "denom": "shown", "numer_covariate": "before" if covariate else None}
    metric: Any = tt.RatioOfMeans(**numbers) if ratio else tt.Mean("clicks", covariate="before" if covariate else None)
    expected = tt.Experiment(m=metric).analyze(users)["m"]
    columns = {name: users[name].to_numpy() for name in users.column_names}
    found = from_columns(
        columns["variant"], columns["clicks"], columns["shown"] if ratio else None, columns["before"] if covariate else None
    )
    effect = difference(found["0"], found["1"])
    once = fixed(effect)
    assert [effect.control, effect.treatment, effect.value, once.low, once.high, p_value(effect)] == pytest.approx(
        [
            expected.control, expected.treatment, expected.effect_size,
            expected.effect_size_ci_lower, expected.effect_size_ci_upper, expected.pvalue,
        ],
        rel=CLOSE,
    )  # fmt: skip
    assert lift(found["0"], found["1"]).value == pytest.approx(expected.rel_effect_size, rel=CLOSE)
