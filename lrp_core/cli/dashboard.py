"""What the dashboard is started with: `streamlit run app.py -- --data wine.csv --label quality`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import make_dashboard_parser
from .shared import asked_data, asked_recipe, asked_root, take_network

if TYPE_CHECKING:
    from ..study import Study


def given_folders(words: tuple[str, ...]) -> tuple[Path, ...]:
    """The folders of `--allow` and `--data-root`: below them a visitor may name one with a data set's files.

    Raises `InputError` for words that say nothing.
    """
    arguments = make_dashboard_parser().parse_args(words)
    return (*arguments.allow, *([arguments.data_root] if arguments.data_root else []))


@lru_cache(maxsize=4)
def given_study(words: tuple[str, ...]) -> Study | None:
    """The quick study of the data and the network that were named; None if neither was.

    Raises `InputError` for words that say nothing, and as reading the data and the network does.
    """
    from ..study import preset

    arguments = make_dashboard_parser().parse_args(words)
    if arguments.data is None and arguments.network is None and arguments.dataset == "mnist":
        return None
    take_network(arguments)
    return preset(
        "quick",
        asked_data(arguments),
        root=asked_root(arguments),
        architecture=arguments.model,
        **asked_recipe(arguments),
    )
