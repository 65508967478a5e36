"""Which artifacts may go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tastemaker.monitoring.retention import outdated, time_of

OLD, YOUNG = "20260101T000000000", "20260131T000000000"
BEFORE = 1_769_000_000_000  # 2026-01-21


def test_only_what_is_old_and_needed_by_nobody_goes() -> None:
    artifacts = [f"{kind}-{when}/{part}" for kind in ("als", "popular") for when in (OLD, YOUNG) for part in ("model", "twin")]
    assert outdated(artifacts, {}, set(), set(), BEFORE) == [f"als-{OLD}", f"popular-{OLD}"]
    assert outdated(artifacts, {}, {f"als-{OLD}"}, set(), BEFORE) == [f"popular-{OLD}"]
    assert outdated(artifacts, {}, set(), {OLD}, BEFORE) == []
    assert outdated(artifacts, {f"als-{OLD}": BEFORE, f"als-{YOUNG}": 1}, set(), set(), BEFORE) == [
        f"als-{YOUNG}",
        f"popular-{OLD}",
    ]


def test_a_version_whose_age_nobody_knows_stays() -> None:
    assert outdated(["mine/model", "my-own/model", "als-20261399T000000000/model"], {}, set(), set(), 2**60) == []


@given(st.integers(0, 4_000_000_000_000))
def test_the_time_in_a_name_is_read_back(time: int) -> None:
    from tastemaker.pipelines.pipeline import Pipeline
    from tastemaker.pipelines.running import id_of

    assert time_of(id_of(Pipeline("als", "", ()), time)) == time
