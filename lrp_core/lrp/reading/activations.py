"""The element-wise activations, each once: as a module, and by the names of its functions and methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Elementwise:
    """An activation: the name of its function, its modules, and whether its output is never negative."""

    name: str
    modules: tuple[type[nn.Module], ...]
    never_negative: bool = False
    other_names: tuple[str, ...] = ()

    @property
    def function(self) -> Callable[..., Any]:
        """Of torch.nn.functional, or of torch."""
        function: Callable[..., Any] = getattr(F, self.name, None) or getattr(torch, self.name)
        return function


ELEMENTWISE: tuple[Elementwise, ...] = (
    Elementwise("relu6", (nn.ReLU6,), never_negative=True),
    Elementwise("leaky_relu", (nn.LeakyReLU,)),
    Elementwise("rrelu", (nn.RReLU,)),
    Elementwise("elu", (nn.ELU,)),
    Elementwise("selu", (nn.SELU,)),
    Elementwise("celu", (nn.CELU,)),
    Elementwise("gelu", (nn.GELU,)),
    Elementwise("silu", (nn.SiLU,)),
    Elementwise("mish", (nn.Mish,)),
    Elementwise("tanh", (nn.Tanh,)),
    Elementwise("sigmoid", (nn.Sigmoid,), never_negative=True),
    Elementwise("hardtanh", (nn.Hardtanh,)),
    Elementwise("hardswish", (nn.Hardswish,)),
    Elementwise("hardsigmoid", (nn.Hardsigmoid,), never_negative=True),
    Elementwise("softplus", (nn.Softplus,), never_negative=True),
    Elementwise("softsign", (nn.Softsign,)),
    Elementwise("logsigmoid", (nn.LogSigmoid,), other_names=("log_sigmoid",)),
    Elementwise("softshrink", (nn.Softshrink,)),
    Elementwise("hardshrink", (nn.Hardshrink,)),
    Elementwise("tanhshrink", (nn.Tanhshrink,)),
    Elementwise("threshold", (nn.Threshold,)),
)

MODULES: tuple[type[nn.Module], ...] = tuple(module for entry in ELEMENTWISE for module in entry.modules)

BY_NAME: dict[str, Elementwise] = {name: entry for entry in ELEMENTWISE for name in (entry.name, *entry.other_names)}


def of_module(module: nn.Module) -> Elementwise | None:
    """The activation that a module is."""
    return next((entry for entry in ELEMENTWISE if isinstance(module, entry.modules)), None)
