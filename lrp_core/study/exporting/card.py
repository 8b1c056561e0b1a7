"""What the card of an export says: the network, how good it is, what it costs, and the full network beside it."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from torch import nn

from ...cards import CARD_VERSION
from ...data import Dataset
from ...errors import InputError
from ...evaluation import measure_cost, r2_interval, wilson_interval
from ...pruning import PrunedNetwork
from ...pruning.files import describe
from ...training import evaluate
from ..results import FULL_COST, INPUT_COST


def make_card(network: nn.Module, data: Dataset, provenance: dict[str, Any]) -> dict[str, Any]:
    """What a reader needs to use the weights, and to judge them: plain values for JSON, without the files."""
    pruned = network if isinstance(network, PrunedNetwork) else None
    cost = measure_cost(network, (len(pruned.mask),) if pruned else data.shape)
    kept = pruned.mask.indices.tolist() if pruned else list(range(data.n_inputs))
    return {
        "card_version": CARD_VERSION,
        "network": describe(network),
        **({"note": pruned.note} if pruned and pruned.note else {}),
        "classes": list(data.classes),
        **({} if data.target is None else {"target": asdict(data.target)}),
        "input": {
            "shape": list(data.shape),
            **({"names": list(data.input_names)} if data.input_names is not None else {}),
            "kept_pixels": kept,
            "order": "positions in the flattened image, row by row; the network takes these pixels, in this order",
            "normalisation": _normalisation(data),
            **({"groups": [asdict(group) for group in data.groups]} if data.groups else {}),
            **({"kept_groups": _kept_groups(data, kept)} if data.groups else {}),
            **({"word_columns": [asdict(column) for column in data.word_columns]} if data.word_columns else {}),
            **({"imputed": {str(position): value for position, value in data.imputed}} if data.imputed else {}),
        },
        **({"data": {"name": data.name, "notes": list(data.notes)}} if data.notes else {}),
        **_measured(network, data),
        "cost": {
            "macs": cost.macs,
            "flops": cost.flops,
            "parameters": cost.parameters,
            "bytes": cost.bytes,
            "input_bytes": cost.input_bytes,
            **({} if data.costs is None else {INPUT_COST: data.cost_of(kept), FULL_COST: float(data.costs.sum())}),
            "layers": [asdict(layer) for layer in cost.layers],
        },
        "provenance": provenance,
        "versions": {name: version(name) for name in ("torch", "numpy", "safetensors")}
        | {"python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def compare_with_full(network: nn.Module, full: nn.Module, data: Dataset, margin: float) -> dict[str, Any]:
    """The full network's test score and cost, and whether the other one keeps the margin on the validation split.

    Differences are the smaller network's score minus the full one's. Raises `InputError` for a margin that is none, or
    a full network that does not take all inputs.
    """
    check_margin(margin)
    if isinstance(full, PrunedNetwork):
        raise InputError("full= is the network on all inputs, to compare with: the one that was given is pruned")
    cost = measure_cost(full, data.shape)
    validation, test = (
        [evaluate(one, split, encode=encoding(one)).score for one in (network, full)]
        for split in (data.validation, data.test)
    )
    difference = validation[0] - validation[1]
    if not math.isfinite(difference) or not math.isfinite(test[0] - test[1]):
        raise InputError("R² cannot be compared where all rows of a split have the same number: leave full= out")
    measured = _measured(full, data)
    score = {"name": "accuracy", **measured["accuracy"]} if "accuracy" in measured else measured["score"]
    return {
        "full_network": {
            "score": {key: score[key] for key in ("name", "split", "images", "value", "interval_95", "method")},
            "macs": cost.macs,
            "parameters": cost.parameters,
            "bytes": cost.bytes,
        },
        "margin": {
            "value": margin,
            "kept": bool(difference >= -margin - 1e-12),
            "difference": difference,
            "decided_on": "validation",
            "validation": {"network": validation[0], "full_network": validation[1]},
            "test_difference": test[0] - test[1],
        },
    }


def check_margin(margin: float) -> None:
    """Raise `InputError` for a margin that is no share."""
    if not 0 <= margin <= 1:
        raise InputError(f"the margin is the share of accuracy that may be lost, from 0 to 1, and not {margin}")


def _measured(network: nn.Module, data: Dataset) -> dict[str, Any]:
    """How good a network is on the test split: "accuracy", or "score" for one that predicts numbers."""
    evaluation = evaluate(network, data.test, encode=encoding(network))
    where = {"dataset": data.name, "split": "test", "images": evaluation.n, "value": evaluation.score}
    if data.target is not None:
        interval = r2_interval(evaluation.errors, data.test.labels.double().numpy())
        return {
            "score": {
                "name": "R²",
                **where,
                "interval_95": [interval.low, interval.high],
                "method": "bootstrap over rows",
                "mean_absolute_error": evaluation.mae * data.target.scale,
            }
        }
    interval = wilson_interval(int(evaluation.correct.sum()), evaluation.n)
    return {
        "accuracy": {
            **where,
            "interval_95": [interval.low, interval.high],
            "method": "Wilson score",
            "confidence": evaluation.confidence,
            "per_class": [None if math.isnan(share) else share for share in evaluation.per_class],
            "loss": evaluation.loss,
        }
    }


def encoding(network: nn.Module) -> Any:
    """What turns full inputs into what a network takes; None if that is the same."""
    return network.encode if isinstance(network, PrunedNetwork) else None


def _kept_groups(data: Dataset, kept: Sequence[int]) -> list[str]:
    """The names of the groups that have an input among those that are kept."""
    return [data.group_names[i] for i in data.grouping.groups_of(kept).tolist()]


def _normalisation(data: Dataset) -> dict[str, Any]:
    """How raw values become what the network takes: (raw - mean) / scale, by input, or one scale for all."""
    if data.scaler is not None:
        return {"mean": list(data.scaler.mean), "scale": list(data.scaler.scale)}
    if data.train.is_bytes:
        return {"scale": 1 / 255, "offset": 0.0, "range": [0.0, 1.0]}
    return {"scale": 1.0, "offset": 0.0}
