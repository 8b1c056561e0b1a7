"""What the layers of a pruned network do with relevance: the operations that they are registered as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ..lrp.operations import Back, Operation

if TYPE_CHECKING:
    from .layers import Frame, Scatter


@dataclass(frozen=True, eq=False)
class Scattering(Operation):
    """Kept pixels onto their canvas: relevance of the filled places is dropped, as they are no inputs."""

    layer: Scatter

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        return self.layer.forward(a), lambda r: [r.at(a, self.layer.gather)]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0] and self.layer.fill >= 0


@dataclass(frozen=True, eq=False)
class Framing(Operation):
    """A map set into a constant surround: relevance of the surround is absorbed, like that of a bias."""

    layer: Frame

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (a,) = inputs
        return self.layer.forward(a), lambda r: [r.at(a, lambda t: self.layer.crop(t, like=a))]

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return inputs[0] and bool((self.layer.surround >= 0).all())
