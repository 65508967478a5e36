"""Assets: what other DAGs can wait for, and what starts a training out of its turn."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, Context, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

MODEL_PUBLISHED = Asset(
    name="tastemaker_model_published",
    uri="tastemaker://model",
    extra={"about": "A model version went live, with slates for all."},
)
RETRAIN = Asset(
    name="tastemaker_retrain", uri="tastemaker://retrain", extra={"about": "Something drifted, or a metric fell: train now."}
)
TOLD = ("version", "kind", "users", "before", "metrics", "verdict")


def announce(answer: dict[str, Any], context: Context) -> None:
    """Puts what is known of the published version into the event of the asset. Where nothing went live there is no event."""
    if MODEL_PUBLISHED not in context["task"].outlets:
        return
    if halt := answer.get("halt"):
        raise AirflowSkipException(halt)
    summary = answer.get("summary", {})
    context["outlet_events"][MODEL_PUBLISHED].extra.update(
        {name: summary[name] for name in TOLD if name in summary} | {"run": answer["run"]}
    )


@task(
    task_id="retrain",
    outlets=[RETRAIN],
    on_failure_callback=None,
    doc_md="Says that a training is wanted, where the check before it asks for one.",
)
def ask_for_training(answer: dict[str, Any] | None = None) -> str:
    """Emits the retrain asset with the reason, or skips itself: an asset whose task was skipped has no event."""
    summary = (answer or {}).get("summary", {})
    if not summary.get("retrain"):
        raise AirflowSkipException("no rule asks for a training")
    reason = str(summary.get("reason", ""))
    get_current_context()["outlet_events"][RETRAIN].extra.update({"reason": reason, "run": (answer or {}).get("run")})
    return reason
