"""How people look at a list: what they see, what they click, and where they stop.

    dcm   down the list; after a click some are satisfied and leave (dependent click model; Guo, Liu and Wang, WSDM 2009)
    pbm   each place is looked at with a probability of its own, whatever stands above (Richardson et al., WWW 2007)

In the first, a good item above spares the rest; in the second it does not. What interleaving and off-policy estimates gain
depends on which of the two the world is, so a test says which it means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Examination:
    """``patience``: of going on without a click; ``satisfied``: of leaving after a good one; ``decay`` of places for ``pbm``."""

    model: Literal["dcm", "pbm"] = "dcm"
    patience: float = 0.85
    satisfied: float = 0.5
    decay: float = 0.6
    trust: float = 0.02  # clicks that a place gets for being high up, whatever stands there


def looked_at(of: Examination, chances: Doubles, watched: Doubles, luck: Doubles) -> tuple[Bools, Bools]:
    """(lists, places) what is seen, and what is clicked.

    ``chances`` of a click where the item is seen; ``watched`` the share of it that would be consumed; ``luck`` uniform numbers,
    (3, lists, places): of seeing, of clicking, of leaving.
    """
    places = np.arange(1, chances.shape[1] + 1)
    chances = chances + of.trust * (1 - chances) / places
    clicks = luck[1] < chances
    if of.model == "pbm":
        seen = luck[0] < places**-of.decay
        return seen, seen & clicks
    stays = np.where(clicks, luck[2] >= of.satisfied * np.minimum(0.3 + 1.4 * watched, 1.0), luck[2] < of.patience)
    seen = np.concatenate([np.ones((len(chances), 1), np.bool_), np.logical_and.accumulate(stays, axis=1)[:, :-1]], axis=1)
    return seen, seen & clicks
