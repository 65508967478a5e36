"""A task that has failed for good becomes an alert of tastemaker, and the runs table hears of it: it may have been killed."""

from __future__ import annotations

import json
import subprocess

from airflow.sdk import Context

from tastemaker.config import load
from tastemaker.pipelines.airflow.asking import text_of
from tastemaker.pipelines.airflow.settling import tell
from tastemaker.pipelines.answers import answered
from tastemaker.pipelines.task_command import command_of


def step_failed(context: Context) -> None:
    """Airflow calls it once, after the last try. What it raises stands in the task's log."""
    asked = json.loads(text_of(context["task"]))
    told = str(context.get("exception") or "").strip() or "the task was killed, or gave no reason"
    asked |= {"failed": told, "names": False, "join": False}
    tell(context, f"failed: {told}")
    python = load()[0].airflow.python
    if python:
        subprocess.run([python, "-m", "tastemaker", *command_of(asked), "--quiet"], check=True)
    else:
        answered(json.dumps(asked))
