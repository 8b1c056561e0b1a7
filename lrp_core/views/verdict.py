"""What the page on trust says first, computed: a verdict on one place of the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..evaluation import Interval
from ..ranking import CRITERIA, Method
from ..study.verdict import PART, Verdict, ahead

if TYPE_CHECKING:
    from .study import OpenedStudy


def verdict_of(opened: OpenedStudy, method: str, mode: str, keep: int) -> Verdict | None:
    """What was measured at `keep`, for a method beside the controls of its study; None where nothing was."""
    table = opened.curve(PART)
    if table.empty:
        return None
    own = table[(table["method"] == method) & (table["mode"] == mode) & (table["keep"] == keep)].dropna(
        subset=["difference"]
    )
    if own.empty:
        return None
    row, trials = own.iloc[0], opened.trials()
    counted, images, _ = opened.words
    found = {name: ahead(trials, method, name, mode, keep) for name in _controls(opened, method)}
    return Verdict(
        keep=keep,
        n_groups=opened.n_groups,
        seeds=int(row["seeds"]),
        difference=Interval(row["difference"], row["difference_low"], row["difference_high"]),
        ahead={name: one for name, one in found.items() if one is not None},
        score=opened.score,
        counted=counted,
        images=images,
        over="splits" if opened.study.resplit else "seeds",
    )


def _controls(opened: OpenedStudy, method: str) -> list[str]:
    """The other criteria of the study that are no relevance, measured once."""
    return [name for name in opened.study.criteria if name != method and name in opened.study.methods
            and CRITERIA[Method.named(name).criterion].is_control]  # fmt: skip
