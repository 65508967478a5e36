"""What happens in a request for recommendations: read, copy or compose, log the decision.

One read of the online store brings the state's mark and the front of the stored slate. When the slate knows of every
applied event, its finished bytes are copied into the answer. When it does not, or when the request asks for something else
(a category, exclusions), the answer is composed from the history beside the event loop, within the deadline. Whatever goes
wrong costs a rung of the ladder, never an error: the stored slate, then the list of popular items that this process holds.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct
from msgspec.structs import replace

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import History, Scored, UserState
from tastemaker.errors import Unavailable
from tastemaker.features import states
from tastemaker.serving.arms import Placed, seed_of, segment_of
from tastemaker.serving.composing import Answer, Request, composed
from tastemaker.serving.current import Current, Now
from tastemaker.serving.decisions import Decisions
from tastemaker.serving.exposures import Exposures
from tastemaker.slates.compose import shortage
from tastemaker.slates.decided import HOME, completed, opening_of, place_of, with_arms
from tastemaker.slates.sources import Taste, Wish
from tastemaker.slates.stored import HEAD, RUNG_NAMES, body_of, decode_front, decode_whole, tail_of
from tastemaker.storage import Storage, keys
from tastemaker.storage.log import Packed

ANONYMOUS = "anonymous"
KEPT = 180 * 86_400.0  # seconds for which a sticky experiment keeps a unit in its arm
Kept = dict[str, str] | None
ANSWER = b'{"decision":"%b","age_ms":%d,%b'


class Ask(Struct, frozen=True, gc=False):
    """What a request wants."""

    user: str
    k: int
    surface: str = "home"
    category: str | None = None
    exclude: tuple[str, ...] = ()
    session: str | None = None


class Recommending:
    """Answers requests. One per process."""

    def __init__(self, storage: Storage, config: Config, current: Current) -> None:
        self.storage, self.config, self.current = storage, config, current
        self.pool = ThreadPoolExecutor(2, thread_name_prefix="tastemaker-compose")
        self.deadline = config.serving.deadline_ms / 1000
        self.k = config.serving.k
        self.exposures = Exposures()
        self.decisions = Decisions(storage, self.exposures.forget)
        self._count = itertools.count()
        self._failures, self._told = 0, -1.0  # reads since the operator was told, and when

    def quick(self, user: str, began: float) -> bytes | None:
        """The plainest request, as most are: the front of the stored slate, if it is up to date; else None."""
        now = self.current.now
        try:
            placed = self._place(user, "home", "", now, began) if now.asks else None
            if placed is not None and (now.arms.reads or not placed.stored):
                return None
            kv = self.storage.kv
            if not kv.immediate:
                return None  # the event loop does not wait for a server
            mark, front = kv.get((keys.mark(user), now.prefix + user))
            if front is None:
                return None
            made, offset, stamp, count, rung, length = HEAD.unpack_from(front)
            if count != self.k or stamp != now.stamp or (mark is not None and states.offset_of(mark) > offset):
                return None
        except Exception:
            return None  # the careful way says what is wrong
        end, moment = HEAD.size + length, time.time()
        name = b"%b-%x" % (self.decisions.prefix, next(self._count))
        opening = front[end:] if placed is None else self._in_arms(placed, user, front[end:], True, moment)
        seconds = time.perf_counter() - began
        self.decisions.take(Packed(user, completed(opening, HOME, name, moment, seconds)), RUNG_NAMES[rung], seconds)
        return ANSWER % (name, age_of(made, moment), front[HEAD.size : end])

    async def answer(self, ask: Ask, began: float) -> bytes:
        """The JSON of an answer; its decision is on its way to the log."""
        now = self.current.now
        placed = await self._placed(ask.user, ask.surface, now, began)
        ready = await self._stored(ask, now, began) if ask.category is None and placed.stored else None
        return self.finish(ask, ready or await self._from_history(ask, now, began, placed), began, placed)

    async def answer_session(self, ask: Ask, history: History, preferences: dict[str, float]) -> bytes:
        """The same for a stranger whose history comes with the request."""
        began, now = time.perf_counter(), self.current.now
        placed = await self._placed(ask.session, ask.surface, now, began, session=True)
        answer = await self._in_time(now, ask, Taste(history, preferences), began, placed)  # a session may bear a user's id:
        known = bool(history.items or preferences)  # no stored slate for it
        return self.finish(ask, replace(answer, known=known), began, placed)

    # ── experiments ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _place(self, unit: str | None, surface: str, segment: str, now: Now, began: float, kept: Kept = None) -> Placed:
        """The arms of a unit, and whether this answer is drawn."""
        return now.arms.place(unit, surface, segment, seed_of(self.decisions.prefix, unit or "", began), kept)

    async def _placed(self, unit: str | None, surface: str, now: Now, began: float, session: bool = False) -> Placed:
        """The same where something may have to be read of the unit. While it cannot be, it is as if nothing were known."""
        if not now.asks:
            return now.arms.nobody
        segment, kept = "", None
        if now.arms.reads and unit is not None:
            try:
                state, *met = await self._read([keys.state(unit), *(keys.arm(one.name, unit) for one in now.arms.sticky)], began)
                segment = segment_of(state).segment if state is not None and not session else ""
                kept = now.arms.kept(met)
            except Exception as error:
                self._failed(error)
        return self._place(unit, surface, segment, now, began, kept)

    def _in_arms(self, placed: Placed, unit: str, opening: bytes, known: bool, moment: float) -> bytes:
        """The decision with its arms. Where the unit meets an experiment in it, the exposure goes to the log before it."""
        if not placed.assignments:
            return opening
        fresh = self.exposures.of(placed, unit, moment, known)
        for event in fresh:
            self.decisions.beside(event)
        if fresh and placed.sticky:
            self.pool.submit(self._keep, {keys.arm(name, unit): value for name, value in placed.sticky.items()})
        return with_arms(opening, placed.plan.packed)

    def _keep(self, met: dict[str, bytes]) -> None:
        """Remembers the arms that a unit has met; runs beside the event loop."""
        try:
            self.storage.kv.put(met, KEPT)
        except Exception as error:
            self._failed(error)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, names: Sequence[str], began: float) -> list[bytes | None]:
        """Values of the online store. Where they come from a server, the wait counts against the request's deadline."""
        kv = self.storage.kv
        if kv.immediate:
            return kv.get(names)
        try:
            async with asyncio.timeout(self._left(began)):
                return await kv.fetch(names)
        except TimeoutError:
            raise Unavailable("the online store did not answer before the deadline of the request passed") from None

    def _left(self, began: float) -> float:
        """Seconds until the deadline of a request."""
        return self.deadline - (time.perf_counter() - began)

    def _failed(self, error: Exception) -> None:
        """What the ladder makes up for is told to the operator, at most once a second: every request meets it."""
        moment = time.monotonic()
        self._failures += 1
        if moment - self._told >= 1.0:
            telemetry.log.error("online_store_failed", error=str(error), times=self._failures)
            self._told, self._failures = moment, 0

    async def _stored(self, ask: Ask, now: Now, began: float) -> Answer | None:
        """The stored slate, where it is up to date and answers the request."""
        version = now.bundle.version
        try:
            mark, packed = await self._read((keys.mark(ask.user), keys.slate(version, ask.user)), began)
            front = decode_front(packed) if packed is not None else None
            if front is None or (mark is not None and states.offset_of(mark) > front.offset):
                return None
            if ask.k == front.count and not ask.exclude and front.stamp == now.catalogue.stamp:
                return Answer(front.rung, front.made, front.opening, front.tail, known=True)
            (whole,) = await self._read((keys.whole(version, ask.user),), began)
        except Exception as error:
            self._failed(error)
            return None
        picked = self._pick(ask, now, front.rung, whole)
        return replace(picked, known=True) if picked is not None else None

    def _pick(self, ask: Ask, now: Now, rung: str, whole: bytes | None, note: str = "") -> Answer | None:
        """The first ``k`` items of the whole stored slate that may be shown; None when it holds too few."""
        try:
            slate = decode_whole(whole) if whole is not None else None
        except Exception as error:
            self._failed(error)
            return None
        if slate is None:
            return None
        banned = set(ask.exclude)
        allowed = [s for s in slate.items if s.item not in banned and now.catalogue.allows(s.item, ask.category)]
        if not allowed or (len(allowed) < ask.k and not note):
            return None
        return self._answer(now, ask, rung, slate.made, slate.offset, allowed[: ask.k], note, len(allowed))

    def _answer(
        self, now: Now, ask: Ask, rung: str, made: int, offset: int, items: Sequence[Scored], note: str = "", eligible: int = -1
    ) -> Answer:
        """Items as an answer."""
        version, reward = now.bundle.version, self.config.rewards.version
        opening = opening_of(ask.user, version, rung, offset, reward, items, eligible)
        return Answer(rung, made, opening, tail_of(ask.user, version, rung, note, body_of(items, now.catalogue)))

    # ── composing ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _from_history(self, ask: Ask, now: Now, began: float, placed: Placed) -> Answer:
        """The answer composed from the user's history as it is now; the stored slate is at hand should that take too long."""
        state, whole = UserState(ask.user, 0), None
        try:
            packed, whole = await self._read((keys.state(ask.user), keys.whole(now.bundle.version, ask.user)), began)
            state = states.unpack(packed) if packed is not None else state
        except Exception as error:
            self._failed(error)
        made = await self._in_time(now, ask, Taste(state.history, state.preferences), began, placed, state.offset, whole)
        return replace(made, known=state.offset >= 0 or whole is not None)

    async def _in_time(
        self, now: Now, ask: Ask, taste: Taste, began: float, placed: Placed, offset: int = -1, whole: bytes | None = None
    ) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            work = loop.run_in_executor(self.pool, self._composed, placed, ask, taste, offset)
            return await asyncio.wait_for(work, self._left(began))
        except TimeoutError:
            return self._stand_in(ask, now, set(taste.history.items), "the deadline passed", whole)
        except Exception as error:
            telemetry.log.error("compose_failed", error=str(error), user=ask.user, exc_info=True)
            return self._stand_in(ask, now, set(taste.history.items), "composing failed", whole)

    def _stand_in(self, ask: Ask, now: Now, seen: set[str], note: str, whole: bytes | None) -> Answer:
        """One rung down: the stored slate without what was consumed since, else what is popular."""
        ask = replace(ask, exclude=(*ask.exclude, *seen))
        picked = self._pick(ask, now, "stored", whole, note)
        if picked is not None:
            return picked
        banned = set(ask.exclude)
        items = [s for s in now.popular if s.item not in banned and now.catalogue.allows(s.item, ask.category)][: ask.k]
        rung, remark = ("popular", note) if items else ("empty", f"{note}; {shortage(now.shelf, Wish(ask.k, ask.category))}")
        return self._answer(now, ask, rung, 0, -1, items, remark)

    def _composed(self, placed: Placed, ask: Ask, taste: Taste, offset: int) -> Answer:
        """Composes an answer now; runs beside the event loop."""
        seen = frozenset(taste.history.items) | frozenset(ask.exclude)
        wish = Wish(ask.k, ask.category, seen, ask.surface, int(time.time() * 1000))
        return composed(placed, Request(ask.user, offset, self.config.rewards.version), taste, wish)

    # ── finishing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self, ask: Ask, answer: Answer, began: float, placed: Placed) -> bytes:
        """Gives the decision to the log and the answer to the caller."""
        name, moment = b"%b-%x" % (self.decisions.prefix, next(self._count)), time.time()
        place, seconds = place_of(ask.surface, ask.session), time.perf_counter() - began
        opening = self._in_arms(placed, ask.user, answer.opening, answer.known, moment)
        self.decisions.take(Packed(ask.user, completed(opening, place, name, moment, seconds)), answer.rung)
        return ANSWER % (name, age_of(answer.made, moment), answer.tail)

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.decisions.flush()


def age_of(made: int, moment: float) -> float:
    """Milliseconds since a slate was made; 0 for one that is not dated."""
    return max(0.0, moment * 1000 - made) if made else 0
