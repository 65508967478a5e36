"""The step ``check``: do the metrics keep the rules of ``[watch]``? If one has been broken for long enough, something happens.

Where each rule stands is this step's summary, and where it stood is the summary of the run before: so the step may be done
again, and a run that is made up for a time long past, while later ones have been judged, changes nothing.

``summary["retrain"]`` says that a rule asks for a run of ``daily``; the same is kept as a trigger in the tables until a run
takes it, whoever starts that run.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tastemaker.config import Config, Rule
from tastemaker.monitoring.alerts import close_alert, raise_alert
from tastemaker.monitoring.rules import HOUR, Judged, State, judged, of_rule
from tastemaker.pipelines.pipeline import Outcome, Progress, Window
from tastemaker.pipelines.running import clock
from tastemaker.registry import live
from tastemaker.storage import Storage
from tastemaker.storage.tables.learning import Metric

RETRAIN = "daily"
PREFIX = "watch."
POINTS = 10_000
LOOKED = 1000  # runs among which the one before is looked for


def check(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Judges every rule, raises and closes alerts, and asks for a retraining where a rule that fires says so."""
    rules = config.watch.rules
    before, is_newest = states_before(storage, window)
    quiet = quiet_until(rules, before)
    now = live.read(storage.kv)
    found: dict[str, Judged] = {}
    for done, (name, rule) in enumerate(rules.items()):
        progress(done, len(rules), name)
        state = before.get(name, State())
        points = points_of(storage, rule, state, window.end, now.version if now is not None else "")
        found[name] = judged(rule, state, points, window.end, quiet if rule.action == "retrain" else 0)
    fired = [name for name, one in found.items() if one.fires] if is_newest else []
    reasons = [f"{name}: {found[name].text}" for name in fired if rules[name].action == "retrain"]
    reason = "; ".join(reasons)
    if is_newest:
        tell(storage, rules, found, window.end)
    if reasons:
        storage.tables.triggers.ask(f"check-{window.run}", RETRAIN, reason, clock())
    recovered = [name for name, one in found.items() if one.recovers]
    states = {name: {**msgspec.to_builtins(one.state), "text": one.text} for name, one in found.items()}
    return Outcome({"retrain": bool(reasons), "reason": reason, "fired": fired, "recovered": recovered, "rules": states})


def states_before(storage: Storage, window: Window) -> tuple[dict[str, State], bool]:
    """Where the rules stood after the run before, and whether no later one has been judged."""
    own = storage.tables.runs.get(window.run)
    known = storage.tables.runs.last(own.pipeline, LOOKED) if own is not None else []
    checked = [run for run in known if run.id != window.run and run.steps.get("check", {}).get("state") == "done"]
    earlier = [run for run in checked if run.end < window.end]
    newest = max(earlier, key=lambda run: run.end, default=None)
    rules: dict[str, dict[str, Any]] = newest.steps["check"]["summary"]["rules"] if newest is not None else {}
    return {name: msgspec.convert(state, State) for name, state in rules.items()}, len(earlier) == len(checked)


def quiet_until(rules: dict[str, Rule], before: dict[str, State]) -> int:
    """When the last retraining that a rule asked for is so long ago that another may be asked for."""
    asked = (
        (before[name].fired or 0) + int(rule.cool_down_hours * HOUR)
        for name, rule in rules.items()
        if rule.action == "retrain" and name in before and before[name].fired is not None
    )
    return max(asked, default=0)


def points_of(storage: Storage, rule: Rule, state: State, now: int, version: str) -> list[Metric]:
    """The points that a rule looks at: since the one that it judged last, and those of its baseline."""
    since = int(now - 2 * rule.baseline_hours * HOUR) if rule.drop is not None else state.time
    history = storage.tables.metrics.history(rule.metric, limit=POINTS, slice=rule.slice, since=max(1, since))
    return [point for point in history if of_rule(rule, version, point)]


def tell(storage: Storage, rules: dict[str, Rule], found: dict[str, Judged], now: int) -> None:
    """An alert for each rule that has fired and is bad, as long as it does not recover; none for rules that are no more."""
    for name, one in found.items():
        if one.fires or (one.state.state == "fired" and one.state.bad and one.state.time == now):
            value = one.state.value if one.state.value is not None else 0.0
            raise_alert(
                storage,
                name=PREFIX + name,
                subject=subject_of(rules[name]),
                text=one.text,
                severity="warning",
                value=value,
                now=now,
            )
    standing = {(PREFIX + name, subject_of(rules[name])) for name, one in found.items() if one.state.state == "fired"}
    for alert in storage.tables.alerts.open():
        if alert.name.startswith(PREFIX) and (alert.name, alert.subject) not in standing:
            close_alert(storage, name=alert.name, subject=alert.subject, now=now)


def subject_of(rule: Rule) -> str:
    """What an alert of a rule is about."""
    return " ".join(part for part in (rule.metric, rule.model, "" if rule.slice == "all" else rule.slice) if part)
