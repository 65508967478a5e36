"""Numbers that remember how they were made, so that a plan can print its arithmetic and a test can do it again.

Every number is rounded to four digits when it is made, and shown with just these: what is printed is what is calculated, and
whoever types a formula into a calculator gets the same result. A sum, product or quotient keeps its text; ``figure`` ends it
with the result, and from then on the result stands for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DIGITS = 4
THOUSANDS = ("", "k", "M", "G", "T", "P", "E")
PARTS = ("s", "ms", "µs", "ns", "ps")
SUM, PRODUCT, LEAF = 0, 1, 2


@dataclass(frozen=True)
class Amount:
    """A value, and the text that leads to it. ``rank``: what the text is, so that brackets stand where they must."""

    value: float
    text: str
    rank: int = LEAF

    def inside(self, rank: int) -> str:
        return f"({self.text})" if self.rank < rank else self.text

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.value + other.value, f"{self.text} + {other.inside(PRODUCT)}", SUM)

    def __mul__(self, other: Amount) -> Amount:
        return Amount(self.value * other.value, f"{self.inside(PRODUCT)} x {other.inside(LEAF)}", PRODUCT)

    def __truediv__(self, other: Amount) -> Amount:
        return Amount(self.value / other.value, f"{self.inside(PRODUCT)} / {other.inside(LEAF)}", PRODUCT)


@dataclass(frozen=True)
class Figure:
    """A result with its name, its unit (as ``shown`` takes it) and its formula."""

    name: str
    value: float
    unit: str
    formula: str
    words: str = ""

    @property
    def shown(self) -> str:
        return shown(self.value, self.unit)

    @property
    def amount(self) -> Amount:
        """The result alone, as a term of other formulas."""
        return amount(self.value, self.words or self.name, self.unit)


def amount(value: float, words: str, unit: str = "") -> Amount:
    """A number and what it counts.

    >>> amount(300e6, "users"), amount(1900.4, "state", "B").text
    (Amount(value=300000000.0, text='300 M users', rank=2), '1.9 kB state')
    """
    return Amount(rounded(value), f"{shown(value, unit)} {words}".rstrip())


def figure(name: str, made: Amount, unit: str = "", words: str = "") -> Figure:
    """A result.

    >>> figure("disk", amount(300e6, "users") * amount(1900, "state", "B"), "B").formula
    '300 M users x 1.9 kB state = 570 GB'
    >>> (amount(2, "a") * (amount(3, "b") + amount(4, "c"))).text
    '2 a x (3 b + 4 c)'
    """
    return Figure(name, rounded(made.value), unit, f"{made.text} = {shown(made.value, unit)}", words)


def least(one: Amount, other: Amount) -> Amount:
    """The smaller of two."""
    return Amount(min(one.value, other.value), f"min({one.text}, {other.text})")


def most(one: Amount, other: Amount) -> Amount:
    """The larger of two."""
    return Amount(max(one.value, other.value), f"max({one.text}, {other.text})")


def whole(made: Amount) -> Amount:
    """Rounded up: there are no halves of processes and servers. What the fourth digit cannot tell does not count.

    >>> whole(amount(7, "cores") / amount(2, "cores each")).value
    4.0
    """
    return Amount(float(math.ceil(made.value * (1 - 1e-9))), f"roundup({made.text})")


def rounded(value: float) -> float:
    """Four digits."""
    return float(f"{value:.{DIGITS}g}")


def shown(value: float, unit: str = "") -> str:
    """A number for people. Units: ``B``, ``B/s``, ``s``, ``h``, ``%`` (of a share), or none.

    >>> shown(1900, "B"), shown(0.5, "%"), shown(3e9), shown(1234.6), shown(0)
    ('1.9 kB', '50 %', '3 G', '1,235', '0')
    >>> shown(86_400, "s"), shown(0.00041234, "s"), shown(1e-3, "s"), shown(2e-11, "s")
    ('86,400 s', '412.3 µs', '1 ms', '20 ps')
    """
    value = rounded(value)
    if unit in ("B", "B/s"):
        step = power_of(value)
        return f"{plain(value / 1000**step)} {THOUSANDS[step]}{unit}"
    if unit == "s" and 0 < value < 1:
        step = min(4, math.ceil(-math.log10(value) / 3 - 1e-12))
        return f"{plain(value * 1000**step)} {PARTS[step]}"
    if unit == "%":
        return f"{plain(value * 100)} %"
    if unit:
        return f"{plain(value)} {unit}"
    step = power_of(value) if value >= 1e6 else 0
    return f"{plain(value / 1000**step)} {THOUSANDS[step]}".rstrip()


def power_of(value: float) -> int:
    """Which power of a thousand a number is told in."""
    return min(int(math.log10(value) // 3), len(THOUSANDS) - 1) if value >= 1 else 0


def plain(value: float) -> str:
    """Four digits without an exponent or idle zeros.

    >>> plain(12.50), plain(86_400.0), plain(0.00001234)
    ('12.5', '86,400', '0.00001234')
    """
    if value == 0:
        return "0"
    decimals = max(0, DIGITS - 1 - math.floor(math.log10(abs(value))))
    text = f"{rounded(value):,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
