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
from .elimination import Elimination, eliminate
from .exchange import Exchange, exchange
from .ranking import Ranking, check_keep, keep_for_share
from .refinement import Refinement, refine
from .statistics import STATISTICS, RelevanceStatistics
from .strategies import STRATEGIES, Method, average_rankings, combine, rank_by_strategy

__all__ = [
    "ATTRIBUTIONS",
    "CONTROLS",
    "CRITERIA",
    "MEASURED",
    "NEED_NETWORK",
    "STATISTICS",
    "STRATEGIES",
    "Comparison",
    "Elimination",
    "Exchange",
    "Method",
    "Ranking",
    "Refinement",
    "RelevanceStatistics",
    "average_rankings",
    "check_keep",
    "combine",
    "compare",
    "control_scores",
    "eliminate",
    "exchange",
    "keep_for_share",
    "measure_relevance",
    "pixel_variance",
    "rank",
    "rank_by_strategy",
    "ranking_from",
    "refine",
    "settling",
]
