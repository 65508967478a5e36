"""Processes of the platform, each on its core, and places for their stores: what the benchmarks over servers share.

The process that is measured has the first core for itself. The client and the servers behind the platform share the others.
A thread's core is inherited by whatever it starts, so ``on_the_rest`` comes before the first server.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import click
import numpy as np

import servers
from tastemaker.config import Connect

CORES = sorted(os.sched_getaffinity(0))
FIRST = {CORES[0]}
REST = set(CORES[1:]) or FIRST
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("TASTEMAKER_")}
QUICK = click.option("--quick", is_flag=True, help="A few rounds of little, to see that it works; writes nothing.")


def on_the_first() -> None:
    """From now on this thread works where the measured process of the platform does: for bare clients beside it."""
    os.sched_setaffinity(0, FIRST)


def on_the_rest() -> None:
    """From now on this thread, and the servers that it starts, leave the first core alone."""
    os.sched_setaffinity(0, REST)


def environment(connect: Connect) -> dict[str, str]:
    """The variables that lead a process of the platform to its stores."""
    places = {f"TASTEMAKER_CONNECT__{name.upper()}": json.dumps(getattr(connect, name)) for name in connect.__struct_fields__}
    return CLEAN | places | {"TASTEMAKER_SERVING__PORT": "0"}


def online_stores(home: str) -> dict[str, Connect]:
    """Every place where the online store may live, each an empty one."""
    return {
        "LMDB": Connect(home=home),
        "Redis": Connect(home=home, kv=servers.redis()),
        "PostgreSQL": Connect(home=home, kv=servers.postgresql()),
        "Redis before PostgreSQL": Connect(home=home, kv=servers.redis(), kv_durable=servers.postgresql()),
    }


@contextmanager
def running(connect: Connect, *arguments: str, cores: set[int]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A ``tastemaker`` process that works until the block ends, and its port, 0 where it has none."""
    with subprocess.Popen(
        [sys.executable, "-m", "tastemaker", *arguments],
        env=environment(connect),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=partial(os.sched_setaffinity, 0, cores),
    ) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            if "tastemaker" not in line:
                raise RuntimeError(f"tastemaker {' '.join(arguments)} ended with {child.wait()}: {line}")
            found = re.search(r"serves http://127.0.0.1:(\d+) ", line)
            yield child, int(found[1]) if found else 0
        finally:
            child.terminate()
            child.wait()


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and middle half.

    >>> spread([1.0, 2.0, 3.0])
    '2.00 (1.50–2.50)'
    """
    low, high = np.quantile(values, [0.25, 0.75])
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round, so that what the machine did meanwhile touches both."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]
