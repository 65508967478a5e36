"""``python -m tastemaker`` is the command ``tastemaker``."""

import sys

from tastemaker.cli import main

if __name__ == "__main__":
    sys.exit(main())
