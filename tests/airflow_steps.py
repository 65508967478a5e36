"""Pipelines that no user has, for tests of Airflow: steps that fail, that fail once, that close the gate, that leave words.

They stand in a module of their own because a step is found by its module's name, in whatever process it runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tastemaker.config import Config
from tastemaker.errors import InputError
from tastemaker.pipelines.catalog import PIPELINES
from tastemaker.pipelines.pipeline import Outcome, Parts, Pipeline, Progress, Step, Window
from tastemaker.storage import Storage


def journal(config: Config, word: str) -> list[str]:
    """Adds a word to a file, so that what really ran is known from outside of the runs table; returns all words."""
    path = config.home / "journal"
    with path.open("a") as file:
        file.write(word + "\n")
    return path.read_text().split()


def first(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    journal(config, "first")
    return Outcome({"window": [window.start, window.end], "nothing": float("nan")})


def last(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    journal(config, "last")
    return Outcome({"ok": True})


def shaky(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Fails once, with an error of the kind that passes by itself."""
    if journal(config, "shaky").count("shaky") == 1:
        raise ConnectionResetError("the line is bad")
    return Outcome({"ok": True})


def broken(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    journal(config, "broken")
    raise ConnectionResetError("the line stays bad")


def wrong(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    journal(config, "wrong")
    raise InputError("value", 7, "give another one")


def slow(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    journal(config, "slow")
    time.sleep(60)
    return Outcome()


def closed(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    if "open" in journal(config, "closed"):
        return Outcome({"passed": True})
    return Outcome({"passed": False}, halt="not good enough")


def letters(config: Config) -> tuple[str, ...]:
    return ("a", "b", "c")


def letter(storage: Storage, config: Config, window: Window, progress: Progress, part: str) -> Outcome:
    journal(config, f"letter-{part}")
    return Outcome({"letter": part})


def word(summaries: Sequence[Mapping[str, Any]]) -> Outcome:
    return Outcome({"word": "".join(summary["letter"] for summary in summaries)})


def step(name: str, *, always: bool = False, parts: bool = False) -> Step:
    found = Parts(f"{__name__}:letters", f"{__name__}:letter", f"{__name__}:word") if parts else None
    return Step(name, f"{__name__}:{'last' if parts else name}", f"Does {name}.", parts=found, always=always)


EXTRA = (
    Pipeline("retrying", "A step that fails once.", (step("first"), step("shaky"), step("last"))),
    Pipeline("breaking", "A step that always fails.", (step("first"), step("broken"), step("last", always=True))),
    Pipeline("refusing", "A step that no retry heals.", (step("wrong"), step("last"))),
    Pipeline("lasting", "A step that takes too long.", (step("slow"), step("last"))),
    Pipeline("halting", "A gate that stays closed.", (step("closed"), step("spelled", parts=True), step("last", always=True))),
    Pipeline("spelling", "A step of three parts.", (step("spelled", parts=True), step("last"))),
)


def register() -> None:
    PIPELINES.update({pipeline.name: pipeline for pipeline in EXTRA})
