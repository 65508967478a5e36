"""``kill -9`` of Spark's driver in the middle of a batch, twice, and the stores are the worker's all the same.

``python -m benchmarks spark_streaming`` does the same over 250,000 events, and says how long it took.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from servers import program
from spark_killed import compare

EVENTS = 20_000  # so that the test takes less than a minute on two idle cores, most of it Spark's starts


@pytest.mark.slow
def test_a_driver_killed_in_the_middle_of_a_batch_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    program("java")
    told = compare(tmp_path, EVENTS, 4_000, kills=(1, 2))
    assert told.same
    first, second = told.done
    assert 0 < first < second < EVENTS
