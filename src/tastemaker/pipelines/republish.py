"""Everybody's slate under a version, written again: what ``publish`` does, without training and without moving the pointer."""

from __future__ import annotations

from collections.abc import Callable

from tastemaker.errors import NotFound
from tastemaker.pipelines.catalog import INGEST
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.pipeline import Pipeline, Window
from tastemaker.pipelines.publishing import write_slates
from tastemaker.registry.live import Live
from tastemaker.storage import Storage

PIPELINE = Pipeline("slates", "Pins the lake for slates that are written again.", (INGEST,))
Progress = Callable[[int, int, str], None]


def rewrite_slates(storage: Storage, now: Live, progress: Progress) -> int:
    """Writes the slates of ``now``, live or about to be; returns for how many users."""
    run = run_pipeline(storage, storage.config, PIPELINE, watch=lambda _, done, total, note: progress(done, total, note))
    window = Window(run.id, run.start, run.end)
    try:
        return write_slates(storage, storage.config, window, progress, now.version, now.artifact, now.fallback)
    except NotFound:  # nobody has a history: there is nothing to make slates of
        return 0
