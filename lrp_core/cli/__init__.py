"""The command line: the same functions as the pages.

python -m lrp_core study --preset quick
python -m lrp_core export --keep 150 --output small/
python -m lrp_core predict small/ digit.png
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence

from ..errors import Cancelled, LrpError
from .arguments import make_parser
from .shared import Answer, one_line, take_network


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. The exit code is 0, 2 for a refusal (a sentence on stderr each), or 130 when it was stopped."""
    arguments = make_parser().parse_args(argv)
    handler: Callable[[argparse.Namespace], Answer] = arguments.handler
    try:
        take_network(arguments)
        answer = handler(arguments)
    except (Cancelled, KeyboardInterrupt):
        kept = "" if arguments.command == "speed" else "; what was done is kept, and the same command goes on"
        print(f"{arguments.command}: stopped{kept}", file=sys.stderr)
        return 130
    except LrpError as error:
        print(f"{arguments.command}: {one_line(error)}", file=sys.stderr)
        return 2
    for note in getattr(arguments, "notes", ()):
        print(f"{arguments.command}: {one_line(note)}", file=sys.stderr)
    try:
        print(json.dumps(answer.values, indent=2) if arguments.json is True else answer.text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it cannot be written either
        if not isinstance(error, BrokenPipeError):  # of which the reader, `head` for one, has seen enough
            print(f"{arguments.command}: the answer cannot be written: {error.strerror}", file=sys.stderr)
            return 2
    for refusal in answer.refused:
        print(f"{arguments.command}: {one_line(refusal)}", file=sys.stderr)
    return 2 if answer.refused else 0
