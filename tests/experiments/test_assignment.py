"""Arms by hashes: uniform, independent, unmoved by ramping, exclusive where they should be, and the same for ever."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy import stats

from tastemaker.domain import Arm, Experiment
from tastemaker.errors import InputError
from tastemaker.experiments.assignment import Assigner, Someone, assign, bucket, validate
from tastemaker.experiments.intervals import holm

UNITS = [f"user-{number}" for number in range(200_000)]
TWO = (Arm("old"), Arm("new", settings={"diversity": 0.5}))
BASE = Experiment("colour", TWO, state="running")


def buckets(salt: str, units: list[str] = UNITS) -> npt.NDArray[np.float64]:
    return np.array([bucket(salt, unit) for unit in units])


def fnv32a(text: str) -> int:
    found = 0x811C9DC5
    for byte in text.encode():
        found = (found ^ byte) * 0x01000193 & 0xFFFFFFFF
    return found


def test_buckets_are_uniform_and_independent_of_each_other() -> None:
    places = [buckets(f"salt-{number}") for number in range(20)]
    cells = [np.minimum((place * 32).astype(int), 31) for place in places]
    p = {f"uniform {n}": float(stats.chisquare(np.bincount(cell, minlength=32)).pvalue) for n, cell in enumerate(cells)}
    for (a, one), (b, other) in combinations(enumerate(cells), 2):
        p[f"{a} and {b}"] = float(stats.chisquare(np.bincount((one // 4) * 8 + other // 4, minlength=64)).pvalue)
    assert min(holm(p).values()) > 1e-4


def test_the_same_test_finds_a_hash_whose_experiments_depend_on_each_other() -> None:
    """FNV over the unit and then the name, modulo 1000: an early choice of a feature-flag tool."""
    units = UNITS[:50_000]
    one, other = (np.array([fnv32a(unit + name) % 1000 for unit in units]) * 8 // 1000 for name in ("exp-a", "exp-b"))
    assert stats.chisquare(np.bincount(one * 8 + other, minlength=64)).pvalue < 1e-6


def test_more_coverage_lets_more_in_and_moves_nobody() -> None:
    units = UNITS[:20_000]
    steps = [
        {unit: assign([replace(BASE, coverage=coverage)], unit)["colour"].arm for unit in units}
        for coverage in (0.05, 0.2, 0.5, 0.9, 1.0)
    ]
    for before, after in pairwise(steps):
        assert all(after[unit] == arm for unit, arm in before.items() if arm)
        assert sum(map(bool, after.values())) > sum(map(bool, before.values()))
    assert all(steps[-1].values())
    assert Counter(steps[0].values())["old"] / len(units) == pytest.approx(0.025, abs=0.004)


def test_slices_of_a_layer_have_nobody_in_common_and_layers_everybody_independently() -> None:
    first, second = replace(BASE, name="a", stop=0.5), replace(BASE, name="b", start=0.5)
    third = replace(BASE, name="c", layer="other", arms=(Arm("x"), Arm("y", settings={"explore": 0.1})))
    validate([first, second, third])
    seen: Counter[tuple[str, str, str]] = Counter()
    for unit in UNITS[:20_000]:
        found = assign([first, second, third], unit)
        seen[found["a"].arm, found["b"].arm, found["c"].arm] += 1
    assert all(bool(a) != bool(b) for a, b, _ in seen)
    table = np.array(
        [[sum(n for key, n in seen.items() if arm in key[:2] and key[2] == other) for other in "xy"] for arm in ("old", "new")]
    )
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_weights_are_kept() -> None:
    arms = (Arm("a", 0.7), Arm("b", 0.2), Arm("c", 0.1))
    found = Counter(assign([replace(BASE, arms=arms)], unit)["colour"].arm for unit in UNITS[:50_000])
    assert stats.chisquare([found[arm.name] for arm in arms], [50_000 * arm.weight for arm in arms]).pvalue > 1e-4


@given(st.text(max_size=20), st.text(max_size=20), st.floats(0.01, 1))
def test_whoever_asks_gets_the_same_and_one_arm_of_those_there_are(name: str, unit: str, coverage: float) -> None:
    experiment = replace(BASE, salt=name, coverage=coverage)
    found = assign([experiment], unit)["colour"]
    assert found.arm in ("", "old", "new")
    assert found == assign([experiment], unit)["colour"]
    assert 0 <= found.bucket < 1


def test_a_place_is_what_the_documentation_says() -> None:
    digest = blake2b(b"layer:default:ann", digest_size=8).digest()
    assert bucket("layer:default", "ann") == (int.from_bytes(digest, "big") >> 11) / 2**53


@pytest.mark.parametrize(
    ("salt", "unit", "place"),
    [
        ("arms:colour", "ann", 0.015292856272090871),
        ("arms:colour", "Zoë", 0.42762830447283484),
        ("layer:default", "user-1", 0.8739539295863494),
        ("holdout", "user-1", 0.04178168780942515),
    ],
)
def test_golden_places(salt: str, unit: str, place: float) -> None:
    assert bucket(salt, unit) == place


def test_reasons() -> None:
    def reason(experiment: Experiment, unit: str = "ann", **more: object) -> tuple[str, str]:
        found = assign([experiment], unit, **more)["colour"]  # type: ignore[arg-type]  # as the test names them
        return found.arm, found.reason

    assert reason(BASE)[1] == "hashed"
    assert reason(replace(BASE, state="draft")) == ("", "state")
    assert reason(replace(BASE, forced={"ann": "new"})) == ("new", "forced")
    assert reason(replace(BASE, segments=("kids",)), segment="adults") == ("", "targeting")
    assert reason(replace(BASE, surfaces=("home",)), surface="search") == ("", "targeting")
    assert reason(replace(BASE, surfaces=("home",)), surface="home")[1] == "hashed"
    assert reason(BASE, holdout=1.0) == ("", "holdout")
    arm = reason(BASE)[0]
    other = "old" if arm == "new" else "new"
    assert reason(replace(BASE, sticky=True), kept={"colour": other}) == (other, "sticky")
    assert reason(BASE, kept={"colour": other}) == (arm, "hashed")
    assert reason(replace(BASE, coverage=0.0001))[1] == "coverage"


def test_a_holdout_takes_part_in_nothing() -> None:
    assigner = Assigner([BASE], holdout=0.1)
    out = [unit for unit in UNITS[:20_000] if not assigner.arms(Someone(unit))]
    assert len(out) / 20_000 == pytest.approx(0.1, abs=0.01)
    assert all(bucket("holdout", unit) < 0.1 for unit in out)


@pytest.mark.parametrize(
    ("experiments", "words"),
    [
        ([BASE, BASE], "two experiments have this name"),
        ([replace(BASE, arms=(Arm("a", 0.5), Arm("b", 0.4)))], "the weights of all arms add up to 1"),
        ([replace(BASE, arms=(Arm("a"), Arm("a")))], "two arms have this name"),
        ([replace(BASE, start=0.5, stop=0.5)], "a slice ends behind its start"),
        ([replace(BASE, coverage=0.0)], "coverage = 0.0"),
        ([replace(BASE, kind="interleaving", arms=(Arm("a", 0.4), Arm("b", 0.3), Arm("c", 0.3)))], "of two arms"),
        ([replace(BASE, forced={"ann": "nwe"})], 'no such arm; did you mean "new"'),
        ([replace(BASE, guardrails={"ctr": 1.5})], "the share that may be lost"),
        ([replace(BASE, metrics=())], "name at least one metric"),
        ([BASE, replace(BASE, name="other", start=0.9)], "its slice of layer 'default' overlaps 0 to 1 of 'colour'"),
        ([BASE, replace(BASE, name="other", layer="two")], "'colour' in layer 'default' decides diversity, too"),
    ],
)
def test_what_cannot_be_is_refused(experiments: list[Experiment], words: str) -> None:
    with pytest.raises(InputError) as raised:
        validate(experiments)
    assert words in str(raised.value)


def test_experiments_of_different_surfaces_or_subjects_may_overlap() -> None:
    validate([replace(BASE, surfaces=("home",)), replace(BASE, name="other", layer="two", surfaces=("search",))])
    models = (Arm("a"), Arm("b", model="als-1"))
    validate([BASE, replace(BASE, name="other", layer="two", arms=models)])
