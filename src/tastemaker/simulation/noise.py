"""Chance that belongs to what it decides: a number for each (seed, who, when, what), whoever asks and in whatever order.

Two worlds that differ in one thing alone must meet the same luck, or a comparison of them is mostly luck (common random numbers).
A generator that is asked for one number more is out of step for ever; here each number is a hash of its keys. The mixing function
is that of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

Doubles = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def mixed(words: Words) -> Words:
    """Each word stirred until no bit is like any of the input."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def uniform(seed: int, purpose: str, *keys: npt.ArrayLike) -> Doubles:
    """In (0, 1), of the shape that the keys have together. ``purpose`` keeps decisions apart that share their keys.

    >>> a, b = uniform(1, "click", [1, 2], 7), uniform(1, "click", [2, 1], 7)
    >>> bool(a[0] == b[1] and a[1] == b[0]), a.shape
    (True, (2,))
    """
    start = (seed * GOLDEN + int.from_bytes(purpose.encode()[:8].ljust(8), "big")) & MASK
    with np.errstate(over="ignore"):
        state: Words = mixed(np.asarray(start, np.uint64))
        for key in keys:
            word = np.asarray(key, np.int64).astype(np.uint64)
            state = mixed((state + np.uint64(GOLDEN)) ^ mixed(word + np.uint64(GOLDEN)))
    return np.asarray(((state >> np.uint64(11)).astype(np.float64) + 0.5) / (1 << 53))


def normal(seed: int, purpose: str, *keys: npt.ArrayLike) -> Doubles:
    """Of mean 0 and deviation 1."""
    return np.asarray(special.ndtri(uniform(seed, purpose, *keys)))


def exponential(seed: int, purpose: str, *keys: npt.ArrayLike) -> Doubles:
    """Of mean 1."""
    return np.asarray(-np.log(uniform(seed, purpose, *keys)))
