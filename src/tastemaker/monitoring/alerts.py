"""Alerts: raised by whoever notices that something is wrong, closed by whoever sees that it is well again.

An alert is known by its name and its subject, so raising it again counts it up and says nothing new to people. Where alerts
go from here (a log line each, the table, the API's metrics) is the business of their readers.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from tastemaker import telemetry
from tastemaker.errors import InputError, NotFound, StorageError
from tastemaker.storage import Storage

if TYPE_CHECKING:
    from tastemaker.storage.tables.alerts import Alert

SEVERITIES = ("info", "warning", "error")
RUN_FAILED = "run_failed"
LONGEST = 4000  # letters of a text


def raise_alert(
    storage: Storage,
    *,
    name: str,
    subject: str,
    text: str,
    severity: str = "error",
    value: float = math.nan,
    now: int | None = None,
) -> Alert:
    """Opens the alert of a name and subject, or counts it up where it is open. ``now`` in epoch ms, default: this moment.

    Raised twice for the same moment it counts once. Raises ``InputError`` for a name, subject or severity that cannot be.
    """
    for field, given in (("name", name), ("subject", subject)):
        if not 1 <= len(given) <= 256:
            raise InputError(f"alert.{field}", given, "give 1 to 256 characters")
    if severity not in SEVERITIES:
        raise InputError("alert.severity", severity, f"choose one of {', '.join(SEVERITIES)}")
    if math.isinf(value):
        raise InputError("alert.value", value, "give a finite number, or NaN where there is none")
    raised = storage.tables.alerts.note(name, subject, severity, text[:LONGEST], value, moment(now))
    say = telemetry.log.warning if raised.count == 1 else telemetry.log.info
    say("alert_raised", alert=raised.id, name=name, subject=subject, severity=severity, count=raised.count, text=raised.text)
    return raised


def close_alert(storage: Storage, *, name: str, subject: str, now: int | None = None) -> Alert | None:
    """Closes the open alert of a name and subject; None where there is none."""
    closed = storage.tables.alerts.close(name, subject, moment(now))
    if closed is not None:
        telemetry.log.info("alert_closed", alert=closed.id, name=name, subject=subject, count=closed.count)
    return closed


def close_by_id(storage: Storage, id: str) -> Alert:
    """Closes an alert by hand. Raises ``NotFound``; one that is closed stays as it is."""
    known = storage.tables.alerts.get(id)
    if known is None:
        raise NotFound(f"alert {id!r} does not exist; `tastemaker alerts list --all` shows them")
    return close_alert(storage, name=known.name, subject=known.subject) or known if known.state == "open" else known


def run_failed(storage: Storage, *, pipeline: str, run: str, step: str, error: str) -> Alert | None:
    """Raises the alert of a pipeline whose run has failed for good; it is closed by the pipeline's next run that ends well.

    None, and a line in the log, where the tables are away: the failure itself must not be hidden by that.
    """
    try:
        return raise_alert(storage, name=RUN_FAILED, subject=pipeline, text=f"run {run}, step {step}: {error}")
    except StorageError as away:
        telemetry.log.error("alert_lost", name=RUN_FAILED, subject=pipeline, run=run, step=step, error=str(away))
        return None


def run_recovered(storage: Storage, pipeline: str) -> None:
    """A run of the pipeline has come to its end: whatever failed before is well."""
    close_alert(storage, name=RUN_FAILED, subject=pipeline)


def moment(now: int | None) -> int:
    return int(time.time() * 1000) if now is None else now
