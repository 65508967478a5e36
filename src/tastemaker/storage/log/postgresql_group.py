"""Members of a consumer group on PostgreSQL: leases on partitions, kept in a table and judged by the server's clock.

A member renews its leases, and looks at the others, while it polls. Each change is a condition on a row that the server
checks under the row's lock: a lease is taken only when it is free or over, renewed and given up only by its holder, and a
commit counts only while all its partitions are still the member's. So nothing goes wrong when a member sleeps at the worst
moment; it finds out that it was too late. The rules of sharing are in ``leases.py``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from psycopg import Cursor

from tastemaker.errors import Conflict, StorageError
from tastemaker.storage.kv.postgresql_connections import Connections
from tastemaker.storage.log import Leaving
from tastemaker.storage.log.leases import Terms, View, clock
from tastemaker.storage.log.subscription import SAME, Change

STEP = 0.05  # seconds between two looks of a new member

UNTIL = "clock_timestamp() + make_interval(secs => %s)"
PRUNE = "DELETE FROM tastemaker_log_members WHERE grp = %s AND expires < clock_timestamp() - interval '1 minute'"
PREPARE = """INSERT INTO tastemaker_log_leases SELECT %s, partition, NULL, clock_timestamp() FROM tastemaker_log_ends
    ORDER BY partition ON CONFLICT DO NOTHING"""
RENEW = f"""WITH live AS (INSERT INTO tastemaker_log_members VALUES (%s, %s, {UNTIL})
        ON CONFLICT (grp, member) DO UPDATE SET expires = excluded.expires)
    UPDATE tastemaker_log_leases SET expires = {UNTIL} WHERE grp = %s AND member = %s RETURNING partition"""
SEE = """SELECT NULL, member, 0 FROM tastemaker_log_members WHERE grp = %s AND expires > clock_timestamp()
    UNION ALL
    SELECT partition, member, extract(epoch FROM expires - clock_timestamp())::float8
    FROM tastemaker_log_leases WHERE grp = %s"""
TAKE = f"""UPDATE tastemaker_log_leases SET member = %s, expires = {UNTIL} WHERE grp = %s AND partition IN (
    SELECT partition FROM tastemaker_log_leases WHERE grp = %s AND partition = ANY(%s)
    AND (member IS NULL OR expires <= clock_timestamp()) ORDER BY partition FOR UPDATE SKIP LOCKED) RETURNING partition"""
RELEASE = "UPDATE tastemaker_log_leases SET member = NULL, expires = clock_timestamp() WHERE grp = %s AND member = %s"
GIVE_UP = f"{RELEASE} AND partition = ANY(%s)"
LEAVE = f"WITH former AS (DELETE FROM tastemaker_log_members WHERE grp = %s AND member = %s) {RELEASE}"
COMMITTED = "SELECT partition, next FROM tastemaker_log_commits WHERE grp = %s"
COMMIT_MINE = """WITH mine AS MATERIALIZED (SELECT partition FROM tastemaker_log_leases
        WHERE grp = %s AND member = %s AND partition = ANY(%s) ORDER BY partition FOR UPDATE)
    INSERT INTO tastemaker_log_commits
    SELECT %s, done.partition, done.next FROM unnest(%s::integer[], %s::bigint[]) AS done (partition, next)
    WHERE (SELECT count(*) FROM mine) = %s ORDER BY done.partition
    ON CONFLICT (grp, partition) DO UPDATE SET next = greatest(tastemaker_log_commits.next, excluded.next)"""


class Leases:
    """A ``Membership`` of one who shares the partitions with others. One thread uses it."""

    def __init__(self, reads: Connections, writes: Connections, group: str, leaving: Leaving | None, terms: Terms) -> None:
        self._reads, self._writes, self._group, self._leaving, self._terms = reads, writes, group, leaving, terms
        self.member = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._held: set[int] = set()
        self._view = View(frozenset(), {})
        self._until = self._beat_due = self._look_due = 0.0
        self._joined = self._closed = False

    def join(self) -> dict[int, int]:
        """Registers, and takes its share; what others hold beyond theirs is waited for, but not for ever."""
        places: dict[int, int] = {}
        self._write(PRUNE, self._group)
        self._write(PREPARE, self._group)
        try:
            soon = clock() + self._terms.settle
            late = soon + self._terms.lease
            while True:
                self._look_due = 0.0
                change = self.tend()
                places = {p: offset for p, offset in places.items() if p not in change.gone} | dict(change.gained)
                now = clock()
                if self._settled() or now > late or (now > soon and not self._view.silent(self.member, self._terms)):
                    self._joined = True
                    return places
                time.sleep(STEP)
        except BaseException:
            with contextlib.suppress(StorageError):  # the first failure is the one to tell; our leases end by themselves
                self.close()
            raise

    def _settled(self) -> bool:
        return len(self._held) >= self._view.share(self.member)

    def tend(self) -> Change:
        """See ``Membership``. Whoever lost something takes nothing in the same turn: its loss must be seen first."""
        if self._closed:
            raise StorageError(f"group {self._group}: this subscription is closed: subscribe again")
        if clock() < self._look_due:
            return SAME
        self._look_due = clock() + self._terms.look
        if clock() >= self._beat_due and (lost := self._beat()):
            return lost
        view = self._view = self._see()
        mine = view.held(self.member)
        if not self._held <= mine:
            return self._lose(self._held - mine)
        share = view.share(self.member)
        if surplus := sorted(self._held)[share:]:
            return self._hand_over(surplus)
        gained = mine - self._held  # taken once, but the answer did not reach us
        if (free := view.free()) and len(mine) < share:
            gained |= self._take(free[: share - len(mine)])
        return self._begin(gained) if gained else SAME

    def _beat(self) -> Change | None:
        """Renews what we hold; says so if not all of it is ours any more. Our clock starts, so it ends, before the server's."""
        sent, term = clock(), self._terms.lease
        kept = self._write(RENEW, self._group, self.member, term, term, self._group, self.member)
        lost = self._held - {partition for (partition,) in kept.fetchall()}
        self._until, self._beat_due = sent + term - self._terms.margin, sent + self._terms.beat
        return self._lose(lost) if lost else None

    def _lose(self, partitions: set[int]) -> Change:
        self._held = self._held - partitions
        return Change(gone=frozenset(partitions), lost=True)

    def _see(self) -> View:
        rows = self._reads.call(lambda connection: connection.execute(SEE, (self._group, self._group)).fetchall())
        members = frozenset(member for partition, member, _ in rows if partition is None)
        return View(members, {partition: (member, left) for partition, member, left in rows if partition is not None})

    def _take(self, partitions: list[int]) -> set[int]:
        taken = self._write(TAKE, self.member, self._terms.lease, self._group, self._group, partitions)
        return {partition for (partition,) in taken.fetchall()}

    def _begin(self, partitions: Iterable[int]) -> Change:
        """Goes on where the group is. Read after the lease was taken: its last holder can commit no more."""
        rows = self._reads.call(lambda connection: connection.execute(COMMITTED, (self._group,)).fetchall())
        known = dict(rows)
        places = {partition: known.get(partition, 0) for partition in partitions}
        self._held |= places.keys()
        return Change(gained=places)

    def _hand_over(self, partitions: list[int]) -> Change:
        if lost := self._beat():  # renewed, since the caller may take its time to finish
            return lost
        if self._joined and self._leaving is not None:  # before, nobody has seen them
            self._leaving(partitions)
        self._write(GIVE_UP, self._group, self.member, partitions)
        self._held -= set(partitions)
        return Change(gone=frozenset(partitions))

    def pause(self) -> float:
        return max(0.0, self._look_due - clock())

    def holds(self) -> bool:
        return not self._closed and clock() < self._until

    def commit(self, positions: Mapping[int, int]) -> None:
        """Raises ``Conflict``, and moves nothing, when one of the partitions is another's by now."""
        partitions, offsets = list(positions), list(positions.values())
        fence = (self._group, self.member, partitions)
        kept = self._write(COMMIT_MINE, *fence, self._group, partitions, offsets, len(partitions))
        if kept.rowcount != len(partitions):
            raise Conflict(
                f"group {self._group}: partitions {partitions} are not this member's alone any more, it was silent for more than "
                f"{self._terms.lease:g} s: what it read of them and did not commit comes again where they are now"
            )

    def close(self) -> None:
        """Gives everything back at once. When the server is away, the leases end by themselves."""
        if not self._closed:
            self._closed = True
            self._write(LEAVE, self._group, self.member, self._group, self.member)

    def _write(self, statement: str, *parameters: object) -> Cursor[tuple[Any, ...]]:
        """One statement, one transaction. All that is written here is harmless to write twice."""
        return self._writes.call(lambda connection: connection.execute(statement, parameters))
