"""``kill -9`` of Spark's driver in the middle of a batch, and the stores are the worker's all the same.

``python -m benchmarks spark_streaming`` does the same and says how long it took.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from servers import program
from spark_killed import compare

EVENTS, BATCH = 250_000, 50_000  # about a minute on two idle cores, a third of it Spark's starts


@pytest.mark.slow
def test_a_driver_killed_in_the_middle_of_a_batch_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    program("java")
    told = compare(tmp_path, EVENTS, BATCH, kills=(2,))
    assert told.same
    assert 0 < told.done[0] < EVENTS
