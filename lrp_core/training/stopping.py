"""When training stops early, and the weights that it gives back then."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from .dense import DenseChain
from .feeding import loss_of, to_floats


class Held:
    """Held-out rows, the lowest loss on them after an epoch so far, and the weights of that epoch.

    `inputs` are what the network takes, or bytes of it, and `labels` [n] their classes, or numbers.
    """

    def __init__(self, inputs: Tensor, labels: Tensor, patience: int) -> None:
        self.inputs, self.labels, self.patience = inputs, labels, patience
        self.lowest = math.inf
        self.best: dict[str, Any] | None = None
        self.epochs_since = 0

    def is_over(self, network: nn.Module, chain: DenseChain | None = None) -> bool:
        """Whether `patience` epochs in a row were no better than one before; called after each epoch.

        `chain` holds the weights of a network whose layers do not have them yet.
        """
        if chain is not None:
            chain.write_back()
        loss = self.loss(network)
        if loss < self.lowest:
            self.lowest, self.best, self.epochs_since = loss, copy.deepcopy(network.state_dict()), 0
        else:
            self.epochs_since += 1
        return self.epochs_since >= self.patience

    @torch.no_grad()
    def loss(self, network: nn.Module, batch_size: int = 1000) -> float:
        """The mean loss in evaluation mode; the network is put back into training mode."""
        network.eval()
        total = torch.zeros((), dtype=torch.float64)
        for x, y in zip(*(torch.split(rows, batch_size) for rows in (self.inputs, self.labels)), strict=True):
            total += loss_of(network(to_floats(x)), y, "sum").cpu()
        network.train()
        return float(total) / len(self.labels)

    def restore(self, network: nn.Module) -> None:
        """Give `network` the weights of the best epoch, or leave it if no loss was finite."""
        if self.best is not None:
            network.load_state_dict(self.best)
