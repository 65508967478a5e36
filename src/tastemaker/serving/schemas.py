"""The wire: what the API takes and how it says what is wrong.

Requests are decoded by msgspec into the domain's own events, made strict: a misspelt field is an error here, while the log
stays open to fields of a later version. Every message names the field's path, the value and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, TypeVar, cast, get_args

import msgspec
from msgspec import Meta, Struct, field

from tastemaker import domain
from tastemaker.domain import Id, Name, Scalar, Score
from tastemaker.domain.experiments import Share
from tastemaker.errors import InputError, did_you_mean

T = TypeVar("T")
EPOCH, MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


class StrictInteraction(domain.Interaction, frozen=True, tag="interaction", forbid_unknown_fields=True):
    """An interaction as the API takes it."""


class StrictView(domain.View, frozen=True, tag="view", forbid_unknown_fields=True):
    """A view as the API takes it."""


class StrictExposure(domain.Exposure, frozen=True, tag="exposure", forbid_unknown_fields=True):
    """An exposure as the API takes it."""


class StrictItem(domain.ItemChange, frozen=True, tag="item", forbid_unknown_fields=True):
    """An item's new state as the API takes it."""


class StrictUser(domain.UserChange, frozen=True, tag="user", forbid_unknown_fields=True):
    """New facts about a user as the API takes them."""


WireEvent = StrictInteraction | StrictView | StrictExposure | StrictItem | StrictUser
STRICT: dict[str, type[domain.Event]] = {
    domain.tag_of(kind): kind for kind in (StrictInteraction, StrictView, StrictExposure, StrictItem, StrictUser)
}


class ItemBody(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An item in ``PUT /v1/items/{id}``."""

    title: Annotated[str, Meta(max_length=2000)] = ""
    categories: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=100)] = ()
    text: Annotated[str, Meta(max_length=100_000)] = ""
    active: bool = True
    released: int | datetime | None = None
    fields: dict[str, Scalar] = field(default_factory=dict)


class ItemRow(ItemBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An item in a bulk upsert."""

    item: Id


class UserBody(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A user in ``PUT /v1/users/{id}``: what is left out stays as it was."""

    preferences: dict[str, Score] | None = None
    segment: Annotated[str, Meta(max_length=64)] | None = None
    fields: dict[str, Scalar] | None = None


class UserRow(UserBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A user in a bulk upsert."""

    user: Id


class PastEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """An event of a stranger's session."""

    item: Id
    kind: Name = "view"
    value: Score | None = None
    time: int | datetime | None = None


class SessionBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A stranger's history in ``POST /v1/sessions/recommendations``, oldest first; an item's id alone is a view."""

    history: Annotated[tuple[PastEvent | Id, ...], Meta(max_length=1000)] = ()
    k: Annotated[int, Meta(ge=1, le=100)] | None = None
    surface: Annotated[str, Meta(min_length=1, max_length=256)] = "home"
    category: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    exclude: Annotated[tuple[Id, ...], Meta(max_length=1000)] = ()
    session: Id | None = None
    preferences: dict[str, Score] = field(default_factory=dict)


class RampBody(Struct, frozen=True, forbid_unknown_fields=True):
    """How many take part from now on, in ``POST /v1/experiments/{name}/ramp``: a share of the experiment's slice."""

    coverage: Share


class StopBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What was decided, in ``POST /v1/experiments/{name}/stop``."""

    outcome: Annotated[str, Meta(max_length=2000)] = ""


@cache
def decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cast(Any, kind))


def decode(body: bytes, kind: type[T]) -> T:
    """A request's body as a struct, or an ``InputError`` that names the field."""
    try:
        found: T = decoder(cast(Hashable, kind)).decode(body)
    except msgspec.ValidationError as error:
        raise named(error, parsed(body), fields_of(kind)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("body", body[:60].decode("utf-8", "replace"), f"is not JSON: {error}") from None
    return found


def parsed(body: bytes) -> Any:
    """The body as plain values, for messages; None where it is not JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def fields_of(kind: Any) -> list[str]:
    """The fields of a struct, or of the structs in a list.

    >>> fields_of(list[UserBody])
    ['preferences', 'segment', 'fields']
    """
    inner = get_args(kind)[0] if get_args(kind) else kind
    found = isinstance(inner, type) and issubclass(inner, Struct)
    return [info.encode_name for info in msgspec.structs.fields(inner)] if found else []


def named(error: msgspec.ValidationError, tree: Any, known: Sequence[str] = ()) -> InputError:
    """msgspec's message as one that names path, value and remedy; ``known`` fields give a hint to a misspelt one."""
    reason, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `(.*?)`", reason)
    if unknown:
        full = f"{path}.{unknown[1]}".lstrip(".")
        hint = did_you_mean(unknown[1], known) if known else "see /docs"
        return InputError(full, value_at(tree, full), f"is not a field here; {hint}")
    missing = re.search(r"missing required field `(.*?)`", reason)
    if missing:
        return InputError(f"{path}.{missing[1]}".lstrip("."), None, "is required")
    return InputError(path.replace("[...]", ".*").lstrip(".") or "body", value_at(tree, path), reason[:1].lower() + reason[1:])


def value_at(tree: Any, path: str) -> Any:
    """The value that a path names, as far as it can be followed.

    >>> value_at({"a": [{"b": 1}]}, "a[0].b")
    1
    """
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            tree = tree[int(index)] if index else tree[name]
        except (KeyError, IndexError, TypeError):
            return "?"
    return tree


def refuse_unknown(row: dict[str, Any], kind: type[Struct]) -> None:
    """A misspelt field, with a hint."""
    known = [info.encode_name for info in msgspec.structs.fields(kind)]
    for name, value in row.items():
        if name not in known and name != "type":
            raise InputError(name, value, f"is not a field of {domain.tag_of(kind)!r}; {did_you_mean(name, known)}")  # type: ignore[arg-type]  # events only


def millis(value: int | datetime | None, name: str, default: int) -> int:
    """A time as epoch milliseconds; ISO 8601 without a zone is refused, for it means nothing.

    >>> millis(None, "time", 5)
    5
    """
    if value is None:
        return default
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InputError(name, value.isoformat(), "has no time zone; write 2026-01-31T12:00:00Z")
        return (value - EPOCH) // MILLISECOND  # in whole numbers: a float of seconds loses the last millisecond
    return value
