"""The models that arms of experiments ask for, loaded beside the live one.

They are loaded by the thread that looks after this process's state, never by a request. One that cannot be loaded is tried
again from time to time; what is wrong with it is kept, to be told.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from tastemaker.domain import Experiment
from tastemaker.errors import NotFound
from tastemaker.models import Recommender
from tastemaker.models.artifact import load_model
from tastemaker.registry.live import Bundle
from tastemaker.storage import Storage

AGAIN = 5.0  # seconds until a model that could not be loaded is tried again


class ArmModels:
    """Models by version. One thread uses it."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.loaded: Mapping[str, Recommender] = {}
        self.failures: dict[str, str] = {}  # version -> what is wrong
        self._again: dict[str, float] = {}

    def of(self, experiments: Iterable[Experiment], bundle: Bundle) -> Mapping[str, Recommender]:
        """What the arms need beyond the live version: the same mapping as before, unless something has changed."""
        wanted = {arm.version for found in experiments for arm in found.arms if arm.version} - {bundle.version}
        kept = {version: model for version, model in self.loaded.items() if version in wanted}
        self.failures = {version: why for version, why in self.failures.items() if version in wanted}
        for version in sorted(wanted - kept.keys()):
            if time.monotonic() >= self._again.get(version, 0.0):
                self._load(version, kept)
        if kept.keys() != self.loaded.keys():
            self.loaded = kept
        return self.loaded

    def _load(self, version: str, kept: dict[str, Recommender]) -> None:
        try:
            card = self.storage.tables.models.get(version)
            if card is None:
                raise NotFound(f"model version {version!r} does not exist")
            kept[version] = load_model(self.storage.models.folder(card.artifact))
        except Exception as error:  # whatever is wrong with one arm's model, all others are served
            self.failures[version] = f"{type(error).__name__}: {error}"
            self._again[version] = time.monotonic() + AGAIN
        else:
            self.failures.pop(version, None)
            self._again.pop(version, None)
