"""``python -m audiornn``, and the command ``audiornn``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        from audiornn.cli.main import main as run

        return run()
    except KeyboardInterrupt:  # while modules are imported; later the command line has its own word for it
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
