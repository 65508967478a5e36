"""From a step's answer to what Airflow makes of it: a state, a sentence on the task's page, an event of an asset."""

from __future__ import annotations

import json
import logging
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from tastemaker.pipelines.airflow.assets import announce
from tastemaker.pipelines.answers import REFUSED
from tastemaker.pipelines.words import sentence

SUMMARY = "summary"  # the XCom key of the sentence
log = logging.getLogger("airflow.task.tastemaker")


def settled(answer: Any, context: Context, asked: str) -> Any:
    """The answer, for XCom; raises what skips the task, or fails it for good."""
    if answer is None:
        raise AirflowException("the step ended without an answer; its own log says why")
    if isinstance(answer, list):
        tell(context, f"{len(answer)} parts: {', '.join(answer)}")
        return answer
    tell(context, sentence(json.loads(asked)["step"], answer))
    if answer["state"] == REFUSED:
        raise AirflowFailException(f"{answer['error']} (trying again would not help)")
    if answer["state"] == "skipped":
        raise AirflowSkipException(answer["reason"])
    announce(answer, context)
    return answer


def tell(context: Context, text: str) -> None:
    log.info("%s", text)
    context["ti"].xcom_push(key=SUMMARY, value=text)
