"""`python -m lrp_core`: see `lrp_core.cli`."""

import sys

from .cli import main

sys.exit(main())
