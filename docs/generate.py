"""The reference pages, written from the code: what they say cannot be out of date, because a test runs ``--check``.

python docs/generate.py            writes docs/reference/*.md
python docs/generate.py --check    fails when a page differs from what the code says
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pages

FOLDER = Path(__file__).parent / "reference"
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": pages.cli,
    "configuration.md": pages.configuration,
    "models.md": pages.models,
    "events.md": pages.events,
    "api.md": pages.api,
    "features.md": pages.features,
    "metrics.md": pages.metrics,
    "errors.md": pages.errors_page,
}


def main(check: bool) -> int:
    """Writes the pages, or names those that are stale. Returns the exit code."""
    stale = []
    for name, write in PAGES.items():
        path, text = FOLDER / name, write()
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(str(path))
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
    for path_name in stale:
        print(f"{'stale' if check else 'written'}: {path_name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
