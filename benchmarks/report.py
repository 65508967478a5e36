"""Where figures go: sections of ``benchmarks/README.md`` between markers, each with the machine that made them."""

from __future__ import annotations

import os
import platform
import re
import statistics
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

README = Path(__file__).with_name("README.md")


def machine() -> str:
    """One sentence on where a figure comes from."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Python {platform.python_version()}, numpy {version('numpy')}, uvicorn {version('uvicorn')}; "
        f"{datetime.now(UTC):%Y-%m-%d}."
    )


def sync_milliseconds(folder: str, times: int = 200) -> float:
    """How long a write of 4 kB takes to reach the disk under a folder: what bounds commits, and differs most by machine."""
    found = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(times):
            began = time.perf_counter()
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
            found.append(time.perf_counter() - began)
    return 1000 * statistics.median(found)


def write_section(name: str, text: str) -> None:
    """Replaces a section of the report."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = README.read_text("utf-8") if README.exists() else "# Benchmarks\n"
    section = f"{begin}\n{text}\n{end}"
    if begin in old:
        new = old[: old.index(begin)] + section + old[old.index(end) + len(end) :]
    else:
        new = old.rstrip("\n") + f"\n\n{section}\n"
    README.write_text(new, "utf-8")
