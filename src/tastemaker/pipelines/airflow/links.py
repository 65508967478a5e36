"""Links from Airflow's pages to the dashboard of tastemaker, and the plugin that brings them.

Airflow 3 keeps a link as an XCom when the task ends, whatever its end, so the page needs nothing of tastemaker to show it.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

from tastemaker.config import load
from tastemaker.pipelines.airflow.asking import text_of
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.running import id_of
from tastemaker.pipelines.tasks import moment


@cache
def dashboard() -> str:
    """The dashboard's URL; empty: there is none."""
    return load()[0].airflow.dashboard.rstrip("/")


class RunLink(BaseOperatorLink):
    """The page of the run that a task worked for."""

    name = "tastemaker run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """The link, or nothing where the task did not come to know its run."""
        text = text_of(operator)
        if not dashboard() or "{{" in text:
            return ""
        asked = json.loads(text)
        return f"{dashboard()}/runs/{id_of(pipeline(asked['pipeline']), moment('end', str(asked['end'])))}"


def links() -> tuple[BaseOperatorLink, ...]:
    """The links of a task: none without a dashboard."""
    return (RunLink(),) if dashboard() else ()


class TastemakerPlugin(AirflowPlugin):
    """Found by Airflow through the entry point ``airflow.plugins``: the link of each task, and the dashboard in the menu."""

    name = "tastemaker"
    operator_extra_links = list(links())  # noqa: RUF012 - Airflow declares it as what an instance has
    external_views = (  # as above
        [{"name": "tastemaker", "href": dashboard(), "destination": "nav", "category": "browse"}] if dashboard() else []
    )
