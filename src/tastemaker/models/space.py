"""What is worth searching: ranges that stand beside the hyper-parameters they belong to.

A field of a model's ``Params`` that carries one is tried by ``tastemaker tune``; the others keep their defaults.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

KEY = "search"


class Between(NamedTuple):
    """From ``low`` to ``high``, both included; ``log`` where factors matter rather than differences."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


class Among(NamedTuple):
    """One of these."""

    choices: tuple[Any, ...]


Range = Between | Among


def between(low: float, high: float, *, log: bool = False) -> dict[str, Any]:
    """For ``Meta(extra=...)``; whole numbers where both ends are."""
    return {KEY: Between(low, high, log, isinstance(low, int) and isinstance(high, int))}


def among(*choices: Any) -> dict[str, Any]:
    """For ``Meta(extra=...)``."""
    return {KEY: Among(choices)}


def space_of(params: type[msgspec.Struct]) -> Mapping[str, Range]:
    """The ranges of a struct of hyper-parameters, by field."""
    hints = typing.get_type_hints(params, include_extras=True)
    found = {name: range_in(hints[name]) for name in params.__struct_fields__}
    return {name: each for name, each in found.items() if each is not None}


def range_in(hint: Any) -> Range | None:
    """The range that an annotation carries, also within a union."""
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.extra and KEY in meta.extra:
            found: Range = meta.extra[KEY]
            return found
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next((each for part in typing.get_args(hint) if (each := range_in(part)) is not None), None)
    return None
