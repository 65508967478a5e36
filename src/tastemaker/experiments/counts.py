"""Do counts fit the shares that they should have? Asked after every unit, and right at any time.

The sample ratio of an experiment: where arms of half and half have 48 and 52 of a hundred units, the assignment, the logging or a
filter behind it is broken, and no result means anything. Also for rates of rare events (errors, cancellations) in two arms of
known shares. The answer is a Bayes factor of a Dirichlet-multinomial model against the shares: an e-value, whose reaching 1/alpha
has probability alpha at most however often it is looked at (Lindon and Malek, "Anytime-valid inference for multinomial count
data", NeurIPS 2022).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from tastemaker.errors import InputError
from tastemaker.experiments.moments import Numbers

CONCENTRATION = 1000.0  # of the prior: ratios near the planned one are what is looked for


def log_evidence(counts: npt.ArrayLike, weights: npt.ArrayLike, concentration: float = CONCENTRATION) -> Numbers:
    """The logarithm of the e-value, (...) from counts (..., arms), that the shares are not ``weights``, (arms,).

    >>> round(float(log_evidence([4800, 5200], [0.5, 0.5])), 1), round(float(log_evidence([5000, 5000], [0.5, 0.5])), 1)
    (6.1, -1.2)
    """
    seen, shares = np.asarray(counts, np.float64), np.asarray(weights, np.float64)
    if seen.shape[-1:] != shares.shape or (seen < 0).any():
        raise InputError("counts", seen.shape, f"give a count for each of {len(shares)} arms, none below 0")
    if not (shares > 0).all() or abs(shares.sum() - 1) > 1e-9:
        raise InputError("weights", shares.tolist(), "give shares above 0 that add up to 1")
    prior, total = concentration * shares, seen.sum(-1)
    found = special.gammaln(concentration) - special.gammaln(concentration + total)
    found = found + (special.gammaln(prior + seen) - special.gammaln(prior) - seen * np.log(shares)).sum(-1)
    return found[()]


def broken(counts: npt.ArrayLike, weights: npt.ArrayLike, alpha: float = 0.001) -> Numbers:
    """Whether the shares are surely not what they should be."""
    return log_evidence(counts, weights) >= -np.log(alpha)
