"""Batch-norms made one with the layer that they directly follow, or else with the one that directly follows them."""

from __future__ import annotations

from dataclasses import replace

import torch

from .affine import Affine, Convolution, Dense, Scale
from .steps import Step, readers


def fold_scales(steps: list[Step]) -> list[Step]:
    """The steps with every batch-norm folded that can be; the others stay as layers of their own."""
    i = 0
    while i < len(steps):
        step = steps[i]
        if isinstance(step.operation, Scale):
            following = readers(steps, i)
            for before, after in ((step.sources[0], i), (i, following[0] if following else -1)):
                merged = _merged(steps, before, after)
                if merged is not None:
                    steps, i = merged, max(before - 1, -1)
                    break
        i += 1
    return steps


def _merged(steps: list[Step], before: int, after: int) -> list[Step] | None:
    """The steps with `before` and `after` as one, if nothing else reads `before` and both are affine."""
    if before < 0 or readers(steps, before) != [after]:
        return None
    first, second = steps[before].operation, steps[after].operation
    if not isinstance(first, Affine) or not isinstance(second, Affine):
        return None
    if isinstance(second, Scale):
        name, operation = steps[before].name, _followed(first, second)
    else:
        name, operation = steps[after].name, _preceded(first, second)
    if operation is None:
        return None
    merged = replace(steps[before], name=name, operation=operation)
    place = {old: old - (old > after) for old in range(-1, len(steps))} | {after: before}
    rest = [merged if i == before else step for i, step in enumerate(steps) if i != after]
    return [replace(step, sources=tuple(place[source] for source in step.sources)) for step in rest]


def _followed(layer: Affine, scale: Scale) -> Affine | None:
    """`layer` and then `scale`, as one layer."""
    if layer.outputs != len(scale.weight):
        return None
    return layer.scaled(scale.weight, torch.zeros_like(scale.weight) if scale.bias is None else scale.bias)


def _preceded(scale: Affine, layer: Affine) -> Affine | None:
    """`scale` and then `layer`, as one layer; None where padding sets in zeros that the scale has not seen."""
    if not isinstance(scale, Scale):
        return None
    shift = torch.zeros_like(scale.weight) if scale.bias is None else scale.bias
    match layer:
        case Dense() if layer.weight.shape[1] == len(scale.weight):
            weight, constant = layer.weight * scale.weight, layer.weight @ shift
            layer = replace(layer, only_vectors=True)
        case Convolution() if not layer.transposed and not (any(layer.padding) and bool(shift.any())):
            spread = (-1, layer.weight.shape[1], *[1] * (layer.weight.ndim - 2))
            factors, shifts = (
                v.view(layer.groups, -1).repeat_interleave(layer.outputs // layer.groups, dim=0).view(spread)
                for v in (scale.weight, shift)
            )
            weight, constant = layer.weight * factors, (layer.weight * shifts).flatten(1).sum(1)
        case _:
            return None
    return replace(layer, weight=weight, bias=constant if layer.bias is None else layer.bias + constant)
