"""What is asked of the drawn slates: which of them, what counts as their reward, and which policies they are weighed for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from tastemaker.config import Config, Metric, Rewards, with_settings
from tastemaker.domain import Scalar
from tastemaker.errors import Conflict, InputError, NotFound, did_you_mean
from tastemaker.features.rewards import HOUR, wait
from tastemaker.models.artifact import load_model
from tastemaker.registry import live
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.sources import Shelf
from tastemaker.storage import Storage

LIVE = "live"
REWARD = "reward"
LATEST = 253_402_300_799_999  # of all times that an event may have


@dataclass(frozen=True)
class Question:
    """``models``: versions, or "live". ``settings``: keys of [slates] that the policies have in place of the configuration's.

    ``since`` and ``until`` (epoch ms; the latter does not belong to it) are the time of the answers. What comes of an answer
    counts for ``within_hours``, and only of its first ``slots``; 0: of all.
    """

    models: tuple[str, ...] = (LIVE,)
    metric: str = "ctr"
    settings: dict[str, Scalar] = field(default_factory=dict)
    since: int = 0
    until: int = LATEST
    surface: str = ""
    within_hours: float = 24.0
    slots: int = 0

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("model", "none", f'name at least one version, or "{LIVE}"')
        if len(set(self.models)) < len(self.models):
            raise InputError("model", " ".join(self.models), "name each once")
        if not 0 < self.within_hours <= 8760:
            raise InputError("within", self.within_hours, "give the hours, above 0, in which what comes of an answer counts")
        if not self.slots >= 0:
            raise InputError("slots", self.slots, "give how many places of an answer count, from the first on, or 0 for all")
        if self.since >= self.until:
            raise InputError("since", self.since, f"must be before the end, {self.until}")

    @property
    def within(self) -> int:
        """In milliseconds."""
        return round(self.within_hours * HOUR)


def metric_of(config: Config, name: str) -> Metric:
    """What counts as an answer's reward. A metric is summed for each answer, whatever experiments divide it by."""
    known = {REWARD: Metric("reward")} | config.experiments.metrics
    if name not in known:
        raise InputError("metric", name, f"[experiments.metrics] has none; {did_you_mean(name, known)}")
    if known[name].of == "users":
        raise InputError("metric", name, "counts users; an answer has one: take a metric of interactions, value or reward")
    return known[name]


def longest_wait(metric: Metric, rewards: Rewards) -> int:
    """Milliseconds until all is known of an interaction that counts; how many there are is known at once."""
    if metric.of == "interactions":
        return 0
    return max((wait(rule) for kind, rule in rewards.kinds.items() if not metric.kinds or kind in metric.kinds), default=0)


@dataclass(frozen=True)
class Other:
    """A policy that is asked about."""

    name: str  # as it was asked for
    version: str
    shelf: Shelf


def others(storage: Storage, config: Config, question: Question) -> list[Other]:
    """The policies of a question, their models loaded. Raises ``NotFound`` or ``Conflict`` for a model that is not there."""
    items, shown = storage.tables.items, with_settings(config.slates, question.settings)
    versions = [version_of(storage, name) for name in question.models]
    if len(set(versions)) < len(versions):
        raise InputError("model", " ".join(question.models), f'name each once: "{LIVE}" is {version_of(storage, LIVE)}')
    catalogue = Catalogue.of(items.all(), items.stamp(), items.deleted())
    return [
        Other(name, version, shelf_of(storage, config, version, Shelf(catalogue, rules=shown)))
        for name, version in zip(question.models, versions, strict=True)
    ]


def version_of(storage: Storage, name: str) -> str:
    if name != LIVE:
        return name
    found = live.read(storage.kv)
    if found is None:
        raise NotFound("nothing is live: run `tastemaker run daily` first, or name a version")
    return found.version


def shelf_of(storage: Storage, config: Config, version: str, shelf: Shelf) -> Shelf:
    """A shelf with the model of a version."""
    cards = storage.tables.models
    card = cards.get(version)
    if card is None:
        raise NotFound(f"model version {version!r}: no such version; {did_you_mean(version, [c.version for c in cards.all()])}")
    if not storage.models.has(card.artifact):
        raise Conflict(f"model version {version!r}: its artifact {card.artifact!r} is gone; choose another version")
    model = load_model(storage.models.folder(card.artifact))
    return Shelf(shelf.catalogue, model, half_life_days=config.rewards.half_life_days, rules=shelf.rules)


def settings_of(texts: Sequence[str]) -> dict[str, Scalar]:
    """KEY=VALUE, as on the command line. Whether there is such a key is found out where it is used.

    >>> settings_of(["diversity=0.3", "cap=2"])
    {'diversity': 0.3, 'cap': 2}
    """
    found: dict[str, Scalar] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not (key and sign and value):
            raise InputError("set", text, "write it as KEY=VALUE, as diversity=0.3")
        try:
            found[key] = msgspec.json.decode(value, type=float | int | bool)
        except msgspec.DecodeError:
            found[key] = value
    return found
