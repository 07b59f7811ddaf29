"""`python -m rlaif_core`: the command line, for an interpreter whose scripts are not on the path."""

from __future__ import annotations

import sys

from rlaif_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
