"""The step ``publish``: slates for all users in blocks, then one pointer flips.

Slates are written under their version's own keys, so readers do not see them until the pointer names the version; a crash
in between leaves the old version live and whole. A stored slate says how far of the log it knows: users who did something
since are answered from their history until the worker has made them a new one.
"""

from __future__ import annotations

import time
from typing import Any

from tastemaker.config import Config
from tastemaker.domain import ModelCard
from tastemaker.errors import NotFound
from tastemaker.pipelines.pipeline import Outcome, Progress, Window, summary_of
from tastemaker.pipelines.publishing import write_slates
from tastemaker.pipelines.steps.train import FALLBACK, MODEL
from tastemaker.registry import live
from tastemaker.storage import Storage, keys


def publish_candidate(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Publishes the version that the gate let through and makes it live."""
    version: str = summary_of(storage, window, "gate")["version"]
    card = storage.tables.models.get(version)
    if card is None:
        raise NotFound(f"model version {version!r} has no card any more; run the pipeline from its beginning")
    if newer := newer_live(storage, card):
        return Outcome({"version": version, "users": 0}, halt=f"{newer} is live, and was trained on a later interval")
    fallback = f"{FALLBACK}-{window.suffix}/{MODEL}"
    users = write_slates(storage, config, window, progress, version, card.artifact, fallback)
    now = live.promote(storage, version, int(time.time() * 1000), fallback)
    removed = clean(storage, config, now)
    return Outcome({"version": version, "users": users, "before": now.previous, "removed": removed} | judged(card))


def judged(card: ModelCard) -> dict[str, Any]:
    """How good the version was found, for those who hear of it: its metrics, and each check's answer."""
    checks = {check.name: check.passed for check in card.verdict.checks} if card.verdict is not None else {}
    metrics = {name: [found.value, found.low, found.high] for name, found in card.metrics.items()}
    passed = card.verdict.passed if card.verdict is not None else None
    return {"kind": card.kind, "metrics": metrics, "verdict": {"passed": passed, "checks": checks}}


def newer_live(storage: Storage, card: ModelCard) -> str:
    """The live version, if it stands for a later time than a candidate: a run for the past must not replace it."""
    now = live.read(storage.kv)
    known = storage.tables.models.get(now.version) if now is not None else None
    return known.version if known is not None and known.made > card.made else ""


def publish_live(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Publishes the live version again, with the newest histories."""
    now = live.read(storage.kv)
    if now is None:
        return Outcome({"users": 0}, halt="nothing is live yet; `daily` trains the first model")
    users = write_slates(storage, config, window, progress, now.version, now.artifact, now.fallback)
    return Outcome({"version": now.version, "users": users})


def clean(storage: Storage, config: Config, now: live.Live) -> list[str]:
    """Removes the slates of versions that nobody will roll back to."""
    kept = {now.version, now.previous}
    retired = [card.version for card in storage.tables.models.all(state="retired") if card.version not in kept]
    old = retired[max(0, config.publish.keep - len(kept)) :]
    return [version for version in old if sum(storage.kv.drop(prefix) for prefix in keys.slates(version))]
