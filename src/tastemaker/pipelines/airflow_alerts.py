"""A task that has failed for good becomes an alert of tastemaker, and the runs table hears of it: it may have been killed."""

from __future__ import annotations

import json
import subprocess

from airflow.sdk import Context

from tastemaker.config import load
from tastemaker.pipelines.airflow_asking import text_of
from tastemaker.pipelines.airflow_commands import command_of
from tastemaker.pipelines.answers import answered


def step_failed(context: Context) -> None:
    """Airflow calls it once, after the last try. What it raises stands in the task's log."""
    asked = json.loads(text_of(context["task"]))
    told = str(context.get("exception") or "the task was killed, or ran out of time")
    asked |= {"failed": told.strip() or "no reason given", "names": False, "join": False}
    python = load()[0].airflow.python
    if python:
        subprocess.run([python, "-m", "tastemaker", *command_of(asked), "--quiet"], check=True)
    else:
        answered(json.dumps(asked))
