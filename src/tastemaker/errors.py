"""Every error that tastemaker raises on purpose.

    TastemakerError
    ├── ConfigError        a key or value of the configuration
    │   ├── UnknownScheme  a URL that no adapter serves
    │   └── MissingExtra   an adapter whose package is not installed
    ├── InputError         data or a request that cannot be taken, with the path of the field
    ├── LeakError          an input that could not have been known when the decision was made
    ├── NotFound           a user, item, model, run or data set that does not exist
    ├── Conflict           two writers, or a state that does not allow the change
    └── StorageError       a store that is full, locked, damaged or away
        └── Unavailable    a server that does not answer: the same call may succeed later

A message names the thing, its value and the remedy. Errors are caught at the edges only: a request, a poll, a step, a command.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TastemakerError(Exception):
    """Whatever a caller may want to catch."""


class ConfigError(TastemakerError):
    """A key or a value of the configuration is wrong."""


class UnknownScheme(ConfigError):
    """A URL whose scheme no adapter serves."""


class MissingExtra(ConfigError):
    """An adapter's package is not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs a package that is not installed: pip install 'tastemaker[{extra}]'")


class InputError(TastemakerError):
    """Input that cannot be taken. ``field`` is its path, ``value`` what was given, ``remedy`` what would be right."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        self.field, self.value, self.remedy = field, value, remedy
        shown = repr(value)
        super().__init__(f"{field} = {shown if len(shown) <= 120 else shown[:117] + '...'}: {remedy}")


class LeakError(TastemakerError):
    """A training input that was not known at the time of the decision."""


class NotFound(TastemakerError):
    """The thing does not exist."""


class Conflict(TastemakerError):
    """The state of a thing does not allow the change."""


class StorageError(TastemakerError):
    """A store cannot do what was asked of it."""


class Unavailable(StorageError):
    """A server is away, too slow, or left alone for a moment after it failed."""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name, or the list of names.

    >>> did_you_mean("itme_knn", ["als", "item_knn"])
    'did you mean "item_knn"?'
    >>> did_you_mean("x", ["als", "item_knn"])
    'known: als, item_knn'
    >>> did_you_mean("x", [])
    'there is none yet'
    """
    known = sorted(known)
    if not known:
        return "there is none yet"
    close = difflib.get_close_matches(wrong, known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(known)}"
