"""What a file is to an import: blocks of columns that can be read again from any block's end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

TEXT = 2000  # characters of a refused row that are kept


@dataclass(frozen=True)
class Refused:
    """A row that cannot be taken: its number, why, which field, and its text."""

    line: int
    reason: str
    field: str
    text: str


@dataclass(frozen=True)
class Block:
    """Consecutive rows. ``position`` and ``line`` are those of the row behind them."""

    columns: dict[str, pa.Array[Any]]
    lines: npt.NDArray[np.int64]  # number of each row
    position: int
    line: int
    text: Callable[[int], str]  # of the row at an index of the columns
    refused: list[Refused] = field(default_factory=list)


class Reader(Protocol):
    """Something that holds rows."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def total(self) -> int:
        """The position of the end, 0 where unknown."""

    def digest(self) -> str:
        """Names the content."""

    def blocks(self, position: int, line: int) -> Iterator[Block]:
        """The rows from a block's end on; (0, 0) is the beginning."""
