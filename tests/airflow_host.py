"""A process that holds Airflow and runs DAGs to their end when asked: tests must not import Airflow themselves.

Importing Airflow sets up logging, warnings and an ORM for the whole process, which other tests would feel. So one child process
has it, with a home of its own: a request is a line of JSON on its standard input, an answer one on its standard output.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
import traceback
from datetime import datetime
from pathlib import Path
from typing import Any

DAGS = Path(__file__).resolve().parents[1] / "dags"


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Airflow prints goes to the log
    from airflow.utils.db import initdb

    import airflow_steps

    initdb()
    airflow_steps.register()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            found = act(**request)
        except Exception as error:
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(found, default=str) + "\n")
        answers.flush()


def act(
    environ: dict[str, str],
    dag: str = "",
    text: str = "",
    logical_date: str | None = None,
    run_after: str | None = None,
    conf: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Runs a DAG for a date and tells what came of it; without one it only tells what DAGs there are, in the file or in a text.

    The configuration is that of the environment given.
    """
    for name in [name for name in os.environ if name.startswith("TASTEMAKER_")]:
        del os.environ[name]
    os.environ.update(environ)
    from tastemaker.pipelines.airflow import links

    links.dashboard.cache_clear()
    dags = dags_of(text)
    if not dag:
        return {name: [*found.task_ids, str(found.schedule)] for name, found in dags.items()}
    found = dags[dag]
    when = datetime.fromisoformat(logical_date) if logical_date else None
    later = datetime.fromisoformat(run_after) if run_after else None
    run = found.test(logical_date=when, run_after=later, run_conf=conf)
    return told(found, run)


def dags_of(text: str) -> dict[str, Any]:
    """The DAGs that the DAG file makes, or those of a text."""
    if not text:
        found = runpy.run_path(str(DAGS / "tastemaker.py"))
        return {name: dag for name, dag in found.items() if name.startswith("tastemaker_")}
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(text)
        file.flush()
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(file.name)
        assert not bag.import_errors, bag.import_errors
        return dict(bag.dags)


def told(dag: Any, run: Any) -> dict[str, Any]:
    """A run's tasks, their words, and the assets' events, read from Airflow's database."""
    from airflow import settings
    from airflow.models.asset import AssetEvent
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    tasks = [
        {
            "task": one.task_id, "index": one.map_index, "state": str(one.state), "tries": one.try_number,
            "label": one.rendered_map_index,
        }
        for one in run.get_task_instances()
    ]  # fmt: skip
    assert settings.Session is not None
    with settings.Session() as session:
        values = session.scalars(select(XComModel).where(XComModel.dag_id == dag.dag_id, XComModel.run_id == run.run_id)).all()
        xcoms = [{"task": x.task_id, "index": x.map_index, "key": x.key, "value": x.value} for x in values]
        events = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == run.run_id)).all()
        told = [{"asset": event.asset.name, "task": event.source_task_id, "extra": event.extra} for event in events]
    return {
        "state": str(run.state), "run": run.run_id, "tasks": tasks, "xcoms": xcoms, "events": told,
        "start": run.data_interval_start, "end": run.data_interval_end,
    }  # fmt: skip


if __name__ == "__main__":
    serve()
