"""What a report holds, as plain values: made by `lrp_core.views.report`, written as a page by `page.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Heads and rows of cells as they are read; `numbers` says which columns hold numbers."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing as SVG that `svg.py` made, or the data URL of an image, with what it shows."""

    caption: str
    svg: str = ""
    image: str = ""
    says: str = ""


@dataclass(frozen=True)
class Inputs:
    """Which inputs stay at the recommended place: a figure, or a table of those that stay, and what it shows."""

    sentence: str
    figure: Figure | None = None
    table: Table | None = None


@dataclass(frozen=True)
class Report:
    """A study from its finding to what repeats it.

    `so_far` says how much of an unfinished study is measured, and is empty for a finished one. `finding` is one
    sentence, `before_after` the scores of both networks. `command` is what measures the same again, with `placeholder`
    saying what a person has to put in. `link` is where the dashboard shows the study, `address` with the server before
    it, empty where no server is known.
    """

    title: str
    subtitle: str
    so_far: str
    finding: str
    details: tuple[str, ...]
    before_after: Table | None
    inputs: Inputs | None
    curves: tuple[Figure, ...]
    controls: tuple[str, ...]
    controls_table: Table | None
    costs: Table | None
    method: tuple[tuple[str, str], ...]
    means: tuple[str, ...]
    means_not: tuple[str, ...]
    points: tuple[Table, ...]
    provenance: tuple[tuple[str, str], ...]
    command: str
    placeholder: str
    link: str
    address: str
