"""What a plan is asked for: how many people, items, events and requests, and with which margins.

Everything but users and events has a default: that of the configuration where it has such a key, else a round number that a
plan prints and anybody may change.
"""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import fields

from tastemaker.errors import InputError

SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
NUMBER = re.compile(r"(\d[\d_,]*(?:\.\d+)?|\.\d+)(e\d{1,2})?\s*([a-z]?)", re.IGNORECASE)


class Workload(Struct, frozen=True):
    """The load, and what the platform keeps of it. Numbers that may be fractions are shares or per person."""

    users: Annotated[float, Meta(ge=1, le=1e11, description="People who have done something.")]
    events_per_day: Annotated[float, Meta(ge=1, le=1e14, description="Interactions and views a day.")]
    items: Annotated[float, Meta(ge=1, le=1e10, description="Items of the catalogue.")] = 100_000.0
    active: Annotated[float, Meta(gt=0, le=1, description="Share of the users who come on a day.")] = 0.2
    visits: Annotated[float, Meta(ge=0, le=1e6, description="Requests for recommendations of an active user a day.")] = 10.0
    requests: Annotated[
        float, Meta(ge=0, le=1e12, description="Requests for recommendations a second at the peak; 0: from users and visits.")
    ] = 0.0
    history: Annotated[float, Meta(ge=1, le=10_000, description="Newest events of a user that models see.")] = 500.0
    slate: Annotated[float, Meta(ge=1, le=1000, description="Items of a stored slate.")] = 100.0
    factors: Annotated[float, Meta(ge=1, le=2048, description="Factors of the als model.")] = 64.0
    epochs: Annotated[float, Meta(ge=1, le=1000, description="Epochs of its training.")] = 5.0
    retention: Annotated[float, Meta(ge=1, le=36_500, description="Days that log and lake keep events.")] = 365.0
    replication: Annotated[float, Meta(ge=1, le=10, description="Copies of each event on the brokers.")] = 3.0
    copies: Annotated[float, Meta(ge=1, le=10, description="Copies of each value of the online store.")] = 2.0
    versions: Annotated[
        float, Meta(ge=1, le=100, description="Model versions whose slates are kept: `publish.keep`, and one being written.")
    ] = 3.0
    peak: Annotated[float, Meta(ge=1, le=100, description="The peak hour's rate over that of the mean.")] = 3.0
    headroom: Annotated[float, Meta(ge=0, le=10, description="What is bought beyond the need, as a share of it.")] = 0.5
    cores: Annotated[float, Meta(ge=1, le=1024, description="Cores of one machine.")] = 16.0
    memory: Annotated[float, Meta(ge=1e9, le=1e14, description="Bytes of memory of one machine.")] = 128e9
    window: Annotated[float, Meta(gt=0, le=24, description="Hours in which a daily run should be done.")] = 4.0


def limits_of(field: str) -> Meta:
    """The limits and the sentence of a field."""
    (found,) = (info.type.__metadata__[0] for info in fields(Workload) if info.name == field)
    limits: Meta = found
    return limits


def check(field: str, value: float, label: str = "", given: object = None) -> None:
    """Raises ``InputError`` where a number is outside its limits; ``label`` and ``given`` are what the caller calls them."""
    limits = limits_of(field)
    above = limits.gt is not None and value > limits.gt
    enough = limits.ge is not None and value >= limits.ge
    if not ((above or enough) and limits.le is not None and value <= limits.le):  # also where it is not a number
        bound = f"from {limits.ge:g}" if limits.ge is not None else f"above {limits.gt:g}"
        raise InputError(label or field, value if given is None else given, f"give a number {bound} to {limits.le:g}")


def checked(work: Workload) -> Workload:
    """The workload, if each number is within its limits. Raises ``InputError`` that names the field."""
    for info in fields(Workload):
        check(info.name, getattr(work, info.name))
    return work


def number(field: str, text: str) -> float:
    """A number as people write it. Raises ``InputError`` with the remedy.

    >>> number("users", "30M"), number("events_per_day", "1.5G"), number("items", "200_000"), number("window", "2e1")
    (30000000.0, 1500000000.0, 200000.0, 20.0)
    """
    found = NUMBER.fullmatch(text.strip())
    scale = SUFFIXES.get(found[3].lower()) if found else None
    if found is None or scale is None:
        raise InputError(field, text, "give a number, as 250000, 250k, 30M or 1.5G")
    return float(found[1].replace("_", "").replace(",", "") + (found[2] or "")) * scale
