"""History under the present ``[rewards]``: what states and feature tables say that events are worth, made anew.

The log and the lake keep events, not what they are worth, so nothing of them changes. User states and item counters are made
again by replay (``streaming/rebuild.py``), which goes on where it was stopped, begins anew where the rewards are others than
those it began with, and exchanges what people are answered from user by user. Then the feature tables are written. Models
learn under the new rewards by the next run: until then the live one answers with what it has learnt.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tastemaker.config import Config
from tastemaker.pipelines.local import Watch
from tastemaker.pipelines.steps.features import KEYS, write_features
from tastemaker.registry.labels import check_version
from tastemaker.storage import Storage
from tastemaker.storage.archive import archive

Rebuild = Callable[[Storage, Callable[[int, int, str], None]], int]
"""Makes states and counters anew and tells how many users have one: ``streaming.rebuild.rebuild_states``."""


@dataclass(frozen=True)
class Relabelled:
    """What was made anew, and the reward version that it speaks of."""

    reward: str
    users: int  # with a state
    rows: dict[str, int]  # by feature table


def relabel(storage: Storage, config: Config, rebuild: Rebuild, watch: Watch) -> Relabelled:
    """Makes states and feature tables anew. Doing it twice is the same.

    Raises ``ConfigError`` where models have learnt another table under this version.
    """
    check_version(storage.tables.models, config.rewards)
    users = rebuild(storage, lambda done, total, note: watch("states", done, total, note))
    archive(storage.log, storage.lake)
    versions = {name: storage.lake.version(name) for name in ("interactions", "views")}
    there = {name: version for name, version in versions.items() if version >= 0}
    now = int(time.time() * 1000)
    made = write_features(storage, config, there, now, lambda done, total, note: watch("features", done, total, note))
    watch("features", len(KEYS), len(KEYS), "")
    return Relabelled(config.rewards.version, users, made["rows"])
