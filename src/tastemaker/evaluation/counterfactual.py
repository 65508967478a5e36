"""How would another policy have done? Estimated from slates that were drawn with known probabilities, and what came of them.

A slate is drawn slot by slot, and each slot's probability given those above is logged. The same probability under the other
policy over the logged one is that slot's weight; the weight of a slot's reward is the product of the weights down to it, because
a reward depends on what stands above it and not on what stands below (the cascade assumption; Kiyohara et al., "Doubly robust
off-policy evaluation for ranking policies under the cascade behavior model", WSDM 2022). Weights are cut at ``CLIP`` and
normalised slot by slot: a little bias for a fraction of the variance.

    cascade_snips   the one to use
    cascade_dr      with a model of rewards, where there is a good one
    slate_snips     by the weight of whole slates: no assumption, and hardly any support
    direct          by the model of rewards alone
    replay          of slots that were drawn evenly: those where both policies agree
    compared        beside the policy that drew, on the same slates

An estimate without support is refused, not told: too few sessions behind a slot, or weights whose mean is not 1, which means that
the logged probabilities are not those that were drawn with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from tastemaker.domain import Interval
from tastemaker.errors import InputError, NotFound

Doubles = npt.NDArray[np.float64]
CLIP = 20.0
LEAST = 100.0  # effective sessions behind the first slot
DEEP = 30.0  # behind any other slot, or half of those that have it
SURE = 3.0  # standard errors that the mean weight may be off 1
CASCADE = "a reward depends on its slot and those above it"


@dataclass(frozen=True)
class Logged:
    """What was drawn, and what came of it: (sessions, slots) each.

    ``rewards``: of a slot, 0 for none. ``logged`` and ``target``: logarithms of the conditional probabilities under the
    policy that drew and under the other one. ``there``: False behind the end of a short slate. ``cluster``: (sessions,) whose
    sessions they are; those of one user are not independent.
    """

    rewards: Doubles
    logged: Doubles
    target: Doubles
    there: npt.NDArray[np.bool_]
    cluster: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls, rewards: npt.ArrayLike, logged: npt.ArrayLike, target: npt.ArrayLike, cluster: npt.ArrayLike | None = None
    ) -> Logged:
        """NaN in ``logged`` is a slot that is not there. Raises ``InputError`` for arrays that do not fit."""
        arrays = {"rewards": rewards, "logged": logged, "target": target}
        found = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
        shape = found["logged"].shape
        for name, array in found.items():
            if array.shape != shape or array.ndim != 2:
                raise InputError(name, array.shape, f"give (sessions, slots), as `logged` has: {shape}")
        there = ~np.isnan(found["logged"])
        if (found["logged"][there] > 1e-9).any() or np.isneginf(found["logged"][there]).any():
            raise InputError("logged", "a probability of 0 or above 1", "give the logarithm of what each slot was drawn with")
        if there.size and (there[:, 1:] > there[:, :-1]).any():
            raise InputError("logged", "a slot behind one that is not there", "give slots from the first on, without gaps")
        rows = np.where(there, found["rewards"], 0.0)
        own = None if cluster is None else np.unique(np.asarray(cluster), return_inverse=True)[1].astype(np.int64)
        return cls(rows, np.where(there, found["logged"], 0.0), np.where(there, found["target"], 0.0), there, own)


@dataclass(frozen=True)
class Estimate:
    """Reward a session under the other policy, with its interval.

    ``ess``: effective sessions behind each slot; ``clipped``: share of slots whose weight was cut; ``mean_weight``: of the first
    slot.
    """

    value: float
    low: float
    high: float
    n: int
    ess: tuple[float, ...]
    clipped: float
    mean_weight: float
    warnings: tuple[str, ...] = ()


def weights(data: Logged, clip: float = np.inf) -> tuple[Doubles, float]:
    """(sessions, slots) products of the ratios down to each slot, cut at ``clip``; and the share that was cut."""
    with np.errstate(over="ignore"):
        found = np.exp(np.cumsum(data.target - data.logged, axis=1))
    cut = np.minimum(found, clip)
    count = max(1, int(data.there.sum()))
    return np.where(data.there, cut, 0.0), float(((found > clip) & data.there).sum() / count)


def effective(w: Doubles) -> Doubles:
    """(slots,) sessions that equal weights would need for the same precision (Kish, 1965)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.nan_to_num(w.sum(0) ** 2 / (w**2).sum(0)))


def supported(data: Logged) -> tuple[float, tuple[str, ...]]:
    """The mean weight of the first slot, and warnings. Raises ``NotFound`` where nothing can be said."""
    if not data.there.size or not data.there[:, 0].any():
        raise NotFound("there are no drawn slates with propensities: let a share of requests explore (slates.explore)")
    w, _ = weights(data)
    first, rows = w[:, 0], data.there[:, 0]
    ess = float(effective(w)[0])
    if ess < LEAST:
        raise NotFound(
            f"{rows.sum():,} drawn slates, but only {ess:.0f} count behind the first slot ({LEAST:.0f} are needed): the policies "
            "differ too much, or too few were drawn: raise slates.temperature or slates.explore, and wait"
        )
    mean, error = float(first[rows].mean()), float(first[rows].std() / np.sqrt(rows.sum()))
    if abs(mean - 1) > SURE * max(error, 1e-12) and abs(mean - 1) > 1e-6:
        raise NotFound(
            f"the weights of the first slot have the mean {mean:.3f} and not 1 (within {SURE * error:.3f}): the policies "
            "differ so much that what would weigh most was never drawn, or slates were not drawn with the logged probabilities"
        )
    return mean, ("no session goes on to the last slot",) if not w[:, -1].any() else ()


def cascade_snips(data: Logged, *, clip: float = CLIP, confidence: float = 0.95) -> Estimate:
    """Self-normalised cascade importance sampling, with clipped weights. Each slot has its support, or nothing is told."""
    mean, warnings = supported(data)
    value, spread, w, clipped = cascade(data, clip)
    reaching(data, w)
    return told(value, spread, data, w, clipped, mean, confidence, warnings)


def reaching(data: Logged, w: Doubles) -> None:
    """Raises ``NotFound`` where hardly any session goes on to a slot: it would count as one without any reward."""
    ess = effective(w)
    thin = ess < np.minimum(DEEP, data.there.sum(0) / 2)
    if thin.any():
        slot = int(thin.argmax())
        raise NotFound(
            f"only {ess[slot]:.0f} of {data.there[:, slot].sum():,} drawn slates count behind slot {slot + 1} ({DEEP:.0f} are "
            f"needed): the policies differ too much that far down, or too few were drawn; ask about the first {slot} alone"
        )


def cascade(data: Logged, clip: float) -> tuple[float, Doubles, Doubles, float]:
    """The value, each session's part in its error, (sessions,), the weights, and the share of these that was cut."""
    w, clipped = weights(data, clip)
    total = np.maximum(w.sum(0), 1e-300)
    means = (w * data.rewards).sum(0) / total  # (slots,) reward of a slot where it is there
    reach = data.there.mean(0)  # how often that is: a matter of what may be shown, not of the policy
    spread = (w * (data.rewards - means) * (len(w) / total) * reach + (data.there - reach) * means).sum(1)
    return float(means @ reach), spread, w, clipped


@dataclass(frozen=True)
class Comparison:
    """Two policies on the same slates. ``difference``: of the other one from the one that drew, over ``n`` clusters."""

    target: Estimate
    logged: Estimate
    difference: Interval


def compared(data: Logged, *, clip: float = CLIP, confidence: float = 0.95) -> Comparison:
    """``cascade_snips`` of both. Their errors are taken together session by session, since much of them is the same."""
    own = replace(data, target=data.logged)
    target, logged = (cascade_snips(each, clip=clip, confidence=confidence) for each in (data, own))
    value, spread = target.value - logged.value, cascade(data, clip)[1] - cascade(own, clip)[1]
    half = half_width(spread, data, confidence)
    clusters = len(spread) if data.cluster is None else int(data.cluster.max()) + 1
    return Comparison(target, logged, Interval(value, value - half, value + half, clusters))


def slate_snips(data: Logged, *, clip: float = np.inf, confidence: float = 0.95) -> Estimate:
    """By the weight of whole slates."""
    mean, warnings = supported(data)
    w, clipped = weights(data, clip)
    last = data.there.sum(1) - 1
    whole = w[np.arange(len(w)), last]
    rewards = data.rewards.sum(1)
    value = float(whole @ rewards / whole.sum())
    spread = whole * (rewards - value) * (len(w) / whole.sum())
    return told(value, spread, data, w, clipped, mean, confidence, warnings)


def cascade_dr(
    data: Logged, expected: npt.ArrayLike, expected_target: npt.ArrayLike, *, clip: float = CLIP, confidence: float = 0.95
) -> Estimate:
    """Doubly robust: a model of rewards, corrected by what came of the slates.

    ``expected``: (sessions, slots) what the model expects of the logged item; ``expected_target``: of what the other policy would
    draw there, given the slots above. Slates are all of one length.
    """
    mean, warnings = supported(data)
    q, q_target = model_of(data, expected), model_of(data, expected_target)
    w, clipped = weights(data, clip)
    total = np.maximum(w.sum(0), 1e-300)
    normal = w * len(w) / total
    before = np.concatenate([np.ones((len(w), 1)), normal[:, :-1]], axis=1)
    rows = (normal * (data.rewards - q) + before * q_target).sum(1)
    value = float(rows.mean())
    return told(value, rows - value, data, w, clipped, mean, confidence, warnings)


def direct(data: Logged, expected_target: npt.ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """What the model of rewards expects; its own error is no part of the interval."""
    rows = model_of(data, expected_target).sum(1)
    value = float(rows.mean())
    w, _ = weights(data)
    return told(value, rows - value, data, w, 0.0, 1.0, confidence, ("the error of the model of rewards is not counted",))


def replay(rewards: npt.ArrayLike, agreed: npt.ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Reward of a slot that was drawn evenly, (sessions,), where the other policy would have chosen the same: ``agreed``."""
    found, same = np.asarray(rewards, np.float64), np.asarray(agreed, np.bool_)
    if found.shape != same.shape or found.ndim != 1:
        raise InputError("agreed", same.shape, f"give a truth value for each reward: {found.shape}")
    if same.sum() < LEAST:
        raise NotFound(f"both policies agree in {same.sum():,} of {len(same):,} evenly drawn slots; {LEAST:.0f} are needed")
    data = Logged.of(found[same, None], np.zeros((same.sum(), 1)), np.zeros((same.sum(), 1)))
    return cascade_snips(data, confidence=confidence)


def model_of(data: Logged, expected: npt.ArrayLike) -> Doubles:
    found = np.asarray(expected, np.float64)
    if found.shape != data.rewards.shape or not np.isfinite(found).all():
        raise InputError("expected", found.shape, f"give a finite number for each slot: {data.rewards.shape}")
    return np.where(data.there, found, 0.0)


def told(
    value: float, spread: Doubles, data: Logged, w: Doubles, clipped: float, mean: float, confidence: float,
    warnings: Sequence[str],
) -> Estimate:  # fmt: skip
    """The estimate around ``value``, whose error is the mean of ``spread``, (sessions,), summed within clusters."""
    half = half_width(spread, data, confidence)
    ess = tuple(float(found) for found in effective(w))
    return Estimate(value, value - half, value + half, len(spread), ess, clipped, mean, tuple(warnings))


def half_width(spread: Doubles, data: Logged, confidence: float) -> float:
    """Of the interval around a mean whose error is that of ``spread``, (sessions,): independent between clusters, not within."""
    sums = spread if data.cluster is None else np.bincount(data.cluster, spread)
    return float(special.ndtri((1 + confidence) / 2) * np.sqrt((sums**2).sum()) / len(spread))
