"""What every section of the configuration is: a frozen table that refuses keys it does not know."""

from __future__ import annotations

from msgspec import Struct


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the configuration file."""
