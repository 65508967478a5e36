"""The life of an experiment: written, started, stopped. What runs stands in the online store, where every server looks.

The tables are the truth and keep every version; the key of the online store follows them, and is made again from them where
it was lost with its store. What makes an experiment impossible is found before it starts, in one place (``checked``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from tastemaker.config import with_settings
from tastemaker.domain import Experiment
from tastemaker.errors import Conflict, InputError, NotFound, did_you_mean
from tastemaker.experiments.assignment import validate
from tastemaker.models import MODELS
from tastemaker.storage import Storage, keys

_decode = msgspec.json.Decoder(tuple[Experiment, ...]).decode
Settings = Callable[[str, object], None]
"""Raises ``InputError`` for a key and value that no arm may set. None stands for the section ``[slates]``."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*").fullmatch


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


def create(storage: Storage, experiment: Experiment, now: int, settings: Settings | None = None) -> Experiment:
    """Writes a draft: a new experiment, or a new version of one that does not run."""
    before = storage.tables.experiments.get(experiment.name)
    if before is not None and before.state == "running":
        raise Conflict(f"experiment {experiment.name!r} runs: stop it first, and a new version may be made")
    version = 1 if before is None else before.version + (before.state != "draft")
    arms = tuple(replace(arm, serves="") for arm in experiment.arms)
    draft = replace(experiment, arms=arms, version=version, state="draft", made=now, started=None, ended=None, outcome="")
    checked(storage, draft, settings, alone=True)  # what runs now may have ended when it starts
    storage.tables.experiments.put(draft)
    return draft


def start(storage: Storage, name: str, now: int, settings: Settings | None = None) -> Experiment:
    """Lets a draft run. Raises ``Conflict`` where it runs, or has run; ``InputError`` where it cannot."""
    draft = found(storage, name)
    if draft.state != "draft":
        hint = "stop it first" if draft.state == "running" else "create it again, as a new version"
        raise Conflict(f"experiment {name!r} is {draft.state}: {hint}")
    checked(storage, draft, settings)
    arms = tuple(replace(arm, serves=newest(storage, arm.model)) if arm.model in MODELS else arm for arm in draft.arms)
    started = replace(draft, arms=arms, state="running", started=now)
    storage.tables.experiments.put(started)
    publish(storage)
    return started


def ramp(storage: Storage, name: str, coverage: float, settings: Settings | None = None) -> Experiment:
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


def serve(storage: Storage, experiment: Experiment, models: Mapping[str, str]) -> None:
    """Gives arms that follow a kind their newest version: arm -> version. One that has ended meanwhile stays as it is."""
    if models and storage.tables.experiments.serve(experiment.name, experiment.version, models):
        publish(storage)


def publish(storage: Storage) -> None:
    """Tells all servers what runs."""
    storage.kv.put({keys.EXPERIMENTS: msgspec.json.encode(storage.tables.experiments.all(state="running"))})


def restore(storage: Storage) -> None:
    """Writes the key anew, where it was lost with its store, or somebody was interrupted before it was written."""
    known, true = storage.kv.get([keys.EXPERIMENTS])[0], storage.tables.experiments.all(state="running")
    if known != msgspec.json.encode(true) and (known is not None or true):
        publish(storage)


def versions(storage: Storage) -> set[str]:
    """The model versions that arms are answered from, or will be: their artifacts have to stay."""
    waiting = [found for found in storage.tables.experiments.all() if found.state != "stopped"]
    return {arm.version for found in waiting for arm in found.arms if arm.version}


def checked(storage: Storage, experiment: Experiment, settings: Settings | None = None, *, alone: bool = False) -> None:
    """Raises ``InputError`` for an experiment that cannot run; unless it is looked at ``alone``, beside those that do."""
    if not NAME(experiment.name):
        raise InputError("name", experiment.name, "letters, digits, and . _ - behind the first one: it is part of addresses")
    try:
        msgspec.json.decode(msgspec.json.encode(experiment), type=Experiment)  # what is written must be readable
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`")
        raise InputError(
            field or "experiment", getattr(experiment, field, experiment.name), what[:1].lower() + what[1:]
        ) from None
    others = [] if alone else storage.tables.experiments.all(state="running")
    validate([*(other for other in others if other.name != experiment.name), experiment])
    for place, arm in enumerate(experiment.arms):
        if settings is None:
            with_settings(storage.config.slates, arm.settings)
        else:
            for key, value in arm.settings.items():
                settings(key, value)
        if arm.model in MODELS:
            newest(storage, arm.model)
        elif arm.model:
            see_model(storage, f"arms[{place}].model", arm.model)
    if experiment.training == "diverted":
        check_diverted(experiment)
    known = storage.config.experiments.metrics
    for field, names in (("metrics", experiment.metrics), ("guardrails", experiment.guardrails)):
        for name in names:
            if name not in known:
                raise InputError(field, name, f"is not in [experiments.metrics]; {did_you_mean(name, known)}")


def check_diverted(experiment: Experiment) -> None:
    """Raises ``InputError`` unless each arm has a model that can learn from its own units."""
    if experiment.kind == "interleaving":
        raise InputError("training", "diverted", "who is shown both rankings belongs to neither; write shared")
    for place, arm in enumerate(experiment.arms):
        if arm.model not in MODELS:
            raise InputError(f"arms[{place}].model", arm.model, "with diverted training each arm names a kind, like als")


def newest(storage: Storage, kind: str) -> str:
    """The newest version of a kind that was trained for everybody. Raises ``InputError`` where there is none."""
    known = sorted(storage.tables.models.all(), key=lambda card: (card.made, card.version), reverse=True)
    for card in known:
        if card.kind == kind and "arm" not in card.data and storage.models.has(card.artifact):
            return card.version
    raise InputError("model", kind, "no version of this kind was trained yet: put it into train.models and run daily")


def see_model(storage: Storage, field: str, version: str) -> None:
    """Raises ``InputError`` for a version that could not be served."""
    card = storage.tables.models.get(version)
    if card is None:
        known: Sequence[str] = [card.version for card in storage.tables.models.all()]
        raise InputError(field, version, f"there is no such model version; {did_you_mean(version, known)}")
    if not storage.models.has(card.artifact):
        raise InputError(field, version, "its artifact is gone: train again, or choose another version")
