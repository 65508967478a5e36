"""What is done with records, whoever brings them: tables, states, slates, counters.

The embedded worker and the tasks of Spark share this. They differ in how records come to them, in how they know that the
partitions are theirs, and in when they write the counters; all else is here, so that both leave the same stores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import Erase, Interaction, ItemChange, Record, UserChange
from tastemaker.errors import Conflict, StorageError
from tastemaker.registry.live import Bundle, load
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.compose import rehearse
from tastemaker.slates.sources import Shelf
from tastemaker.storage import Storage, keys
from tastemaker.storage.kv import group_of
from tastemaker.storage.kv.hold import held
from tastemaker.streaming.counters import Counters
from tastemaker.streaming.poison import apart
from tastemaker.streaming.update import Applied, update

OLD = 3600.0  # seconds from which on an event says nothing of how fresh states are: it was imported
Guard = Callable[[], None]
"""Raises ``Conflict`` where what was made must not be written any more."""


class Applier:
    """Applies records to the stores as the consumer ``group`` that fills the online store."""

    def __init__(self, storage: Storage, config: Config) -> None:
        self.storage, self.config = storage, config
        self.group = ""
        self.counters = Counters(1, config.streaming.trending_hours)
        self.bundle = Bundle()
        self.catalogue = Catalogue()
        self.buried = 0  # records that were set aside
        self.stamps = 0  # changes of the catalogue

    def join(self, group: str) -> None:
        """Begins to work for a group: models are loaded and kernels compiled before the first record waits for them."""
        self.group = group
        self.counters = Counters(self.storage.log.partitions, self.config.streaming.trending_hours)
        self.counters.recall(self.storage.kv)
        self.look_around()
        rehearse(self.shelf())

    def apply(self, records: Sequence[Record], waiting: int, sure: Guard) -> Applied:
        """Applies records of partitions whose counters are ours. ``waiting``: how many more there are behind them."""
        self.change_tables(records)
        self.look_around()
        shelf = self.shelf()
        calm = waiting <= self.config.streaming.refresh_lag

        def work(part: Sequence[Record], refresh: bool) -> Applied:
            version, kv = self.bundle.version, self.storage.kv
            return update(part, kv, self.config, shelf, version, refresh=refresh, guard=lambda: self.ours(sure))

        def some(part: Sequence[Record]) -> Applied:
            """A model that fails costs slates, which requests then compose for themselves; only a state that fails is poison."""
            try:
                return work(part, calm)
            except (StorageError, Conflict):
                raise
            except Exception as error:
                if not calm:
                    raise
                telemetry.log.error("slates_failed", error=repr(error), exc_info=True)
                return work(part, False)

        done = apart(records, some, self.bury)
        self.counters.add(records, self.config.rewards)
        return done

    def bury(self, record: Record, error: Exception) -> None:
        self.storage.tables.dead_letters.put(self.group, record, error)
        self.buried += 1

    def shelf(self) -> Shelf:
        """What slates are made of now."""
        bundle = self.bundle
        serving, half_life = self.config.serving, self.config.rewards.half_life_days
        return Shelf(
            self.catalogue, bundle.model, bundle.fallback, self.counters.best, serving.because, half_life, self.config.slates
        )

    def change_tables(self, records: Sequence[Record]) -> None:
        """Catalogue and profiles follow the log; a change applied twice, or before an older one, does no harm."""
        if items := [record.event for record in records if isinstance(record.event, ItemChange)]:
            self.storage.tables.items.put(items)
            self.stamp()
        users: list[UserChange] = []
        for record in records:
            if isinstance(record.event, UserChange):
                users.append(record.event)
            elif isinstance(record.event, Erase):  # a change read before the erasure must not bring the profile back
                users = [change for change in users if change.user != record.event.user]
                self.storage.tables.users.delete(record.event.user)
        if users:
            self.storage.tables.users.put(users)

    def stamp(self) -> None:
        """Tells all readers that the catalogue changed."""
        self.stamps += 1
        self.storage.kv.put({keys.CATALOG: str(self.storage.tables.items.stamp()).encode()})

    def look_around(self) -> None:
        """Takes over a new live version or a changed catalogue, and notices an online store that was emptied."""
        pointer, stamp, name, hold = self.storage.kv.get([keys.LIVE, keys.CATALOG, keys.STORE, keys.HOLD])
        self.check(name, hold)
        if pointer != self.bundle.pointer:
            self.bundle = load(self.storage.models, pointer)
        if int(stamp or 0) != self.catalogue.stamp or not self.catalogue.items:
            fresh = self.storage.tables.items.stamp()
            if fresh != self.catalogue.stamp:
                self.catalogue = Catalogue.of(self.storage.tables.items.all(), fresh, self.storage.tables.items.deleted())

    def check(self, name: bytes | None, hold: bytes | None) -> None:
        """Raises ``Conflict`` where the online store is another one by now, or is somebody else's to write."""
        held(hold)
        if group_of(name) != self.group:
            raise Conflict(
                f"the online store is not the one that {self.group} fills: it was emptied, rebuilt or replaced; going on with it"
            )

    def ours(self, sure: Guard) -> None:
        """Raises ``Conflict`` where what was made must not be written. Asked right before it is."""
        sure()
        self.check(*self.storage.kv.get([keys.STORE, keys.HOLD]))


def ages(records: Sequence[Record], now: float) -> list[float]:
    """Seconds from interactions to ``now``, of those that came just now.

    >>> ages([Record(0, 0, Interaction("e", 1_000, "u", "i", "click"))], 2.5)
    [1.5]
    """
    found = (now - record.event.time / 1000 for record in records if isinstance(record.event, Interaction))
    return [age for age in found if 0 <= age < OLD]
