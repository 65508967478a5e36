"""Counting many answers at once gives the same numbers as counting them one by one."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tastemaker.telemetry import SECONDS, Traffic


@given(st.lists(st.floats(0, 20) | st.sampled_from(SECONDS), max_size=30))
def test_many_answers_at_once_count_like_one_by_one(seconds: list[float]) -> None:
    one, many = Traffic(), Traffic()
    for value in seconds:
        one.note("r", "2xx", value)
    many.note_all("r", "2xx", seconds)
    assert (many.requests, many.buckets) == (one.requests, one.buckets)
    assert many.seconds.keys() == one.seconds.keys()
    assert all(math.isclose(many.seconds[route], one.seconds[route], abs_tol=1e-9) for route in one.seconds)
