"""The life of an experiment: written, started, stopped. What runs stands in the online store, where every server looks.

The tables are the truth and keep every version; the key of the online store follows them, and is made again from them where
it was lost with its store. What makes an experiment impossible is found before it starts, in one place (``checked``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from tastemaker.domain import Experiment
from tastemaker.errors import Conflict, InputError, NotFound, did_you_mean
from tastemaker.experiments.assignment import validate
from tastemaker.storage import Storage, keys

_decode = msgspec.json.Decoder(tuple[Experiment, ...]).decode
Settings = Callable[[str, object], None]
"""Raises ``InputError`` for a key and value that no arm may set."""


def running(pointer: bytes | None) -> tuple[Experiment, ...]:
    """The experiments that the online store's value names."""
    return _decode(pointer) if pointer else ()


def found(storage: Storage, name: str) -> Experiment:
    """The newest version of an experiment. Raises ``NotFound``."""
    experiment = storage.tables.experiments.get(name)
    if experiment is None:
        known = [known.name for known in storage.tables.experiments.all()]
        raise NotFound(f"experiment {name!r}: there is none of that name; {did_you_mean(name, known)}")
    return experiment


def create(storage: Storage, experiment: Experiment, now: int, settings: Settings) -> Experiment:
    """Writes a draft: a new experiment, or a new version of one that does not run."""
    before = storage.tables.experiments.get(experiment.name)
    if before is not None and before.state == "running":
        raise Conflict(f"experiment {experiment.name!r} runs: stop it first, and a new version may be made")
    version = 1 if before is None else before.version + (before.state != "draft")
    draft = replace(experiment, version=version, state="draft", made=now, started=None, ended=None, outcome="")
    checked(storage, draft, settings)
    storage.tables.experiments.put(draft)
    return draft


def start(storage: Storage, name: str, now: int, settings: Settings) -> Experiment:
    """Lets a draft run. Raises ``Conflict`` where it runs, or has run; ``InputError`` where it cannot."""
    draft = found(storage, name)
    if draft.state != "draft":
        hint = "stop it first" if draft.state == "running" else "create it again, as a new version"
        raise Conflict(f"experiment {name!r} is {draft.state}: {hint}")
    checked(storage, draft, settings)
    started = replace(draft, state="running", started=now)
    storage.tables.experiments.put(started)
    publish(storage)
    return started


def ramp(storage: Storage, name: str, coverage: float, settings: Settings) -> Experiment:
    """Lets more units take part. Fewer would move units, and is refused unless the experiment is sticky."""
    before = found(storage, name)
    if before.state == "stopped":
        raise Conflict(f"experiment {name!r} is stopped: nobody takes part")
    if coverage < before.coverage and before.state == "running" and not before.sticky:
        raise InputError(
            "coverage", coverage, f"it is {before.coverage:g}, and only grows while the experiment runs: stop it instead"
        )
    after = replace(before, coverage=coverage)
    checked(storage, after, settings)
    storage.tables.experiments.put(after)
    publish(storage)
    return after


def stop(storage: Storage, name: str, now: int, outcome: str = "") -> Experiment:
    """Ends it: from now on everybody gets what everybody gets. ``outcome``: what was decided, in words."""
    experiment = found(storage, name)
    if experiment.state != "running":
        raise Conflict(f"experiment {name!r} is {experiment.state}: only one that runs can be stopped")
    ended = replace(experiment, state="stopped", ended=now, outcome=outcome)
    storage.tables.experiments.put(ended)
    publish(storage)
    return ended


def publish(storage: Storage) -> None:
    """Tells all servers what runs."""
    storage.kv.put({keys.EXPERIMENTS: msgspec.json.encode(storage.tables.experiments.all(state="running"))})


def restore(storage: Storage) -> None:
    """Writes the key anew, where it was lost with its store."""
    if storage.kv.get([keys.EXPERIMENTS])[0] is None and storage.tables.experiments.all(state="running"):
        publish(storage)


def checked(storage: Storage, experiment: Experiment, settings: Settings) -> None:
    """Raises ``InputError`` for an experiment that cannot run beside those that do."""
    others = [other for other in storage.tables.experiments.all(state="running") if other.name != experiment.name]
    validate([*others, experiment])
    for place, arm in enumerate(experiment.arms):
        for key, value in arm.settings.items():
            settings(key, value)
        if arm.model:
            see_model(storage, f"arms[{place}].model", arm.model)


def see_model(storage: Storage, field: str, version: str) -> None:
    """Raises ``InputError`` for a version that could not be served."""
    card = storage.tables.models.get(version)
    if card is None:
        known: Sequence[str] = [card.version for card in storage.tables.models.all()]
        raise InputError(field, version, f"there is no such model version; {did_you_mean(version, known)}")
    if not storage.models.has(card.artifact):
        raise InputError(field, version, "its artifact is gone: train again, or choose another version")
