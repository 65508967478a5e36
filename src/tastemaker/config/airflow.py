"""The section ``[airflow]``: when Airflow runs the pipelines, and where the work is done.

Read by the DAG file and by nobody else: a platform without Airflow ignores it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tastemaker.config.section import Section


class Cron(Section, frozen=True):
    """When each pipeline runs, as a cron expression in UTC; empty: only by hand or by an asset."""

    daily: Annotated[str, Meta(description="When `daily` runs; the `tastemaker_retrain` asset starts it, too.")] = "0 4 * * *"
    hourly: Annotated[str, Meta(description="When `hourly` runs.")] = "30 * * * *"
    evaluate: Annotated[str, Meta(description="When `evaluate` runs.")] = "0 */6 * * *"
    experiments: Annotated[str, Meta(description="When `experiments` runs.")] = "45 * * * *"
    maintain: Annotated[str, Meta(description="When `maintain` runs.")] = "0 2 * * 0"


class Airflow(Section, frozen=True):
    """The pipelines as DAGs of Airflow. `tastemaker` without Airflow ignores this."""

    python: Annotated[
        str, Meta(description="Python of the environment that does the steps, an absolute path; empty: Airflow's own.")
    ] = ""
    image: Annotated[str, Meta(description="Container image that does the steps in pods of Kubernetes; empty: no pods.")] = ""
    namespace: Annotated[str, Meta(description="Namespace of those pods.")] = "default"
    pod_template: Annotated[
        str, Meta(description="File with a pod to start from: its variables, secrets, volumes, resources; empty: none.")
    ] = ""
    pool: Annotated[str, Meta(min_length=1, description="Airflow's pool that all steps run in.")] = "default_pool"
    retries: Annotated[int, Meta(ge=0, le=20, description="Tries of a failed step after the first.")] = 2
    retry_seconds: Annotated[float, Meta(gt=0, le=86_400, description="Wait before the first retry; it doubles with each.")] = (
        60.0
    )
    timeout_minutes: Annotated[float, Meta(gt=0, description="Longest time of one step.")] = 360.0
    start_date: Annotated[str, Meta(description="Where the schedules begin, ISO 8601.")] = "2026-01-01"
    catchup: Annotated[bool, Meta(description="Run every interval since `start_date`; false: only the newest.")] = False
    dashboard: Annotated[
        str, Meta(description="URL of the tastemaker dashboard, for links from Airflow's pages; empty: no links.")
    ] = ""
    cron: Cron = Cron()
