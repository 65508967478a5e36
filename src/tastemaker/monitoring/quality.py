"""Online quality: what became of the slots that were served.

A slot is *taken* when an interaction names its decision and item. The click-through rate of a model version is slots taken
over slots served; its interval treats a user's slots as one cluster (delta method for a ratio of means), because slots of
one user are not independent.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pyarrow as pa

from tastemaker.domain import Interval


def click_through(decisions: pa.Table, interactions: pa.Table, confidence: float = 0.95) -> dict[str, Interval]:
    """Click-through rate by model version; decisions without a model count as "none".

    ``decisions``: columns user, models, slots, id; ``interactions``: decision, item.
    """
    taken = {
        (decision, item)
        for decision, item in zip(interactions["decision"].to_pylist(), interactions["item"].to_pylist(), strict=True)
        if decision is not None
    }
    served: dict[str, dict[str, list[int]]] = {}
    columns = (decisions[name].to_pylist() for name in ("id", "user", "models", "slots"))
    for decision, user, models, slots in zip(*columns, strict=True):
        by_user = served.setdefault(models[0] if models else "none", {})
        counts = by_user.setdefault(user, [0, 0])
        counts[0] += len(slots or ())
        counts[1] += sum((decision, slot["item"]) in taken for slot in slots or ())
    return {version: ratio(np.array(list(users.values()), float), confidence) for version, users in served.items()}


def overall(decisions: pa.Table, interactions: pa.Table, confidence: float = 0.95) -> Interval:
    """Click-through rate over all decisions, whichever model made them; columns as in ``click_through``."""
    nobody = pa.nulls(len(decisions), decisions.schema.field("models").type)
    alike = decisions.set_column(decisions.schema.get_field_index("models"), "models", nobody)
    return click_through(alike, interactions, confidence)["none"]


def ratio(counts: np.ndarray[tuple[int, int], np.dtype[np.float64]], confidence: float) -> Interval:
    """Sum of the second column over the sum of the first, with a clustered interval: (clusters, 2).

    Deng et al., "Applying the delta method in metric analytics" (KDD 2018), equation 4.

    >>> ratio(np.array([[10.0, 1.0], [10.0, 1.0]]), 0.95).value
    0.1
    """
    n = len(counts)
    shown, taken = counts[:, 0], counts[:, 1]
    if not n or shown.sum() == 0:
        return Interval(math.nan, math.nan, math.nan, n)
    value = float(taken.sum() / shown.sum())
    if n < 2:
        return Interval(value, math.nan, math.nan, n)
    residual = taken - value * shown
    error = float(np.sqrt(residual.var(ddof=1) / n) / shown.mean())
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return Interval(value, max(0.0, value - reach), min(1.0, value + reach), n)
