"""The step ``features``: what is known of users and items at the end of the window, as lake tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ibis
import ibis.expr.types as ir

from tastemaker.config import Config, Rewards
from tastemaker.features import catalog, table
from tastemaker.pipelines import engines
from tastemaker.pipelines.pipeline import Outcome, Progress, Window, summary_of
from tastemaker.storage import Storage

KEYS = ("user", "item")


def features(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Writes ``user_features`` and ``item_features``: a row for everybody and everything that has an event."""
    return Outcome(write_features(storage, config, summary_of(storage, window, "ingest")["versions"], window.end, progress))


def write_features(storage: Storage, config: Config, versions: Mapping[str, int], at: int, progress: Progress) -> dict[str, Any]:
    """Both tables as of a time, under the present rewards; says how many rows they have."""
    engine = engines.queries(config, "features", progress)
    events, views = (
        engine.scan(storage.lake, name, versions[name]) if name in versions else None for name in ("interactions", "views")
    )
    if events is None:
        return {"rows": {}, "catalog": catalog.version()}
    rows: dict[str, int] = {}
    written: dict[str, int] = {}
    for done, key in enumerate(KEYS):
        progress(done, len(KEYS), f"{key} features")
        found = engine.rows(features_of(key, events, views, config.rewards, at))
        written[f"{key}_features"] = storage.lake.overwrite(f"{key}_features", found)
        rows[f"{key}_features"] = len(found)
    return {"rows": rows, "versions": written, "catalog": catalog.version()}


def features_of(key: str, events: ir.Table, views: ir.Table | None, rewards: Rewards, at: int) -> ir.Table:
    """All features of everybody, or everything, that has an event, as they are at a time."""
    requests = events.select(key).distinct().mutate(at=ibis.literal(at, "int64"))
    wanted = [feature for feature in catalog.FEATURES if feature.key == key and feature.name != "user_recent"]
    return table.point_in_time(requests, events, wanted, rewards=rewards, views=views).order_by(key)
