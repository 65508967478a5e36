"""Blocks of pages that show a command and what it answers: written by running it, so that they cannot drift.

python docs/blocks.py            runs every `$ tastemaker plan ...` of the pages and writes its output under it
python docs/blocks.py --check    fails when an output differs

Only commands whose answer is the same everywhere stand in such blocks.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGES = (Path(__file__).parent / "design" / "scale.md",)
BLOCK = re.compile(r"(^```text\n\$ tastemaker (plan [^\n]*)\n)(.*?)(^```$)", re.MULTILINE | re.DOTALL)


def answer(arguments: str) -> str:
    """What a command prints, without blanks at the ends of lines."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TASTEMAKER_")}
    done = subprocess.run(
        [sys.executable, "-m", "tastemaker", *shlex.split(arguments)],
        capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL, env=clean | {"COLUMNS": "120", "NO_COLOR": "1"},
    )  # fmt: skip
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def filled(page: str) -> str:
    """A page with every block as the command says now."""
    return BLOCK.sub(lambda block: f"{block[1]}{answer(block[2])}{block[4]}", page)


def main(check: bool) -> int:
    """Writes the pages, or names those that are stale. Returns the exit code."""
    stale = [path for path in PAGES if filled(path.read_text("utf-8")) != path.read_text("utf-8")]
    for path in stale:
        print(f"{'stale' if check else 'written'}: {path}")
        if not check:
            path.write_text(filled(path.read_text("utf-8")), "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
