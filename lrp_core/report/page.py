"""A report as HTML. Every value is escaped by the template; drawings alone are put in as they are."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from ..extras import from_extra
from .content import Report

if TYPE_CHECKING:
    from jinja2 import Template


def write_page(report: Report) -> str:
    """The page of a report: HTML with its style in it, no script, and nothing that a network would have to bring."""
    return _template().render(report=report).lstrip()


@lru_cache(maxsize=1)
def _template() -> Template:
    with from_extra():
        from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
