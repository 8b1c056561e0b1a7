"""Relevance over a data set, reduced to one ranking of all inputs, from which any mask follows."""

from .criteria import CONTROLS, CRITERIA, measure_relevance, pixel_variance, rank, ranking_from
from .ranking import Ranking, check_keep, keep_for_share
from .statistics import STATISTICS, RelevanceStatistics

__all__ = [
    "CONTROLS",
    "CRITERIA",
    "STATISTICS",
    "Ranking",
    "RelevanceStatistics",
    "check_keep",
    "keep_for_share",
    "measure_relevance",
    "pixel_variance",
    "rank",
    "ranking_from",
]
