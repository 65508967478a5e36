"""The kinds of features: how events become a number, one event at a time and over columns.

Every kind has ``zero``, ``add``, ``merge`` and ``value``, and ``column``, which is the same as an Ibis aggregate. An
accumulator is a plain list of numbers and texts, so it travels as MessagePack; ``add`` and ``merge`` return a new one.
The result does not depend on the order of the events: sums commute, decayed sums are kept as (sum, time that it is
relative to) and rescaled, and what is "newest" is decided by (time, offset), never by arrival.

``column`` gets a table of (request, event) pairs in which every event happened before the request's time ``at``; requests
without events have one row of nulls.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    import ibis.expr.types as ir

Acc: TypeAlias = list[Any]
"""An accumulator: numbers and texts whose meaning only its kind knows."""


class Part(NamedTuple):
    """One input of a feature over columns: which events, and what each of them brings."""

    where: ir.BooleanValue
    amount: ir.NumericValue


def decay(millis: float, half_life: int) -> float:
    """What remains of 1 after a time.

    >>> decay(2_000, 1_000)
    0.25
    """
    return float(0.5 ** (millis / half_life))


def rescaled_sum(a: float, at_a: int, b: float, at_b: int, half_life: int) -> float:
    """Two decayed sums added as of the later of their times (forward decay: Cormode et al., ICDE 2009, kept in range)."""
    if at_a >= at_b:
        return a + b * decay(at_a - at_b, half_life)
    return a * decay(at_b - at_a, half_life) + b


def column_sum(pairs: ir.Table, part: Part, half_life: int | None) -> ir.FloatingValue:
    """The sum of a part's amounts, decayed to the request's time if there is a half-life; 0 without events."""
    import ibis  # only here: loading it takes a second, and folding never needs it

    amount = part.amount.cast("float64")
    if half_life is not None:
        age = (pairs.at - pairs.time).cast("float64")  # else Spark divides decimals, and rounds
        amount = amount * ibis.literal(2.0) ** -(age / float(half_life))
    return amount.sum(where=part.where).fill_null(0.0)


class Count(Struct, frozen=True, tag="count"):
    """The sum of the amounts of all events; with amounts of 1 their number. Accumulator: [sum]."""

    def zero(self) -> Acc:
        return [0.0]

    def add(self, acc: Acc, time: int, offset: int, amount: float, item: str, part: int = 0) -> Acc:
        return [acc[0] + amount]

    def merge(self, a: Acc, b: Acc) -> Acc:
        return [a[0] + b[0]]

    def value(self, acc: Acc, now: int) -> float:
        return float(acc[0])

    def column(self, pairs: ir.Table, *parts: Part) -> ir.Value:
        return column_sum(pairs, parts[0], None)


class Decayed(Struct, frozen=True, tag="decayed"):
    """The sum of amounts that halve every ``half_life`` milliseconds. Accumulator: [sum, time it is relative to].

    >>> kind = Decayed(half_life=1_000)
    >>> kind.value(kind.add(kind.add(kind.zero(), 1_000, 0, 1.0, "a"), 0, 1, 1.0, "b"), now=2_000)
    0.75
    """

    half_life: int

    def zero(self) -> Acc:
        return [0.0, 0]

    def add(self, acc: Acc, time: int, offset: int, amount: float, item: str, part: int = 0) -> Acc:
        total, at = acc
        if time >= at:
            return [total * 0.5 ** ((time - at) / self.half_life) + amount, time]
        return [total + amount * 0.5 ** ((at - time) / self.half_life), at]

    def merge(self, a: Acc, b: Acc) -> Acc:
        return [rescaled_sum(a[0], a[1], b[0], b[1], self.half_life), max(a[1], b[1])]

    def value(self, acc: Acc, now: int) -> float:
        return float(acc[0]) * decay(max(now - acc[1], 0), self.half_life)  # a clock that is behind must not inflate

    def column(self, pairs: ir.Table, *parts: Part) -> ir.Value:
        return column_sum(pairs, parts[0], self.half_life)


class Rate(Struct, frozen=True, tag="rate"):
    """Part 0 over part 1, both decayed or both not, smoothed towards ``prior`` as if ``strength`` more had been seen.

    (numerator + prior * strength) / (denominator + strength): the posterior mean under a Beta prior. None where the
    denominator is 0. Accumulator: [numerator, denominator, time they are relative to].

    >>> kind = Rate(prior=0.1, strength=10.0)
    >>> kind.value(kind.add(kind.zero(), 0, 0, 1.0, "a", part=1), now=0)
    0.09090909090909091
    """

    half_life: int | None = None
    prior: float = 0.0
    strength: float = 0.0

    def zero(self) -> Acc:
        return [0.0, 0.0, 0]

    def add(self, acc: Acc, time: int, offset: int, amount: float, item: str, part: int = 0) -> Acc:
        above, below, at = acc
        if self.half_life is None:
            return [above + amount, below, 0] if part == 0 else [above, below + amount, 0]
        if time > at:
            scale = decay(time - at, self.half_life)
            above, below, at = above * scale, below * scale, time
        elif time < at:
            amount *= decay(at - time, self.half_life)
        return [above + amount, below, at] if part == 0 else [above, below + amount, at]

    def merge(self, a: Acc, b: Acc) -> Acc:
        if self.half_life is None:
            return [a[0] + b[0], a[1] + b[1], 0]
        above, below = (rescaled_sum(a[part], a[2], b[part], b[2], self.half_life) for part in (0, 1))
        return [above, below, max(a[2], b[2])]

    def value(self, acc: Acc, now: int) -> float | None:
        scale = 1.0 if self.half_life is None else decay(max(now - acc[2], 0), self.half_life)
        below = float(acc[1]) * scale + self.strength
        return (float(acc[0]) * scale + self.prior * self.strength) / below if below else None

    def column(self, pairs: ir.Table, *parts: Part) -> ir.Value:
        above, below = (column_sum(pairs, part, self.half_life) for part in parts)
        return (above + self.prior * self.strength) / (below + self.strength).nullif(0.0)


class Last(Struct, frozen=True, tag="last"):
    """The amount of the newest event, None without one. Accumulator: [] or [time, offset, amount]."""

    def zero(self) -> Acc:
        return []

    def add(self, acc: Acc, time: int, offset: int, amount: float, item: str, part: int = 0) -> Acc:
        new = [time, offset, amount]
        return new if new > acc else acc  # lists compare entry by entry, and anything is greater than []

    def merge(self, a: Acc, b: Acc) -> Acc:
        return max(a, b)

    def value(self, acc: Acc, now: int) -> float | None:
        return float(acc[2]) if acc else None

    def column(self, pairs: ir.Table, *parts: Part) -> ir.Value:
        import ibis

        order = ibis.struct({"time": pairs.time, "offset": pairs.offset, "amount": parts[0].amount})
        return parts[0].amount.cast("float64").argmax(order, where=parts[0].where)


class Recent(Struct, frozen=True, tag="recent"):
    """The newest ``newest`` events, oldest first. Accumulator: a list of [time, offset, item, amount] in order.

    The value is a list of (item, amount, time).
    """

    newest: int

    def zero(self) -> Acc:
        return []

    def add(self, acc: Acc, time: int, offset: int, amount: float, item: str, part: int = 0) -> Acc:
        new = [time, offset, item, amount]
        place = bisect.bisect_right(acc, new)
        return [*acc[:place], new, *acc[place:]][-self.newest :]

    def merge(self, a: Acc, b: Acc) -> Acc:
        return sorted(a + b)[-self.newest :]

    def value(self, acc: Acc, now: int) -> list[tuple[str, float, int]]:
        return [(item, amount, time) for time, _, item, amount in acc]

    def column(self, pairs: ir.Table, *parts: Part) -> ir.Value:
        import ibis

        # collected and then sorted as structs, field by field: no backend orders inside an aggregate like another
        fields = {"time": pairs.time, "offset": pairs.offset, "item": pairs.item, "amount": parts[0].amount}
        found = ibis.struct(fields).collect(where=parts[0].where).sort()[-self.newest :]
        return (pairs.time.count(where=parts[0].where) > 0).ifelse(found, None)  # of no events Spark makes an empty list


Kind: TypeAlias = Count | Decayed | Rate | Last | Recent
KINDS: dict[str, type[Struct]] = {"count": Count, "decayed": Decayed, "rate": Rate, "last": Last, "recent": Recent}
