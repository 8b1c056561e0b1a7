"""How a network is trained, as plain values, and the recipes of the architectures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, check_choice

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What the products of training are computed in."""

OPTIMIZERS = ("adamw", "sgd")
"""What makes a step of a gradient."""

WARM_UP = 0.21
"""Share of the steps in which the learning rate rises; OneCycleLR divides by WARM_UP * steps - 1, never zero here."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: by an optimizer with decoupled weight decay and a one-cycle learning rate.

    `epochs` passes over the data, `batch_size` images a step, `lr` the highest learning rate. `optimizer` "adamw" is
    Adam, "sgd" has Nesterov momentum of 0.9 and wants a higher `lr`, 0.1 say; both shrink the weights by `weight_decay`
    times the rate of the step (Loshchilov and Hutter 2019). With `precision` "bfloat16", products are rounded to 8
    significant bits, while loss, weights and optimizer stay in float32; it is faster on processors that have such
    products (AVX512-BF16, AMX; most GPUs) and slower on all others.

    With `patience`, training ends once that many epochs in a row brought no lower loss on held-out rows, and the
    weights of the best epoch are given back. The learning rate is planned for all `epochs`: training that ends early
    has not come to its low end.
    """

    epochs: int = 16
    batch_size: int = 256
    lr: float = 3e-3
    weight_decay: float = 0.1
    precision: str = "float32"
    optimizer: str = "adamw"
    patience: int | None = None

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        finite = math.isfinite(self.lr) and math.isfinite(self.weight_decay)
        if self.epochs < 0 or self.batch_size < 1 or self.lr <= 0 or self.weight_decay < 0 or not finite:
            raise InputError(
                f"cannot train with {self}: epochs and weight_decay must be 0 or more, batch_size at least 1, "
                "lr above 0"
            )
        if self.patience is not None and self.patience < 1:
            raise InputError(f"patience is a number of epochs, at least 1, or None, not {self.patience}")

    def optimize(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        if self.optimizer == "sgd":
            return _DecayedSGD(parameters, self.lr, self.weight_decay)
        return torch.optim.AdamW(parameters, self.lr, weight_decay=self.weight_decay, fused=True)

    def schedule(self, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
        """The learning rate of so many steps (Smith 2018)."""
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.lr, total_steps=steps, pct_start=WARM_UP, cycle_momentum=self.optimizer == "adamw"
        )


class _DecayedSGD(torch.optim.SGD):
    """Gradient descent with momentum and decoupled weight decay (Loshchilov and Hutter 2019, algorithm 1).

    As the decay is no part of the gradient, momentum does not multiply it.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, decay: float) -> None:
        super().__init__(parameters, lr, momentum=0.9, nesterov=True, fused=True)
        self.decay = decay

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            torch._foreach_mul_(moved, 1 - group["lr"] * self.decay)
        return super().step(closure)


RECIPES: dict[str, Recipe] = {
    "lenet-5": Recipe(epochs=14, lr=4e-3, weight_decay=0.05),
    "cnn-32-64": Recipe(epochs=8, batch_size=128, weight_decay=0.05),
    "cnn-1d": Recipe(batch_size=64, weight_decay=0.05),
    "transformer-1d": Recipe(batch_size=64, weight_decay=0.05),
}
"""Recipes of the architectures for which the default is not the best found on validation data."""


def recipe_for(architecture: str, **changes: Any) -> Recipe:
    """The default recipe of an architecture, with every change that is not None."""
    return replace(RECIPES.get(architecture, Recipe()), **{k: v for k, v in changes.items() if v is not None})
