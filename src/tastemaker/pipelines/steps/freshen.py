"""The step ``freshen``: popularity as of now under the live model, without training it."""

from __future__ import annotations

import time

import msgspec
from msgspec.structs import replace

from tastemaker.config import Config
from tastemaker.models import create
from tastemaker.models.untouched import suited
from tastemaker.pipelines.pipeline import Outcome, Progress, Window
from tastemaker.pipelines.steps.train import FALLBACK, MODEL
from tastemaker.pipelines.training import pinned
from tastemaker.registry import live
from tastemaker.storage import Storage, keys


def freshen(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Counts popularity over all events and points the live version's fallback at it."""
    now = live.read(storage.kv)
    if now is None:
        return Outcome({}, halt="nothing is live yet; `daily` trains the first model")
    data, _, seconds = pinned(storage, config, window)
    model = create(FALLBACK, config.models.get(FALLBACK, {}))
    model.fit(suited(FALLBACK, data, data), seed=config.train.seed, progress=lambda a, b, note: progress(a, b, note))
    artifact = f"{FALLBACK}-{window.suffix}/{MODEL}"
    if not storage.models.has(artifact):  # a run taken up again finds it, whole, and perhaps in use
        storage.models.remove(artifact.partition("/")[0])
        storage.models.publish(artifact, model.save)
    now = live.read(storage.kv) or now  # somebody may have promoted another version meanwhile
    if now.kind != FALLBACK:  # a live popular model is its own fallback
        storage.kv.put({keys.LIVE: msgspec.json.encode(replace(now, fallback=artifact))})
    return Outcome(
        {"fallback": artifact, "events": len(data.histories.items), "seconds": round(seconds, 3), "at": int(time.time())}
    )
