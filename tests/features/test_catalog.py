"""The catalogue covers every event field, and rewards mean the same for one event and for a column."""

from __future__ import annotations

import subprocess
import sys

import ibis
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.config import Reward, Rewards
from tastemaker.domain import EVENTS, tag_of
from tastemaker.features.catalog import BY_NAME, FEATURES, FIELDS, version
from tastemaker.features.kinds import Rate
from tastemaker.features.rewards import reward, reward_column
from tastemaker.features.table import connect


def test_every_field_of_every_event_says_when_it_is_known() -> None:
    fields = {f"{tag_of(event)}.{info.name}" for event in EVENTS for info in msgspec.structs.fields(event)}
    assert set(FIELDS) == fields
    assert FIELDS["interaction.value"] == FIELDS["interaction.mature_at"] == FIELDS["view.visible_ms"] == "post_action"
    assert FIELDS["interaction.kind"] == "action"
    for name in ("context", "session", "decision", "position", "item", "time"):
        assert FIELDS[f"interaction.{name}"] == "request"


def test_names_are_unique_and_only_rates_have_a_denominator() -> None:
    assert len(BY_NAME) == len(FEATURES)
    assert all((feature.per is not None) == isinstance(feature.kind, Rate) for feature in FEATURES)
    assert all(feature.text.endswith(".") for feature in FEATURES)


def test_the_version_is_the_same_in_another_process() -> None:
    code = "from tastemaker.features.catalog import version; print(version())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == version()


rules = st.builds(Reward, weight=st.floats(-100, 100), at_least=st.none() | st.integers(-2, 2).map(float))
rewards_ = st.builds(Rewards, default=st.floats(-5, 5), kinds=st.dictionaries(st.sampled_from("abc"), rules))
values = st.none() | st.integers(-3, 3).map(float)
CON = connect(threads=1)


@settings(max_examples=40, deadline=None)
@given(rewards=rewards_, events=st.lists(st.tuples(st.sampled_from("abcd"), values), min_size=1, max_size=12))
def test_the_reward_of_a_column_is_the_reward_of_each_event(rewards: Rewards, events: list[tuple[str, float | None]]) -> None:
    rows = [{"n": n, "kind": kind, "value": value} for n, (kind, value) in enumerate(events)]
    table = ibis.memtable(rows, schema=ibis.schema({"n": "int64", "kind": "string", "value": "float64"}))
    table = table.select("n", reward=reward_column(rewards, table.kind, table.value)).order_by("n")
    got = CON.to_pyarrow(table)["reward"].to_pylist()
    # DuckDB reads a decimal literal one unit in the last place off, now and then
    assert got == pytest.approx([reward(rewards, kind, value) for kind, value in events], rel=1e-14, abs=0)
