"""The stores of answers and of history go away under load: no answer fails, nothing is lost, all comes back by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from processes import running, wait_for
from tastemaker.storage import connect
from torture import platform

pytestmark = pytest.mark.slow
SOON = 5.0  # seconds within which every answer came, also the first ones after something went away


def test_redis_is_frozen_cut_off_and_killed_and_answers_come_from_the_durable_store(tmp_path: Path) -> None:
    with platform(tmp_path) as it:
        for take, give_back in (
            (it.redis.pause, it.redis.resume),
            (it.to_redis.cut, it.to_redis.mend),
            (it.to_redis.silence, it.to_redis.mend),
            (it.redis.kill, it.redis.start),  # it comes back empty
        ):
            take()
            it.goes_on()
            it.answers("personal")
            give_back()
            it.goes_on()
            it.answers("personal")
        it.whole()
        assert max(asker.longest for asker in it.askers) < SOON


def test_redis_answers_late(tmp_path: Path) -> None:
    with platform(tmp_path) as it:
        it.to_redis.delay(0.1)
        it.goes_on()
        it.to_redis.delay(1.0)  # later than anybody waits
        it.goes_on()
        it.to_redis.mend()
        it.whole()
        assert max(asker.longest for asker in it.askers) < SOON


def test_postgresql_is_frozen_cut_off_and_killed(tmp_path: Path) -> None:
    with platform(tmp_path) as it:
        it.postgres.pause()
        it.goes_on()
        it.postgres.resume()
        it.to_postgres.cut()
        it.goes_on()
        it.to_postgres.mend()
        it.postgres.kill()
        it.goes_on()
        it.postgres.start()
        it.answers("personal")
        it.whole()
        assert max(asker.longest for asker in it.askers) < SOON


def test_redis_and_postgresql_are_away_together(tmp_path: Path) -> None:
    with platform(tmp_path) as it:
        it.redis.pause()
        it.postgres.pause()
        it.goes_on()
        it.answers("popular")
        it.postgres.resume()
        it.redis.resume()
        it.answers("personal")
        it.whole()
        assert max(asker.longest for asker in it.askers) < SOON


def test_s3_is_away_and_the_archive_waits(tmp_path: Path) -> None:
    with platform(tmp_path) as it, running(it.home, "archive", "--every", "0.2", **it.environment) as archiver:  # noqa: SIM117 - a line
        with connect(it.config) as storage:
            wait_for(lambda: storage.lake.version("interactions") >= 0)
            it.to_s3.cut()
            it.goes_on()
            it.to_s3.mend()
            it.s3.pause()
            it.goes_on()
            it.s3.resume()
            it.whole()
            sent = {item for sender in it.senders for _, item in sender.acknowledged}
            wait_for(lambda: set(storage.lake.read("interactions", columns=["item"])["item"].to_pylist()) >= sent, 60)
            places = storage.lake.read("interactions", columns=["partition", "offset"]).to_pylist()
            assert len({(row["partition"], row["offset"]) for row in places}) == len(places), "no record was archived twice"
            assert archiver.process.poll() is None
