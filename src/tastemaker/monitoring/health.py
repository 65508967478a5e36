"""Is everything in step? Lags of the consumers, age of the live model, share of answers that came from the top rung."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from tastemaker.storage import Storage
from tastemaker.storage.archive import GROUP
from tastemaker.storage.kv import consumer_of
from tastemaker.storage.log import lag_of


def health(storage: Storage, now: int, trained: int | None) -> dict[str, float]:
    """Numbers that should be small: ``lag_nearline``, ``lag_archive`` (records), ``live_age_hours``.

    ``trained``: when the live model was trained; None when nothing is live.
    """
    ends = storage.log.ends()
    groups = {"nearline": consumer_of(storage.kv), "archive": GROUP}
    found = {f"lag_{name}": float(lag_of(ends, storage.log.committed(group))) for name, group in groups.items()}
    if trained is not None:
        found["live_age_hours"] = (now - trained) / 3_600_000
    return found


def rungs(decisions: pa.Table) -> dict[str, float]:
    """Share of answers by rung of the fallback ladder."""
    counts = Counter(decisions["rung"].to_pylist())
    return {f"rung_{rung}": count / len(decisions) for rung, count in sorted(counts.items())}
