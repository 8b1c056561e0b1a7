"""`python -m lrp_core`, and the command `lrp-core` of an installed package: see `lrp_core.cli`."""

from __future__ import annotations

import sys

from .errors import MissingExtra
from .extras import from_extra


def main() -> int:
    """Run one command, or say which extra of the package has what it needs; gives the exit code."""
    try:
        with from_extra():
            from .cli import main as run

            return run()
    except MissingExtra as error:
        sys.stderr.write(f"lrp-core: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
