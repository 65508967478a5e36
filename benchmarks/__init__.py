"""Benchmarks: every figure that the project quotes, by a command that anybody can run.

Speed is always a ratio to something measured in the same run, interleaved, medians over rounds. ``python -m benchmarks``
runs them all and writes the tables of ``benchmarks/README.md``; each file runs alone too.

The servers come from ``tests/servers.py``. The tests are no package, so their folder is put on the path, behind all others.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
