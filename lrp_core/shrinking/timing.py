"""How long a network takes for one input, for a budget in milliseconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer


def forward_milliseconds(network: nn.Module, example: Tensor, *, seconds: float = 0.1) -> float:
    """The median time of one forward pass on one thread, in milliseconds, measured for about so many `seconds`."""
    network = network.eval()
    with torch.inference_mode():
        timer = Timer("network(example)", globals={"network": network, "example": example}, num_threads=1)
        return 1e3 * float(timer.blocked_autorange(min_run_time=seconds).median)
