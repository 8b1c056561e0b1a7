"""What a network is worth and what it costs: statistics and counted compute."""

from .cost import Cost, LayerCost, measure_cost
from .statistics import Interval, mean_interval, wilson_interval

__all__ = ["Cost", "Interval", "LayerCost", "mean_interval", "measure_cost", "wilson_interval"]
