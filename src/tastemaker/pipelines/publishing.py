"""Everybody's slates: composed block by block and written under their version's keys.

A ``Desk`` is what composing needs, wherever it is done: this process takes the blocks one after the other, and Spark's
executors have a desk each (``spark/publish.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tastemaker.config import Config
from tastemaker.domain import History, Slate
from tastemaker.models.artifact import load_model
from tastemaker.models.interactions import Histories, Interactions
from tastemaker.pipelines import engines
from tastemaker.pipelines.pipeline import Progress, Window, summary_of
from tastemaker.pipelines.training import training_set
from tastemaker.slates.batch import compose_block
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.sources import Shelf
from tastemaker.slates.stored import store
from tastemaker.storage import Storage, keys
from tastemaker.storage.artifacts import Artifacts
from tastemaker.storage.log import partition_of


@dataclass(frozen=True)
class Issue:
    """What is published: a version, how far of the log it knows, and whose slates are not to be written."""

    version: str
    artifact: str
    fallback: str
    made: int
    ends: Sequence[int]  # of the log's partitions
    erased: frozenset[str]


@dataclass(frozen=True)
class Desk:
    """Where slates are composed: the models are open, the catalogue is at hand."""

    issue: Issue
    shelf: Shelf
    config: Config

    @classmethod
    def of(cls, issue: Issue, models: Artifacts, catalogue: Catalogue, config: Config) -> Desk:
        model, standby = (load_model(models.folder(artifact)) for artifact in (issue.artifact, issue.fallback))
        # Trending would be stale when it is shown; histories come with their age counted.
        return cls(issue, Shelf(catalogue, model, standby, because=config.serving.because, rules=config.slates), config)

    def slates(self, users: Sequence[str], histories: Sequence[History]) -> dict[str, bytes]:
        """What is to be written for these users: two keys each, but none for those who were erased."""
        issue, serving = self.issue, self.config.serving
        writes: dict[str, bytes] = {}
        for user, composed in zip(users, compose_block(self.shelf, histories, self.config.publish.slate), strict=True):
            if user not in issue.erased:
                offset = issue.ends[partition_of(user, len(issue.ends))] - 1
                slate = Slate(user, issue.version, issue.made, offset, composed.items)
                front, whole = store(slate, composed.rung, self.shelf.catalogue, serving.k, self.config.rewards.version)
                writes[keys.slate(issue.version, user)], writes[keys.whole(issue.version, user)] = front, whole
        return writes


def write_slates(
    storage: Storage, config: Config, window: Window, progress: Progress, version: str, artifact: str, fallback: str
) -> int:
    """Composes and stores everybody's slate; returns for how many users."""
    issue = Issue(
        version, artifact, fallback, window.end, summary_of(storage, window, "ingest")["ends"], frozenset(erased_users(storage))
    )
    items = storage.tables.items
    catalogue = Catalogue.of(items.all(), items.stamp(), items.deleted())
    if (there := engines.elsewhere(config, "publish")) is not None:
        users: int = there(storage, config, window, progress, issue, catalogue)
        return users
    return write_here(storage, config, window, progress, Desk.of(issue, storage.models, catalogue, config))


def write_here(storage: Storage, config: Config, window: Window, progress: Progress, desk: Desk) -> int:
    """All blocks, one after the other."""
    versions = summary_of(storage, window, "ingest")["versions"]
    data = training_set(storage, config, versions, learning=False)  # the newest histories, also behind the window's end
    for start in range(0, len(data.users), config.publish.block):
        rows = np.arange(start, min(start + config.publish.block, len(data.users)))
        names = [data.users[row] for row in rows]
        storage.kv.fill(desk.slates(names, names_of(data, data.histories.take(rows))))
        progress(int(rows[-1]) + 1, len(data.users), "slates")
    return len(data.users)


def names_of(data: Interactions, histories: Histories) -> list[History]:
    """Histories in outside ids."""
    ids = data.items.ids
    return [
        History(
            tuple(ids[item] for item in histories.items[a:b].tolist()),
            tuple(histories.weights[a:b].tolist()),
            tuple(histories.times[a:b].tolist()),
        )
        for a, b in zip(histories.indptr[:-1].tolist(), histories.indptr[1:].tolist(), strict=True)
    ]


def erased_users(storage: Storage) -> set[str]:
    """Users whose erasure the lake knows of: the pinned version may still hold their events."""
    if storage.lake.version("erasures") < 0:
        return set()
    return set(storage.lake.read("erasures", columns=["user"])["user"].to_pylist())
