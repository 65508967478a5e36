"""How many units an experiment needs, and how small a change a number of units can show."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from tastemaker.errors import InputError
from tastemaker.experiments.effects import estimate
from tastemaker.experiments.intervals import LATE
from tastemaker.experiments.moments import Moments

POWER = 0.8


def sample_size(moments: Moments, mde: float, *, power: float = POWER, alpha: float = LATE) -> int:
    """Units in each arm for a relative change of ``mde`` to be found with a probability of ``power`` at the planned end.

    ``moments`` are those of units as they are now. The chance to stop earlier is not counted, so the power is a little more.
    Raises ``InputError`` for a metric that is 0, or does not vary.
    """
    now, spread = baseline(moments)
    if not 0 < mde < 10:
        raise InputError("mde", mde, "give the smallest relative change that is worth finding, as 0.02")
    return math.ceil(2 * spread * (quantiles(power, alpha) / (mde * now)) ** 2)


def smallest_effect(moments: Moments, units: int, *, power: float = POWER, alpha: float = LATE) -> float:
    """The relative change that so many units in each arm can show: ``sample_size`` turned round."""
    now, spread = baseline(moments)
    if units < 1:
        raise InputError("units", units, "give at least one unit in each arm")
    return quantiles(power, alpha) * math.sqrt(2 * spread / units) / abs(now)


def baseline(moments: Moments) -> tuple[float, float]:
    """The metric, and the variance of one unit's linearised value."""
    found = estimate(moments)
    value, spread = float(found.value), float(found.variance * found.n)
    if not np.isfinite(value) or not value or not np.isfinite(spread) or not spread:
        raise InputError(
            "moments", f"{float(moments.n):g} units", "the metric is 0, or the same for all units: nothing can be planned from it"
        )
    return value, spread


def quantiles(power: float, alpha: float) -> float:
    for name, value in (("power", power), ("alpha", alpha)):
        if not 0 < value < 1:
            raise InputError(name, value, "give a probability between 0 and 1")
    return float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
