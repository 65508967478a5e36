"""The step ``gate``: may the best candidate go live? The verdict is kept with its card; a closed gate skips what follows."""

from __future__ import annotations

from msgspec.structs import replace

from tastemaker.config import Config
from tastemaker.domain import ModelCard
from tastemaker.errors import NotFound
from tastemaker.evaluation.splits import Split
from tastemaker.pipelines.judging import evaluation_of
from tastemaker.pipelines.pipeline import Outcome, Progress, Window, summary_of
from tastemaker.pipelines.steps.train import split_of
from tastemaker.pipelines.training import pinned
from tastemaker.registry import live
from tastemaker.registry.gate import Contender, judge
from tastemaker.storage import Storage


def gate(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Asks the gate's questions of the best candidate, beside the live model on the same users."""
    version: str = summary_of(storage, window, "evaluate")["best"]
    card = storage.tables.models.get(version)
    if card is None:
        raise NotFound(f"model version {version!r} has no card any more; run the pipeline from its beginning")
    data, _, _ = pinned(storage, config, window)
    split = split_of(data, config.evaluate)
    progress(0, 2, version)
    candidate = contender(storage, config, card, split)
    progress(1, 2, "beside the live model")
    now = live.read(storage.kv)
    rival = storage.tables.models.get(now.version) if now is not None and now.version != version else None
    verdict = judge(
        candidate, contender(storage, config, rival, split) if rival else None, config.gate, config.evaluate.metric, window.end
    )
    state = card.state if verdict.passed or card.state == "live" else "rejected"
    storage.tables.models.put(replace(card, verdict=verdict, state=state))
    failed = [check.name for check in verdict.checks if not check.passed]
    value = candidate.evaluation.intervals[config.evaluate.metric]
    summary = {
        "version": version,
        "passed": verdict.passed,
        "failed": failed,
        "checks": len(verdict.checks),
        "metric": config.evaluate.metric,
        "value": [value.value, value.low, value.high],
    }
    return Outcome(summary, halt="" if verdict.passed else f"the gate is closed for {version}: {', '.join(failed)}")


def contender(storage: Storage, config: Config, card: ModelCard, split: Split) -> Contender:
    return Contender(card.version, evaluation_of(storage, config, card, split, lambda *_: None), int(card.data.get("events", 0)))
