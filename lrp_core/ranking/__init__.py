"""Relevance over a data set, reduced to one ranking of all inputs, from which any mask follows."""

from ..shares import keep_for_share
from .comparison import Comparison, compare, settling
from .controls import pixel_variance
from .criteria import CRITERIA, Criterion, by_lrp, explaining_criterion, find_criterion, register_criterion
from .elimination import Elimination, eliminate
from .exchange import Exchange, exchange
from .ranking import Ranking, check_keep
from .refinement import Refinement, refine
from .relevance import measure_relevance, ranking_from
from .statistics import STATISTICS, RelevanceStatistics
from .strategies import (
    STRATEGIES,
    How,
    Method,
    OneShot,
    Strategy,
    average_rankings,
    combine,
    find_strategy,
    rank,
    register_strategy,
    seeds_of,
)

__all__ = [
    "CRITERIA",
    "STATISTICS",
    "STRATEGIES",
    "Comparison",
    "Criterion",
    "Elimination",
    "Exchange",
    "How",
    "Method",
    "OneShot",
    "Ranking",
    "Refinement",
    "RelevanceStatistics",
    "Strategy",
    "average_rankings",
    "by_lrp",
    "check_keep",
    "combine",
    "compare",
    "eliminate",
    "exchange",
    "explaining_criterion",
    "find_criterion",
    "find_strategy",
    "keep_for_share",
    "measure_relevance",
    "pixel_variance",
    "rank",
    "ranking_from",
    "refine",
    "register_criterion",
    "register_strategy",
    "seeds_of",
    "settling",
]
