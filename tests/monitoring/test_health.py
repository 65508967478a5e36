"""Lags and ages: small when all is well, and telling where something is behind."""

from __future__ import annotations

from tastemaker.config import Config
from tastemaker.domain import Interaction
from tastemaker.monitoring.health import health
from tastemaker.registry import live
from tastemaker.storage import Storage
from tastemaker.storage.archive import archive
from tastemaker.streaming.worker import Worker

HOUR = 3_600_000


def test_an_empty_platform_is_in_step_and_has_no_live_model(storage: Storage) -> None:
    assert health(storage, 0, None) == {"lag_nearline": 0.0, "lag_archive": 0.0}


def test_lags_count_the_records_that_each_consumer_has_not_done(storage: Storage, home: Config) -> None:
    storage.log.append([Interaction(f"e{n}", n, f"u{n}", "i", "click") for n in range(20)]).result()
    assert health(storage, 0, None) == {"lag_nearline": 20.0, "lag_archive": 20.0}
    archive(storage.log, storage.lake)
    assert health(storage, 0, None) == {"lag_nearline": 20.0, "lag_archive": 0.0}
    worker = Worker(storage, home)
    worker.drain()
    worker.stop()
    storage.log.append([Interaction("late", 1, "u", "i", "click")]).result()
    assert health(storage, 0, None) == {"lag_nearline": 1.0, "lag_archive": 1.0}


def test_the_age_of_the_live_model_counts_from_its_training(published: tuple[Storage, Config]) -> None:
    storage, _ = published
    now = live.read(storage.kv)
    assert now is not None
    found = health(storage, now.made + 36 * HOUR, now.made)
    assert found == {"lag_nearline": 0.0, "lag_archive": 0.0, "live_age_hours": 36.0}
