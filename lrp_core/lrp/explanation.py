"""What an explanation holds: relevance, and what became of it layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Balance:
    """What became of the relevance that arrived at one layer, as sums over the layer, one for each image [n].

    `arrived` at its outputs = `left` at its inputs + what was absorbed by its `bias`, by `epsilon` and by `entropy`, up
    to rounding; the last is that of soft minima. `box` is the part of `left` that z-box gave for the bounds of the box.
    A step other than a layer with weights is listed where it keeps relevance: a number added, a frame or padding set
    around a map; that counts as `bias`. So does what channels that were not chosen keep, with "channels" for a rule.
    """

    layer: str
    rule: str
    arrived: Tensor
    left: Tensor
    bias: Tensor
    epsilon: Tensor
    box: Tensor
    entropy: Tensor

    @property
    def absorbed(self) -> Tensor:
        return self.arrived - self.left


@dataclass(frozen=True, eq=False)
class Explanation:
    """Relevance of one batch.

    `relevance` is that of the inputs and has their shape; `layers` maps every step of the network to the
    relevance at its output; `target` [n] is the explained class (-1 for a start that was given as a tensor),
    `logits` [n, classes] the network's output; `balance` tells, from the first layer to the last, what arrived
    and what became of it; `note` says what the reader of the network has taken off its end, if anything.
    """

    relevance: Tensor
    layers: dict[str, Tensor]
    target: Tensor
    logits: Tensor
    balance: list[Balance]
    note: str = ""
