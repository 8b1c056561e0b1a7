"""Relevance over a data set, reduced to one ranking of all inputs, from which any mask follows."""

from .attributions import ATTRIBUTIONS
from .comparison import Comparison, compare, settling
from .controls import pixel_variance
from .criteria import (
    CONTROLS,
    CRITERIA,
    MEASURED,
    NEED_NETWORK,
    control_scores,
    measure_relevance,
    rank,
    ranking_from,
)
from .ranking import Ranking, check_keep, keep_for_share
from .statistics import STATISTICS, RelevanceStatistics

__all__ = [
    "ATTRIBUTIONS",
    "CONTROLS",
    "CRITERIA",
    "MEASURED",
    "NEED_NETWORK",
    "STATISTICS",
    "Comparison",
    "Ranking",
    "RelevanceStatistics",
    "check_keep",
    "compare",
    "control_scores",
    "keep_for_share",
    "measure_relevance",
    "pixel_variance",
    "rank",
    "ranking_from",
    "settling",
]
