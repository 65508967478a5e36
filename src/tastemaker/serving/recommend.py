"""What happens in a request for recommendations: read, copy or compose, log the decision.

One read of the online store brings the state and the stored slate. When the slate knows of every applied event, its
finished bytes are copied into the answer. When it does not, or when the request asks for something else (a category,
exclusions), the answer is composed from the history beside the event loop, within the deadline. Whatever goes wrong costs
a rung of the ladder, never an error: the stored slate, then the list of popular items that this process holds.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import Decision, History, Scored, Slot, UserState
from tastemaker.features import states
from tastemaker.serving.current import Current, Now
from tastemaker.slates.compose import RUNGS, Composed, compose, shortage
from tastemaker.slates.sources import Taste, Wish
from tastemaker.slates.stored import Stored, body_of, decode_stored, items_of, slots_of
from tastemaker.storage import Storage, keys

POLICY = "compose/1"
ANONYMOUS = "anonymous"
_string = msgspec.json.Encoder().encode
_rungs = {rung: telemetry.RUNGS.labels(rung) for rung in RUNGS}


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request wants."""

    user: str
    k: int
    surface: str = "home"
    category: str | None = None
    exclude: tuple[str, ...] = ()
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer before it has its decision id: the finished items and what is logged of them."""

    rung: str
    version: str
    made: int
    body: bytes
    slots: Any  # MessagePack bytes of the slots, or the slots
    offset: int
    note: str = ""
    eligible: int = -1


class Recommending:
    """Answers requests. One per process."""

    def __init__(self, storage: Storage, config: Config, current: Current) -> None:
        self.storage, self.config, self.current = storage, config, current
        self.pool = ThreadPoolExecutor(2, thread_name_prefix="tastemaker-compose")
        self.deadline = config.serving.deadline_ms / 1000
        self._prefix = os.urandom(6).hex()
        self._count = itertools.count()
        self._lost = 0

    async def answer(self, ask: Ask) -> bytes:
        """The JSON of an answer; its decision is in the log's hands."""
        began = time.perf_counter()
        now = self.current.now
        packed, stored = self._read(ask.user, now)
        answer = self._copy(ask, now, packed, stored)
        if answer is None:
            answer = await self._compose_in_time(ask, now, packed, stored)
        return self.finish(ask, answer, began)

    async def answer_session(self, ask: Ask, history: History, preferences: dict[str, float]) -> bytes:
        """The same for a stranger whose history comes with the request."""
        began = time.perf_counter()
        taste = Taste(history, preferences)
        answer = await self._in_time(self.current.now, ask, taste, None)
        return self.finish(ask, answer, began)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, user: str, now: Now) -> tuple[bytes | None, Stored | None]:
        try:
            packed, slate = self.storage.kv.get([keys.state(user), keys.slate(now.bundle.version, user)])
            return packed, decode_stored(slate) if slate is not None else None
        except Exception as error:
            telemetry.log.error("online_store_failed", error=str(error))
            return None, None

    def _copy(self, ask: Ask, now: Now, packed: bytes | None, stored: Stored | None) -> Answer | None:
        """The stored slate, where it answers the request."""
        if stored is None or ask.category is not None:
            return None
        if packed is not None and states.offset_of(packed) > stored.offset:
            return None
        version = now.bundle.version
        if ask.k == stored.count and not ask.exclude and stored.stamp == now.catalogue.stamp:
            return Answer(stored.rung, version, stored.made, stored.body, stored.slots, stored.offset)
        return self._pick(ask, now, stored, stored.rung)

    def _pick(self, ask: Ask, now: Now, stored: Stored, rung: str, note: str = "") -> Answer | None:
        """The first ``k`` items of a stored slate that may be shown; None when it holds too few."""
        banned = set(ask.exclude)
        allowed = [s for s in items_of(stored) if s.item not in banned and now.catalogue.allows(s.item, ask.category)]
        if len(allowed) < ask.k and not note:
            return None
        items = allowed[: ask.k]
        return Answer(
            rung,
            now.bundle.version,
            stored.made,
            body_of(items, now.catalogue),
            slots_of(items),
            stored.offset,
            note,
            len(allowed),
        )

    # ── composing ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _compose_in_time(self, ask: Ask, now: Now, packed: bytes | None, stored: Stored | None) -> Answer:
        state = states.unpack(packed) if packed is not None else UserState(ask.user, 0)
        return await self._in_time(now, ask, Taste(state.history, state.preferences), stored, state.offset)

    async def _in_time(self, now: Now, ask: Ask, taste: Taste, stored: Stored | None, offset: int = -1) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            work = loop.run_in_executor(self.pool, composed, now, ask, taste, offset)
            return await asyncio.wait_for(work, self.deadline)
        except TimeoutError:
            return self._stand_in(ask, now, stored, set(taste.history.items), "the deadline passed")
        except Exception as error:
            telemetry.log.error("compose_failed", error=str(error), user=ask.user, exc_info=True)
            return self._stand_in(ask, now, stored, set(taste.history.items), "composing failed")

    def _stand_in(self, ask: Ask, now: Now, stored: Stored | None, seen: set[str], note: str) -> Answer:
        """One rung down: the stored slate, else what is popular."""
        if stored is not None:
            picked = self._pick(ask, now, stored, "stored", note)
            if picked is not None:
                return picked
        banned = seen | set(ask.exclude)
        items = [s for s in now.popular if s.item not in banned and now.catalogue.allows(s.item, ask.category)][: ask.k]
        return Answer(
            "popular" if items else "empty",
            now.bundle.version,
            0,
            body_of(items, now.catalogue),
            slots_of(items),
            -1,
            note if items else f"{note}; {shortage(now.shelf, Wish(ask.k, ask.category))}",
        )

    # ── finishing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self, ask: Ask, answer: Answer, began: float) -> bytes:
        """Gives the decision to the log and the answer to the caller."""
        time_ms = int(time.time() * 1000)
        decision = f"{self._prefix}-{next(self._count):x}"
        version = answer.version
        slots: Any = answer.slots
        event = Decision(
            id=decision,
            time=time_ms,
            user=ask.user,
            surface=ask.surface,
            session=ask.session,
            feature_snapshot=f"{answer.offset}",
            policy=POLICY,
            models=(version,) if version else (),
            reward=self.config.rewards.version,
            rung=answer.rung,
            latency_ms=(time.perf_counter() - began) * 1000,
            eligible=answer.eligible,
            slots=msgspec.Raw(slots) if isinstance(slots, bytes) else slots,  # type: ignore[arg-type]  # encoded already
        )
        self.storage.log.append((event,)).add_done_callback(self._logged)
        _rungs[answer.rung].inc()
        note = b',"note":' + _string(answer.note) if answer.note else b""
        return b'{"decision":"%b","user":%b,"model":%b,"rung":"%b","age_ms":%d%b,"items":%b}' % (
            decision.encode(),
            _string(ask.user),
            _string(version) if version else b"null",
            answer.rung.encode(),
            max(0, time_ms - answer.made) if answer.made else 0,
            note,
            answer.body,
        )

    def _logged(self, done: Any) -> None:
        if (error := done.exception()) is not None:
            self._lost += 1
            telemetry.EVENTS.labels("decision", "lost").inc()
            if self._lost & (self._lost - 1) == 0:  # 1st, 2nd, 4th, 8th...: a full disk must not fill the disk
                telemetry.log.error("decision_not_logged", error=str(error), lost=self._lost)

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)


def composed(now: Now, ask: Ask, taste: Taste, offset: int) -> Answer:
    """Composes an answer now; runs beside the event loop."""
    wish = Wish(ask.k, ask.category, frozenset(taste.history.items) | frozenset(ask.exclude))
    made: Composed = compose(now.shelf, taste, wish)
    slots: tuple[Slot, ...] = slots_of(made.items)
    items: tuple[Scored, ...] = made.items
    return Answer(
        made.rung,
        now.bundle.version,
        int(time.time() * 1000),
        body_of(items, now.catalogue),
        slots,
        offset,
        made.note,
        len(items),
    )
