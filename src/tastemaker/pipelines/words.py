"""What a step has done, in one sentence for people: on a scheduler's page, in a log line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Summary = Mapping[str, Any]


def sentence(step: str, answer: Summary) -> str:
    """An answer of ``do_task`` in words.

    >>> sentence("publish", {"state": "skipped", "reason": "the gate is closed for als-1: floor"})
    'skipped: the gate is closed for als-1: floor'
    """
    state, summary = answer.get("state", "?"), answer.get("summary") or {}
    if state != "done" or not summary:
        return f"{state}: {reason}" if (reason := answer.get("reason") or answer.get("error")) else str(state)
    halt = answer.get("halt")
    if halt and step != "gate":
        return str(halt)
    return SENTENCES.get(step, plain)(summary)


def ingest(summary: Summary) -> str:
    """
    >>> ingest({"rows": {"interactions": 1200, "views": 3}, "versions": {"interactions": 4, "views": 1}})
    '1200 interactions, 3 views taken in; the lake stands at interactions 4, views 1'
    """
    rows = summary.get("rows")
    taken = counted(rows) if isinstance(rows, Mapping) else f"{rows} rows"
    versions = ", ".join(f"{name} {version}" for name, version in summary.get("versions", {}).items())
    return f"{taken or 'nothing new'} taken in; the lake stands at {versions or 'nothing'}"


def features(summary: Summary) -> str:
    """
    >>> features({"rows": {"user_features": 120, "item_features": 80}})
    '120 user_features, 80 item_features'
    """
    return counted(summary.get("rows", {})) or "no events, so no features"


def train(summary: Summary) -> str:
    """
    >>> train({"models": ["als-1"], "data": {"events": 3000, "users": 120, "items": 80}})
    'als-1 from 3000 events of 120 users and 80 items'
    """
    data, left = summary.get("data", {}), summary.get("left_out", {})
    told = f"{', '.join(summary.get('models', [])) or 'no model'} from {data.get('events')} events of {data.get('users')} users"
    told += f" and {data.get('items')} items"
    return told + "".join(f"; {kind} is left out: {why}" for kind, why in left.items())


def experiments(summary: Summary) -> str:
    """
    >>> experiments({"experiments": {"cards": {"units": 900, "verdicts": {"other": ["ship", "ctr 0.1 -> 0.2"]}}}})
    'cards: other ship'
    """
    found = summary.get("experiments", {})
    told = (f"{name}: {arm} {verdict[0]}" for name, one in found.items() for arm, verdict in one["verdicts"].items())
    return ", ".join(told) or "no experiment runs"


def arms(summary: Summary) -> str:
    """
    >>> arms({"arms": {"cards/other": "als-1"}, "left_out": {"mixed/b": "it has no categories"}})
    'cards/other has als-1; mixed/b keeps what it had: it has no categories'
    """
    told = [f"{arm} has {version}" for arm, version in summary.get("arms", {}).items()]
    told += [f"{arm} keeps what it had: {why}" for arm, why in summary.get("left_out", {}).items()]
    return "; ".join(told) or "no arm follows a kind"


def evaluate(summary: Summary) -> str:
    """
    >>> evaluate({"best": "als-1", "metric": "ndcg@10", "values": {"als-1": 0.12345, "popular-1": 0.1}, "users": 118})
    'best is als-1: ndcg@10 0.1235 of 118 users, 2 models judged'
    """
    best, values = summary.get("best"), summary.get("values", {})
    if best is None:
        return plain(summary)
    value = number(values.get(best))
    return f"best is {best}: {summary.get('metric')} {value} of {summary.get('users')} users, {len(values)} models judged"


def gate(summary: Summary) -> str:
    """
    >>> gate({"version": "als-1", "passed": False, "failed": ["floor"], "checks": 7, "metric": "ndcg@10",
    ...       "value": [0.123, 0.118, 0.128]})
    'als-1 refused: ndcg@10 0.1230 [0.1180, 0.1280], 6 of 7 checks passed, not floor'
    """
    failed, checks = summary.get("failed", []), summary.get("checks", 0)
    verdict = "passed" if summary.get("passed") else "refused"
    value, low, high = (number(part) for part in summary.get("value", (None, None, None)))
    told = f"{summary.get('version')} {verdict}: {summary.get('metric')} {value} [{low}, {high}], "
    return told + f"{checks - len(failed)} of {checks} checks passed" + (f", not {', '.join(failed)}" if failed else "")


def publish(summary: Summary) -> str:
    """
    >>> publish({"version": "als-1", "users": 120})
    'als-1 is live, with slates for 120 users'
    """
    return f"{summary.get('version')} is live, with slates for {summary.get('users')} users"


def monitor(summary: Summary) -> str:
    """
    >>> monitor({"metrics": {"lag": 0.0, "ctr als-1": 0.25}})
    'lag 0, ctr als-1 0.2500'
    """
    found = {name: value for name, value in summary.get("metrics", {}).items() if value is not None}
    return ", ".join(f"{name} {number(value)}" for name, value in found.items()) or plain(summary)


def check(summary: Summary) -> str:
    """
    >>> check({"retrain": True, "reason": "ctr fell by 20 %", "fired": ["ctr"], "recovered": [], "rules": {"ctr": {}, "lag": {}}})
    '2 rules, fires: ctr; asks for a training: ctr fell by 20 %'
    """
    told = f"{len(summary.get('rules', {}))} rules"
    for what, names in (("fires", summary.get("fired")), ("is well again", summary.get("recovered"))):
        told += f", {what}: {', '.join(names)}" if names else ""
    return told + (f"; asks for a training: {summary.get('reason')}" if summary.get("retrain") else "")


SENTENCES: dict[str, Callable[[Summary], str]] = {
    "ingest": ingest,
    "features": features,
    "train": train,
    "evaluate": evaluate,
    "experiments": experiments,
    "arms": arms,
    "gate": gate,
    "publish": publish,
    "monitor": monitor,
    "check": check,
}


def plain(summary: Summary) -> str:
    """A summary that has no sentence of its own.

    >>> plain({"events": 12, "fallback": "popular-1/model", "nested": {"a": 1}})
    'events 12, fallback popular-1/model'
    """
    told = [f"{name} {number(value)}" for name, value in summary.items() if isinstance(value, int | float | str) and value != ""]
    return ", ".join(told) or "done"


def counted(rows: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in rows.items() if count)


def number(value: Any) -> str:
    """
    >>> number(0.12345), number(3.0), number(None), number("word")
    ('0.1235', '3', '?', 'word')
    """
    if value is None:
        return "?"
    if isinstance(value, float):
        return f"{value:.0f}" if value == round(value) else f"{value:.4f}"
    return str(value)
