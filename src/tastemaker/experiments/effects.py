"""From moments to an effect: the value of a metric in each arm, the difference, and how far chance moves it.

A metric is a ratio R of means over units. Its variance comes from the linearised values u = (y - R x) / mean(x) (the delta
method; Deng, Knoblich and Lu, "Applying the delta method in metric analytics", KDD 2018), so units are what is drawn,
however many impressions each has. With a covariate, u is regressed on it, by one slope for both arms (CUPED; Deng et al.,
"Improving the sensitivity of online controlled experiments by utilizing pre-experiment data", WSDM 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tastemaker.experiments.moments import Moments, Numbers

FAR = 3.0  # standard errors that a control's mean is from 0 for a relative change to mean something


@dataclass(frozen=True)
class Estimate:
    """The value of a metric in an arm, the variance of that value, and its units."""

    value: Numbers
    variance: Numbers
    n: Numbers


@dataclass(frozen=True)
class Effect:
    """What the treatment changes: ``value`` with its standard error, absolute or relative to the control, over ``n`` units.

    ``df``: degrees of freedom by Welch and Satterthwaite. ``control`` and ``treatment``: the values that it is the difference of.
    """

    value: Numbers
    se: Numbers
    n: Numbers
    df: Numbers
    control: Numbers
    treatment: Numbers
    relative: bool = False


def slope(moments: Moments) -> Numbers:
    """Of the linearised metric on the covariate; 0 where the covariate says nothing."""
    ratio, scale = moments.mean("y") / moments.mean("x"), moments.mean("x")
    spread = moments.covariance("z", "z")
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (moments.covariance("y", "z") - ratio * moments.covariance("x", "z")) / scale / spread
    return np.where(np.asarray(spread) > 0, found, 0.0)[()]


def estimate(moments: Moments, theta: Numbers = 0.0, centre: Numbers = 0.0) -> Estimate:
    """The metric in one arm, without what the covariate explains: ``theta`` times its distance from ``centre``."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio, scale = moments.mean("y") / moments.mean("x"), moments.mean("x")
        yy, xx, xy = moments.covariance("y", "y"), moments.covariance("x", "x"), moments.covariance("x", "y")
        spread = (yy - 2 * ratio * xy + ratio**2 * xx) / scale**2
        with_z = (moments.covariance("y", "z") - ratio * moments.covariance("x", "z")) / scale
        spread = spread - 2 * theta * with_z + theta**2 * moments.covariance("z", "z")
        # Rounding may leave less than nothing of a variance that is 0.
        return Estimate(ratio - theta * (moments.mean("z") - centre), np.maximum(spread, 0.0) / moments.n, moments.n)


def estimates(control: Moments, treatment: Moments) -> tuple[Estimate, Estimate]:
    """Both arms, with one slope over both for the covariate."""
    both = control + treatment
    theta = slope(both)
    return estimate(control, theta, both.mean("z")), estimate(treatment, theta, both.mean("z"))


def difference(control: Moments, treatment: Moments) -> Effect:
    """Treatment minus control."""
    a, b = estimates(control, treatment)
    return Effect(b.value - a.value, np.sqrt(a.variance + b.variance), a.n + b.n, welch(a, b), a.value, b.value)


def lift(control: Moments, treatment: Moments) -> Effect:
    """Treatment over control, minus 1. NaN where the control's value is so near 0 that a share of it says nothing."""
    a, b = estimates(control, treatment)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = b.variance / a.value**2 + a.variance * b.value**2 / a.value**4
        sure = np.abs(a.value) > FAR * np.sqrt(a.variance)
        value = np.where(sure, b.value / a.value - 1, np.nan)[()]
        se = np.where(sure, np.sqrt(variance), np.nan)[()]
    return Effect(value, se, a.n + b.n, welch(a, b), a.value, b.value, relative=True)


def alone(moments: Moments) -> Effect:
    """The metric itself as an effect beside 0: of paired comparisons, where each unit has seen both."""
    found = estimate(moments)
    return Effect(found.value, np.sqrt(found.variance), found.n, np.asarray(found.n) - 1.0, 0.0 * found.value, found.value)


def welch(a: Estimate, b: Estimate) -> Numbers:
    """Degrees of freedom of a difference (Welch, 1947; Satterthwaite, 1946)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (a.variance + b.variance) ** 2 / (a.variance**2 / (a.n - 1) + b.variance**2 / (b.n - 1))
    return np.where(np.isfinite(found), found, np.inf)[()]
