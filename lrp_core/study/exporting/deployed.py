"""A network as others run it: raw numbers go in, and what takes them apart stands in front of it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...data import Dataset, Target
from ...pruning import PrunedNetwork

Kind = Literal["kept", "full"]

ROWS, VALUES = 1000, 2**24
"""At most so many rows are run to check a file, of at most so many numbers together."""


class Deployed(nn.Module):
    """A network with its own standardisation: raw inputs -> logits, or the number that is predicted, float64.

    Takes the kept inputs [n, k], or with `kind` "full" all of them [n, *shape], of which it picks the kept ones. It is
    a copy on the CPU in float32. A network on all inputs takes them in their shape for either kind.
    """

    def __init__(self, network: nn.Module, data: Dataset, kind: Kind) -> None:
        super().__init__()
        twin = copy.deepcopy(network).cpu().eval().requires_grad_(False)
        self.network = twin.float() if any(p.dtype == torch.float64 for p in twin.parameters()) else twin
        self.kept: Tensor | None
        self.mean: Tensor | None
        self.scale: Tensor
        kept = network.mask.indices.cpu() if isinstance(network, PrunedNetwork) else None
        self.register_buffer("kept", kept if kind == "full" else None)
        mean, scale = standardisation(data) or (None, None)
        if kept is not None and mean is not None and scale is not None:
            mean, scale = mean.flatten()[kept], scale.flatten()[kept]
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.target = data.target

    def forward(self, inputs: Tensor) -> Tensor:
        if self.kept is not None:
            inputs = inputs.flatten(1).index_select(1, self.kept)
        if self.mean is not None:
            inputs = ((inputs.double() - self.mean) / self.scale).float()
        outputs: Tensor = self.network(inputs)
        return outputs if self.target is None else outputs.double() * self.target.scale + self.target.mean


def standardisation(data: Dataset) -> tuple[Tensor, Tensor] | None:
    """Mean and scale of each input, float64 [*shape] both; None where nothing is taken off the inputs."""
    if data.scaler is None:
        return None
    own = data.shape if len(data.scaler.mean) == data.n_inputs else (data.shape[0], *[1] * (len(data.shape) - 1))
    parts = (torch.tensor(part, dtype=torch.float64) for part in (data.scaler.mean, data.scaler.scale))
    mean, scale = (part.view(own).expand(data.shape).contiguous() for part in parts)
    return mean, scale


@dataclass(frozen=True, eq=False)
class Probe:
    """Validation rows to check files with, and what the network in memory says of them.

    `raw` [n, *shape] are the numbers that the data held, float32; `kept` the same as `Deployed` takes the kept ones;
    `encoded` what the network itself takes, `logits` [n, outputs] its answers.
    """

    raw: Tensor
    kept: Tensor
    encoded: Tensor
    logits: Tensor
    target: Target | None

    @classmethod
    def of(cls, network: nn.Module, data: Dataset) -> Probe:
        """Rows spread over the validation split; over the test split if the other one is empty."""
        split = data.validation if len(data.validation) else data.test
        n = min(ROWS, len(split), max(10, VALUES // data.n_inputs))
        inputs = split.take(torch.linspace(0, len(split) - 1, n).round().long()).inputs
        raw = data.scaler.restore(inputs) if data.scaler else inputs.float()
        pruned = network if isinstance(network, PrunedNetwork) else None
        # Of the raw numbers, once more: in float32 they do not bring back the standardised ones to the last bit.
        inputs = data.scaler.apply(raw) if data.scaler else raw
        encoded = (pruned.encode(inputs) if pruned else inputs).contiguous()
        twin = copy.deepcopy(network).cpu().eval()
        encoded = encoded.to(next(twin.parameters(), encoded).dtype)
        logits = in_batches(twin, encoded)
        kept = raw.flatten(1)[:, pruned.mask.indices.cpu()].contiguous() if pruned else raw
        return cls(raw, kept, encoded, logits, data.target)

    def __len__(self) -> int:
        return len(self.raw)

    def fewer(self, n: int) -> Probe:
        """At most `n` of the rows, spread over all of them."""
        rows = torch.linspace(0, len(self) - 1, min(n, len(self))).round().long()
        return Probe(self.raw[rows], self.kept[rows], self.encoded[rows], self.logits[rows], self.target)

    def distance(self, logits: Tensor) -> float:
        """The largest difference of a file's logits from the network's, relative to the largest of these."""
        if logits.shape != self.logits.shape or not bool(torch.isfinite(logits).all()):
            return math.inf
        largest = float(self.logits.abs().max())
        return float((logits.double() - self.logits.double()).abs().max()) / (largest or 1.0)

    def distance_of_answers(self, answers: Tensor) -> float:
        """The same of answers in their own unit; numbers are put back into the unit of the network first."""
        if self.target is None:
            return self.distance(answers)
        return self.distance((answers.double() - self.target.mean) / self.target.scale)


@torch.no_grad()
def in_batches(run: Any, inputs: Tensor) -> Tensor:
    """What `run` gives for inputs in batches of several sizes, one of a single row among them."""
    rest = torch.split(inputs[1:], 250) if len(inputs) > 1 else ()
    return torch.cat([run(batch) for batch in (inputs[:1], *rest)])
