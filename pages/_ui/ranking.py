"""What the page on rankings asks of the core, remembered; imports that bring torch along stay inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

if TYPE_CHECKING:
    from lrp_core.ranking import Ranking
    from lrp_core.study import Study
    from lrp_core.views.ranking import Agreement, RankingPicture, Settled


@st.cache_resource(max_entries=32, show_spinner=False)
def of_study(study: Study, folder: Path, method: str, keep: int, seed: int) -> Ranking:
    """A ranking of a study, which has to be cached. `folder` is part of the key because it lies there."""
    from lrp_core.views import study as views

    return views.study_ranking(study, method, keep, seed)


@st.cache_resource(max_entries=8, show_spinner=False)
def of_file(content: bytes, name: str) -> Ranking:
    """The ranking in an upload. Raises `LrpError` for what is none, or too large."""
    from lrp_core.views import ranking as views_ranking

    return views_ranking.ranking_of_file(content, name)


def picture(found: Ranking) -> RankingPicture:
    """A ranking as arrays and a table."""
    from lrp_core.views import ranking as views_ranking

    return views_ranking.picture_of_ranking(found)


def saved(found: Ranking) -> bytes:
    """The file that `Ranking.load` reads."""
    from lrp_core.views import ranking as views_ranking

    return views_ranking.ranking_bytes(found)


def max_megabytes() -> int:
    """How large an uploaded ranking may be."""
    from lrp_core.views.ranking import MAX_FILE_BYTES

    return MAX_FILE_BYTES // 2**20


def agreement(a: Ranking, b: Ranking) -> Agreement:
    """How much two rankings agree. Raises `LrpError` for rankings of other inputs."""
    from lrp_core.views import ranking as views_ranking

    return views_ranking.agreement(a, b)


def kept_by(a: Ranking, b: Ranking, keep: int) -> np.ndarray:
    """Who keeps which pixel."""
    from lrp_core.views import ranking as views_ranking

    return views_ranking.kept_by(a, b, keep)


def can_settle(method: str) -> bool:
    """Whether more images make the ranking surer."""
    from lrp_core.views import ranking as views_ranking

    return views_ranking.can_settle(method)


def enough() -> dict[str, float]:
    """What two rankings have to agree to, for their sample to suffice."""
    from lrp_core.views.ranking import ENOUGH_OVERLAP, ENOUGH_SPEARMAN

    return {"spearman": ENOUGH_SPEARMAN, "overlap": ENOUGH_OVERLAP}


def measure_settling(study: Study, method: str, seed: int) -> Callable[[Callable[[float, str], None]], Settled]:
    """The work of measuring how a ranking settles, for `jobs.ask`."""
    from lrp_core.views import ranking as views_ranking

    return lambda report: views_ranking.measure_settling(study, method, seed, report)


def settling_is_measured(study: Study, method: str, seed: int) -> bool:
    """Whether the work of `measure_settling` is in the cache."""
    from lrp_core.views import ranking as views_ranking

    return views_ranking.settling_is_measured(study, method, seed)
