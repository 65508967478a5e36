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
from tastemaker.storage.log.leases import BEAT, LOOK, MARGIN, TERM, View, clock
from tastemaker.storage.log.postgresql_tables import Statement, transact
from tastemaker.storage.log.subscription import SAME, Change

SETTLE = 1.0  # seconds that a new member waits for its share; longer only for members that are silent
STEP = 0.05

UNTIL = "clock_timestamp() + make_interval(secs => %s)"
PRUNE = "DELETE FROM tastemaker_log_members WHERE grp = %s AND expires < clock_timestamp() - interval '1 minute'"
PREPARE = """INSERT INTO tastemaker_log_leases SELECT %s, partition, NULL, clock_timestamp() FROM tastemaker_log_ends
    ON CONFLICT DO NOTHING"""
LIVE = f"""INSERT INTO tastemaker_log_members VALUES (%s, %s, {UNTIL})
    ON CONFLICT (grp, member) DO UPDATE SET expires = excluded.expires"""
RENEW = f"UPDATE tastemaker_log_leases SET expires = {UNTIL} WHERE grp = %s AND member = %s"
SEE = """SELECT NULL, member, 0 FROM tastemaker_log_members WHERE grp = %s AND expires > clock_timestamp()
    UNION ALL
    SELECT partition, member, extract(epoch FROM expires - clock_timestamp())::float8
    FROM tastemaker_log_leases WHERE grp = %s"""
TAKE = f"""UPDATE tastemaker_log_leases SET member = %s, expires = {UNTIL} WHERE grp = %s AND partition IN (
    SELECT partition FROM tastemaker_log_leases WHERE grp = %s AND partition = ANY(%s)
    AND (member IS NULL OR expires <= clock_timestamp()) ORDER BY partition FOR UPDATE SKIP LOCKED) RETURNING partition"""
GIVE_UP = """UPDATE tastemaker_log_leases SET member = NULL, expires = clock_timestamp()
    WHERE grp = %s AND member = %s AND partition = ANY(%s)"""
LEAVE = "DELETE FROM tastemaker_log_members WHERE grp = %s AND member = %s"
COMMITTED = "SELECT partition, next FROM tastemaker_log_commits WHERE grp = %s"
COMMIT_MINE = """WITH mine AS MATERIALIZED (SELECT partition FROM tastemaker_log_leases
        WHERE grp = %s AND member = %s AND partition = ANY(%s) ORDER BY partition FOR UPDATE)
    INSERT INTO tastemaker_log_commits
    SELECT %s, done.partition, done.next FROM unnest(%s::integer[], %s::bigint[]) AS done (partition, next)
    WHERE (SELECT count(*) FROM mine) = %s ORDER BY done.partition
    ON CONFLICT (grp, partition) DO UPDATE SET next = greatest(tastemaker_log_commits.next, excluded.next)"""


class Leases:
    """A ``Membership`` of one who shares the partitions with others. One thread uses it."""

    def __init__(self, reads: Connections, writes: Connections, group: str, leaving: Leaving | None) -> None:
        self._reads, self._writes, self._group, self._leaving = reads, writes, group, leaving
        self.member = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._held: set[int] = set()
        self._view = View(frozenset(), {})
        self._until = self._beat_due = self._look_due = 0.0
        self._closed = False

    def join(self) -> dict[int, int]:
        """Registers, and takes its share; what others hold beyond theirs is waited for, but not for ever."""
        places: dict[int, int] = {}
        self._write((PRUNE, (self._group,)), (PREPARE, (self._group,)))
        try:
            soon, late = clock() + SETTLE, clock() + TERM + SETTLE
            while True:
                self._look_due = 0.0
                change = self.tend()
                places = {p: offset for p, offset in places.items() if p not in change.gone} | dict(change.gained)
                now = clock()
                if self._settled() or now > late or (now > soon and not self._view.waits_for_silent(self.member)):
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
        self._look_due = clock() + LOOK
        if clock() >= self._beat_due:
            self._beat()
        view = self._view = self._see()
        mine = view.held(self.member)
        if lost := frozenset(self._held - mine):
            self._held -= lost
            return Change(gone=lost, lost=True)
        share = view.share(self.member)
        if surplus := sorted(self._held)[share:]:
            return self._hand_over(surplus)
        gained = mine - self._held  # taken once, but the answer did not reach us
        if (free := view.free()) and len(mine) < share:
            gained |= self._take(free[: share - len(mine)])
        return self._begin(gained) if gained else SAME

    def _beat(self) -> None:
        """Renews what we hold. Our own clock starts before the server's, so it ends before."""
        sent = clock()
        self._write((LIVE, (self._group, self.member, TERM)), (RENEW, (TERM, self._group, self.member)))
        self._until, self._beat_due = sent + TERM - MARGIN, sent + BEAT

    def _see(self) -> View:
        rows = self._reads.call(lambda connection: connection.execute(SEE, (self._group, self._group)).fetchall())
        members = frozenset(member for partition, member, _ in rows if partition is None)
        return View(members, {partition: (member, left) for partition, member, left in rows if partition is not None})

    def _take(self, partitions: list[int]) -> set[int]:
        [taken] = self._write((TAKE, (self.member, TERM, self._group, self._group, partitions)))
        return {partition for (partition,) in taken.fetchall()}

    def _begin(self, partitions: Iterable[int]) -> Change:
        """Goes on where the group is. Read after the lease was taken: its last holder can commit no more."""
        rows = self._reads.call(lambda connection: connection.execute(COMMITTED, (self._group,)).fetchall())
        known = dict(rows)
        places = {partition: known.get(partition, 0) for partition in partitions}
        self._held |= places.keys()
        return Change(gained=places)

    def _hand_over(self, partitions: list[int]) -> Change:
        self._beat()  # the caller may take its time to finish
        if self._leaving is not None:
            self._leaving(partitions)
        self._write((GIVE_UP, (self._group, self.member, partitions)))
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
        [kept] = self._write((COMMIT_MINE, (*fence, self._group, partitions, offsets, len(partitions))))
        if kept.rowcount != len(partitions):
            raise Conflict(
                f"group {self._group}: partitions {partitions} are not this member's alone any more, it was silent for more than "
                f"{TERM:g} s: what it read of them and did not commit comes again where they are now"
            )

    def close(self) -> None:
        """Gives everything back at once. When the server is away, the leases end by themselves."""
        if not self._closed:
            self._closed = True
            self._write((GIVE_UP, (self._group, self.member, sorted(self._held))), (LEAVE, (self._group, self.member)))

    def _write(self, *statements: Statement) -> list[Cursor[tuple[Any, ...]]]:
        """One transaction. All that is written here is harmless to write twice."""
        return self._writes.call(lambda connection: transact(connection, *statements))
