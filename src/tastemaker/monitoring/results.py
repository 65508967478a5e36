"""What is concluded from an experiment goes into its history, and people are told where it is broken or does harm."""

from __future__ import annotations

from tastemaker.domain import Experiment
from tastemaker.experiments.intervals import ALPHA
from tastemaker.experiments.reporting import Report, encode, report
from tastemaker.experiments.verdicts import Data
from tastemaker.monitoring.alerts import close_alert, raise_alert
from tastemaker.storage import Storage
from tastemaker.storage.tables import Result

BROKEN, HARMS = "experiment_broken", "experiment_harms"


def record(storage: Storage, experiment: Experiment, data: Data, source: str, now: int, alpha: float = ALPHA) -> Report:
    """Keeps what the data say at a moment (epoch ms). Done again for the same moment, it changes nothing."""
    made = report(experiment, data, source, now, alpha)
    storage.tables.results.put(Result(made.experiment, made.version, source, now, encode(made)))
    tell(storage, made)
    return made


def tell(storage: Storage, made: Report) -> None:
    """Opens an alert for what is wrong, and closes it once it is well, or the experiment has ended."""
    running = made.state == "running"
    broken = [one.text for one in made.conclusions if running and one.decision == "broken"]
    harmed = [f"{one.arm} harms {guard.metric}" for one in made.conclusions for guard in one.guards if running and guard.harmed]
    for name, severity, texts in ((BROKEN, "error", broken), (HARMS, "warning", harmed)):
        if texts:
            raise_alert(storage, name=name, subject=made.experiment, text="; ".join(texts), severity=severity, now=made.time)
        else:
            close_alert(storage, name=name, subject=made.experiment, now=made.time)
