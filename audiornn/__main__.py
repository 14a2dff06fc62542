"""``python -m audiornn``."""

from __future__ import annotations

import sys

from audiornn.cli import main

if __name__ == "__main__":
    sys.exit(main())
