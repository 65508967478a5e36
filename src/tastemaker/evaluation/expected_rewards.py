"""A plain model of rewards for doubly robust estimates: for each slot a line over what a model says of the item.

It need not be right, since what came of the slates corrects it; the better it is, the narrower the interval. It is linear so
that what another policy may expect of a slot follows from the mean of the scores that it would draw there: no slate has to be
walked twice. The line of one half of the users is told by the other half, or the model would know what it is asked.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
TINY = 1e-9  # of the scores' variance: below it a slot has no slope


def lines(shown: Doubles, rewards: Doubles) -> tuple[Doubles, Doubles]:
    """(slots,) height and (slots,) slope of the least squares of ``rewards`` over ``shown``, (sessions, slots) each."""
    centre, mean = shown.mean(0), rewards.mean(0)
    spread = ((shown - centre) ** 2).mean(0)
    common = ((shown - centre) * (rewards - mean)).mean(0)
    slope = np.where(spread > TINY, common / np.maximum(spread, TINY), 0.0)
    return mean - slope * centre, slope


def by_slot(shown: Doubles, drawn: Doubles, rewards: Doubles, cluster: Ints) -> tuple[Doubles, Doubles]:
    """(sessions, slots) what is expected of the item that was shown, and of what another policy would draw in its place.

    ``shown``: the other model's scores of those items; ``drawn``: the mean of the scores that its policy draws there, given the
    slots above; ``cluster``: (sessions,) whose they are.
    """
    expected, instead = np.zeros_like(shown), np.zeros_like(shown)
    half = cluster % 2 == 0
    for own in (half, ~half):
        other = ~own if (~own).any() else own
        height, slope = lines(shown[other], rewards[other])
        expected[own] = height + slope * shown[own]
        instead[own] = height + slope * drawn[own]
    return expected, instead
