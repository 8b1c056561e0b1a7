"""Explanations of a part of a network: up to a layer, or through chosen channels of one alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, check_choice
from .affine import Dense
from .relevance import Relevance
from .steps import Step

Channels: TypeAlias = Mapping[str, int | Sequence[int] | np.ndarray | Tensor]
"""For each named layer the channels that relevance may pass through: their numbers, or what is true where it may, in
the shape of the layer's output without its first axis."""


def step_named(steps: Sequence[Step], name: Any) -> int:
    """The number of the step of that name. Raises `InputError` with the names there are."""
    names = [step.name for step in steps]
    return names.index(check_choice("layer", name, names))


def channel_axis(step: Step) -> int:
    """The axis of a step's output along which channels or units lie: the last for a dense layer, else the second."""
    return -1 if isinstance(step.operation, Dense) else 1


class Condition:
    """The channels of one layer that relevance may pass through."""

    def __init__(self, step: Step, chosen: Any) -> None:
        self.name = step.name
        self.axis = channel_axis(step)
        self.chosen = _as_tensor(chosen, step.name)

    def mask(self, values: Tensor) -> Tensor:
        """Which of the layer's outputs `values` are chosen, in a shape that broadcasts against them."""
        if self.chosen.dtype == torch.bool:
            if self.chosen.shape != values.shape[1:]:
                raise InputError(
                    f"the mask of layer {self.name!r} must have the shape of its output, {tuple(values.shape[1:])}, "
                    f"not {tuple(self.chosen.shape)}"
                )
            return self.chosen.to(values.device)
        axis = self.axis % values.ndim
        channels = values.shape[axis]
        if self.chosen.numel() and not 0 <= int(self.chosen.min()) <= int(self.chosen.max()) < channels:
            raise InputError(
                f"layer {self.name!r} has {channels} channels, numbered from 0, not {self.chosen.tolist()}"
            )
        mask = torch.zeros(channels, dtype=torch.bool, device=values.device)
        mask[self.chosen.to(values.device)] = True
        return mask.view(-1, *[1] * (values.ndim - 1 - axis))

    def of(self, r: Relevance) -> Relevance:
        """The part of relevance `r` at the layer's outputs that lies in the chosen channels."""
        kept = r.tensor.masked_fill(~self.mask(r.values), 0)
        return Relevance(r.values, kept, is_factor=r.is_factor, nonnegative=r.nonnegative)


def conditions(steps: Sequence[Step], channels: Channels | None) -> dict[int, Condition]:
    """The condition of every step that `channels` names. Raises `InputError`."""
    if channels is None:
        return {}
    if not isinstance(channels, Mapping):
        raise InputError(f"channels must map the names of layers to numbers of channels, not {channels!r:.60}")
    places = {name: step_named(steps, name) for name in channels}
    return {place: Condition(steps[place], channels[name]) for name, place in places.items()}


def _as_tensor(chosen: Any, name: str) -> Tensor:
    try:
        positions = torch.as_tensor(np.asarray(chosen) if not isinstance(chosen, Tensor) else chosen)
    except (TypeError, ValueError) as error:
        raise InputError(f"channels of layer {name!r} must be whole numbers or a mask, not {chosen!r:.60}") from error
    if positions.dtype == torch.bool:
        return positions
    if not positions.numel():
        return positions.long().reshape(0)
    if positions.is_floating_point() or positions.is_complex() or positions.ndim > 1:
        raise InputError(f"channels of layer {name!r} must be whole numbers or a mask, not {chosen!r:.60}")
    return positions.long().reshape(-1)
