"""A task as a command line of ``tastemaker step``, for places that can only be handed words: a pod, another environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SKIPPED = 99
"""The exit code of a step that was skipped: what Airflow's operators take for "skip", unless told otherwise."""


def command_of(asked: Mapping[str, Any], part: str = "") -> list[str]:
    """The words behind ``tastemaker``.

    >>> command_of({"pipeline": "daily", "step": "train", "end": 5, "start": 1, "tries": 2, "models": ["als"]}, "als")
    ['step', 'daily', 'train', '--end', '5', '--start', '1', '--tries', '2', '--models', 'als', '--part', 'als']
    """
    words = ["step", str(asked["pipeline"]), str(asked["step"]), "--end", str(asked["end"])]
    for name in ("start", "tries", "failed"):
        if asked.get(name) not in (None, ""):
            words += [f"--{name}", str(asked[name])]
    words += [word for kind in asked.get("models", ()) for word in ("--models", kind)]
    flags = {"join": "--join", "force": "--force", "names": "--parts"}
    words += [flag for name, flag in flags.items() if asked.get(name)]
    return words + (["--part", part] if part else [])
