"""Consumers come, go, freeze and die under load: partitions move, nothing is lost, nothing is applied twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import servers
from processes import running
from torture import platform

pytestmark = pytest.mark.slow


def test_partitions_move_with_consumers_that_come_and_go(tmp_path: Path) -> None:
    with platform(tmp_path, streams=1, broker=servers.Tansu) as it:  # a member that leaves too slowly is evicted
        with running(it.home, "stream", **it.environment):
            it.goes_on(60)
            with running(it.home, "stream", **it.environment):
                it.goes_on(60)
            it.goes_on(60)
        it.goes_on(60)
        it.whole()


def test_a_consumer_killed_in_the_middle_of_a_batch_is_replaced_by_the_others(tmp_path: Path) -> None:
    with platform(tmp_path, streams=2, broker=servers.Tansu) as it:
        it.goes_on(40)
        it.streams[0].process.send_signal(signal.SIGKILL)
        it.goes_on(60)
        it.whole(120)


def test_a_consumer_that_freezes_and_wakes_up_late_disturbs_nobody(tmp_path: Path) -> None:
    with platform(tmp_path, streams=2, broker=servers.Tansu) as it:
        it.goes_on(40)
        it.streams[0].process.send_signal(signal.SIGSTOP)
        it.goes_on(400, 60)
        it.streams[0].process.send_signal(signal.SIGCONT)
        it.goes_on(60)
        it.whole(120)
        assert it.streams[0].process.poll() is None
