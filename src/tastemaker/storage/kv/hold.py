"""Holding the nearline workers while somebody else writes the states: a key that lives for a short time.

Workers look at it with every batch, and again right before they write; they leave their group while it is there, and come back
when it is gone. Whoever holds them keeps renewing it. A holder that dies or is stuck lets them go after ``SECONDS``, and then
must not write any more itself.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType

from tastemaker.config import Patience
from tastemaker.errors import Conflict
from tastemaker.storage import keys
from tastemaker.storage.kv import KeyValue, group_of
from tastemaker.storage.log import EventLog

SECONDS = 30.0
RENEW = 5.0
LATE = SECONDS / 2  # since the last renewal: from then on nothing is written any more


class Hold:
    """The right to write states, inside a ``with`` block. One has it at a time.

    Whoever died while holding is not in the way of himself: he comes again under the same name (``own``).
    """

    def __init__(self, kv: KeyValue, patience: Patience, own: bytes) -> None:
        self.kv, self.patience, self.own = kv, patience, own
        self.renewed = 0.0

    def __enter__(self) -> Hold:
        began = time.monotonic()
        self.kv.add({keys.HOLD: self.own}, ttl=SECONDS)
        if self.kv.get([keys.HOLD])[0] != self.own:
            raise Conflict(f"somebody else rebuilds this online store; wait for the end, at most {SECONDS:g} s after a crash")
        self.kv.put({keys.HOLD: self.own}, ttl=SECONDS)  # the one that is there may be nearly over
        self.renewed = began
        # A write that a worker had begun before it could see the key is over when its own patience is.
        time.sleep((self.patience.connect_ms + self.patience.timeout_ms) / 1000)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None or self.kv.get([keys.HOLD])[0] == self.own:
            self.kv.delete([keys.HOLD])

    def put(self, items: Mapping[str, bytes]) -> None:
        """Writes as the one who holds."""
        self.renew()
        if items:
            self.kv.put(items)

    def delete(self, names: Sequence[str]) -> None:
        self.renew()
        if names:
            self.kv.delete(names)

    def renew(self) -> None:
        """Keeps the workers held. Raises ``Conflict`` when that may be too late."""
        now = time.monotonic()
        if now - self.renewed > LATE:
            raise Conflict("rebuilding was stuck for so long that workers may have gone on: run it again")
        if now - self.renewed > RENEW:
            self.kv.put({keys.HOLD: self.own}, ttl=SECONDS)
            self.renewed = now

    def release(self, log: EventLog, ends: Sequence[int], items: Mapping[str, bytes]) -> None:
        """Gives the store a new name, whose group begins at ``ends``, and writes what belongs to it."""
        name = uuid.uuid4().hex[:12].encode()
        log.commit(group_of(name), dict(enumerate(ends)))
        self.put({keys.STORE: name, **items})


def held(value: bytes | None) -> None:
    """Raises ``Conflict`` for a worker that finds the key."""
    if value is not None:
        raise Conflict("the online store is being rebuilt: waiting until that is done")
