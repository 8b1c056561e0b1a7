"""What a network is worth, what it costs, and what it needs: statistics, counted compute, and removal of inputs."""

from .attributions import ATTRIBUTIONS, BASELINES, attribute_images
from .cost import Cost, LayerCost, measure_cost
from .curves import ORDERS, Curve, Curves, perturbation_curves
from .fills import FILLS, Fill, PixelStatistics, impute, make_fill
from .orders import RANKINGS, SCOPES, RemovalOrder, find_candidates, removal_order
from .removal import VARIANTS, Removal, RemovalResult, RemovedFeatures, make_removed, remove_features
from .retraining import Retrain, mask_leak, roar
from .statistics import Interval, mean_interval, wilson_interval

__all__ = [
    "ATTRIBUTIONS",
    "BASELINES",
    "FILLS",
    "ORDERS",
    "RANKINGS",
    "SCOPES",
    "VARIANTS",
    "Cost",
    "Curve",
    "Curves",
    "Fill",
    "Interval",
    "LayerCost",
    "PixelStatistics",
    "Removal",
    "RemovalOrder",
    "RemovalResult",
    "RemovedFeatures",
    "Retrain",
    "attribute_images",
    "find_candidates",
    "impute",
    "make_fill",
    "make_removed",
    "mask_leak",
    "mean_interval",
    "measure_cost",
    "perturbation_curves",
    "removal_order",
    "remove_features",
    "roar",
    "wilson_interval",
]
