"""The command line: the same functions as the pages.

python -m lrp_core study --preset quick
python -m lrp_core export --model mlp-300-100 --keep 150 --output small/
python -m lrp_core predict small/ digit.png
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .errors import Cancelled, LrpError

Handler = Callable[[argparse.Namespace], dict[str, Any]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 for a refusal (one sentence on stderr), 130 when cancelled."""
    arguments = _parser().parse_args(argv)
    handler: Handler = arguments.handler
    try:
        result = handler(arguments)
    except Cancelled as error:
        print(error, file=sys.stderr)
        return 130
    except LrpError as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was done is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print(result["text"])
    return 0


def _parser() -> argparse.ArgumentParser:
    from .models import ARCHITECTURES  # noqa: F401  (checked by build_model, listed in the help)

    parser = argparse.ArgumentParser(
        prog="python -m lrp_core",
        description="Which inputs does a network need, and what does it save to drop the rest?",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the result as JSON, for machines")
    return parser
