"""The same events give the same slates, whatever the platform stands on."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

import world
from profiles import PROFILES, postgres
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.registry import live
from tastemaker.slates.stored import decode_whole
from tastemaker.storage import connect, keys
from tastemaker.streaming.worker import Worker

NOW = world.BASE + 30 * 24 * 3_600_000
Shown = dict[str, tuple[list[tuple[str, float]], list[str]]]


def slates(home: Path, profile: str) -> Shown:
    """Every user's slate after a first day, and again after the worker has applied all events: items and scores, then items."""
    places = {**PROFILES, "postgres": postgres}[profile](home)
    config = replace(world.config_of(home), connect=places)
    with connect(config) as storage:
        world.fill(storage, users=60, items=40, per_user=12)
        run_pipeline(storage, config, pipeline("daily"), now=NOW)
        now = live.read(storage.kv)
        assert now is not None
        assert now.kind == "als"
        names = [world.user(number) for number in range(60)]

        def read() -> list[list[tuple[str, float]]]:
            packed = storage.kv.get([keys.whole(now.version, name) for name in names])
            return [[(shown.item, shown.score) for shown in decode_whole(each or b"").items] for each in packed]

        published = read()
        worker = Worker(storage, config)
        worker.drain()
        worker.stop()
        updated = read()
    return {name: (first, [item for item, _ in then]) for name, first, then in zip(names, published, updated, strict=True)}


@pytest.mark.slow
def test_all_profiles_show_everybody_the_same(tmp_path: Path) -> None:
    expected = slates(tmp_path / "files", "files")
    assert len(expected) == 60
    for profile in ("cluster", "mysql", "postgres"):
        found = slates(tmp_path / profile, profile)
        for user, (published, updated) in expected.items():
            assert [item for item, _ in found[user][0]] == [item for item, _ in published], (profile, user)
            assert [score for _, score in found[user][0]] == pytest.approx([score for _, score in published], rel=1e-4)
            assert found[user][1] == updated, (profile, user)
