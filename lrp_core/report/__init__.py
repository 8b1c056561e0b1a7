"""A study as one HTML page: plain values in, a page that needs nothing beside it out."""

from .command import command_of, missing
from .content import Figure, Inputs, Report, Table
from .method import describe
from .page import write_page

__all__ = ["Figure", "Inputs", "Report", "Table", "command_of", "describe", "missing", "write_page"]
