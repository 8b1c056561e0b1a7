"""What a network is worth, what it costs, and what it needs: statistics, counted compute, and removal of inputs.

Names are imported when they are first used: what only reads statistics does not wait for torch.
"""

from typing import TYPE_CHECKING

from ..lazy import attach

_HOMES = (
    dict.fromkeys(["DATA_SET", "attribute_images", "removal_criteria"], "attributions")
    | dict.fromkeys(["ConvSaving", "conv_savings"], "convolutions")
    | dict.fromkeys(["Cost", "LayerCost", "measure_cost"], "cost")
    | dict.fromkeys(["ORDERS", "Curve", "Curves", "perturbation_curves"], "curves")
    | dict.fromkeys(["FILLS", "Fill", "PixelStatistics", "impute", "make_fill"], "fills")
    | dict.fromkeys(["measure_speed"], "measuring")
    | dict.fromkeys(["RANKINGS", "SCOPES", "RemovalOrder", "find_candidates", "removal_order"], "orders")
    | dict.fromkeys(
        ["VARIANTS", "Removal", "RemovalResult", "RemovedFeatures", "make_removed", "remove_features"], "removal"
    )
    | dict.fromkeys(["Retrain", "mask_leak", "roar"], "retraining")
    | dict.fromkeys(["Footprint", "Speed", "Timing"], "speed")
    | dict.fromkeys(
        [
            "Interval",
            "McNemar",
            "Scatter",
            "crossed_interval",
            "mcnemar",
            "mean_interval",
            "pack",
            "r2_interval",
            "resampled_interval",
            "scatter",
            "unpack",
            "wilson_interval",
        ],
        "statistics",
    )
    | dict.fromkeys(["forward_milliseconds"], "timing")
)

__all__ = [
    "DATA_SET",
    "FILLS",
    "ORDERS",
    "RANKINGS",
    "SCOPES",
    "VARIANTS",
    "ConvSaving",
    "Cost",
    "Curve",
    "Curves",
    "Fill",
    "Footprint",
    "Interval",
    "LayerCost",
    "McNemar",
    "PixelStatistics",
    "Removal",
    "RemovalOrder",
    "RemovalResult",
    "RemovedFeatures",
    "Retrain",
    "Scatter",
    "Speed",
    "Timing",
    "attribute_images",
    "conv_savings",
    "crossed_interval",
    "find_candidates",
    "forward_milliseconds",
    "impute",
    "make_fill",
    "make_removed",
    "mask_leak",
    "mcnemar",
    "mean_interval",
    "measure_cost",
    "measure_speed",
    "pack",
    "perturbation_curves",
    "r2_interval",
    "removal_criteria",
    "removal_order",
    "remove_features",
    "resampled_interval",
    "roar",
    "scatter",
    "unpack",
    "wilson_interval",
]

if TYPE_CHECKING:
    from .attributions import DATA_SET, attribute_images, removal_criteria
    from .convolutions import ConvSaving, conv_savings
    from .cost import Cost, LayerCost, measure_cost
    from .curves import ORDERS, Curve, Curves, perturbation_curves
    from .fills import FILLS, Fill, PixelStatistics, impute, make_fill
    from .measuring import measure_speed
    from .orders import RANKINGS, SCOPES, RemovalOrder, find_candidates, removal_order
    from .removal import VARIANTS, Removal, RemovalResult, RemovedFeatures, make_removed, remove_features
    from .retraining import Retrain, mask_leak, roar
    from .speed import Footprint, Speed, Timing
    from .statistics import (
        Interval,
        McNemar,
        Scatter,
        crossed_interval,
        mcnemar,
        mean_interval,
        pack,
        r2_interval,
        resampled_interval,
        scatter,
        unpack,
        wilson_interval,
    )
    from .timing import forward_milliseconds

__getattr__, __dir__ = attach(__name__, _HOMES)
