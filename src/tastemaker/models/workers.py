"""Kernels on all cores, without a pool of threads that stays behind.

Threads of numba and of BLAS keep spinning for milliseconds after their work, each pool on the cores that the other wants
back; a kernel between two products of BLAS took up to ten times its time. Threads that are made for one call and end with
it cost 0.1 ms, spin never, survive a fork, and two callers may have theirs at once.

Work is cut into pieces whose number does not depend on the threads, and nothing is added up across pieces but by the
caller in their order: results have the same bits on any number of threads. The kernels must release the interpreter
(``nogil=True``).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import numba


def threads() -> int:
    """As many as numba would use: the cores that this process may run on, or ``NUMBA_NUM_THREADS``."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]  # numba sets it from the environment


def share(work: Callable[[int], None], pieces: int) -> None:
    """Calls ``work(0)`` to ``work(pieces - 1)``, each once, by as many threads as there are cores, this one among them.

    A piece goes to whoever is free. The first error of any of them is raised here, after all have ended.

    >>> done = []
    >>> share(done.append, 3)
    >>> sorted(done)
    [0, 1, 2]
    """
    following, errors = itertools.count(), list[BaseException]()

    def run() -> None:
        try:
            while not errors and (piece := next(following)) < pieces:
                work(piece)
        except BaseException as error:  # raised below, in the thread of the caller
            errors.append(error)

    others = [threading.Thread(target=run, name=f"kernel-{number}") for number in range(min(threads(), pieces) - 1)]
    for other in others:
        other.start()
    run()
    for other in others:
        other.join()
    if errors:
        raise errors[0]
