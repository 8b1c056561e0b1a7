"""The layers that torch lacks and that networks on a part of their inputs need."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import InputError
from ..lrp import register
from ..lrp.operations import Rearrangement
from .explained import Framing, Scattering


class Scatter(nn.Module):
    """Put kept inputs back into their places on a canvas: [n, k] -> [n, *shape].

    `positions` [k] are flat indices into the canvas; every other place holds `fill`.
    """

    positions: Tensor

    def __init__(self, positions: Tensor, shape: Sequence[int], fill: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("positions", positions.clone(), persistent=False)
        self.shape = tuple(shape)
        self.fill = fill

    def forward(self, kept: Tensor) -> Tensor:
        if kept.shape[1:] != self.positions.shape:
            raise InputError(f"expected kept pixels of shape [n, {len(self.positions)}], not {tuple(kept.shape)}")
        canvas = kept.new_full((kept.shape[0], *self.shape), self.fill)
        canvas.flatten(1)[:, self.positions] = kept
        return canvas

    def gather(self, canvas: Tensor) -> Tensor:
        """The kept places of a canvas: the adjoint of `forward`, [n, *shape] -> [n, k]."""
        return canvas.flatten(1)[:, self.positions]

    def extra_repr(self) -> str:
        return f"{len(self.positions)} pixels -> {self.shape}, fill={self.fill}"


class Frame(nn.Module):
    """Set a feature map into a larger one that is constant: [n, c, h, w] -> [n, c, H, W], or [n, c, l] -> [n, c, L].

    `surround` [c, H, W] or [c, L] holds the constant; the map goes to rows and columns, or steps, from `starts` on.
    """

    surround: Tensor

    def __init__(self, surround: Tensor, *starts: int) -> None:
        super().__init__()
        self.register_buffer("surround", surround.clone())
        self.starts = starts

    def forward(self, features: Tensor) -> Tensor:
        framed = self.surround.expand(features.shape[0], *self.surround.shape).clone()
        self._window(framed, features).copy_(features)
        return framed

    def crop(self, framed: Tensor, like: Tensor) -> Tensor:
        """The part of `framed` where a map of the size of `like` was set in: the adjoint of `forward`."""
        return self._window(framed, like)

    def _window(self, framed: Tensor, like: Tensor) -> Tensor:
        sizes = like.shape[-len(self.starts) :]
        window = [slice(start, start + size) for start, size in zip(self.starts, sizes, strict=True)]
        return framed[(slice(None), slice(None), *window)]

    def extra_repr(self) -> str:
        return f"into {tuple(self.surround.shape)} at {self.starts}"


class Gather(nn.Module):
    """Some of the kept inputs, in the order in which a layer reads them: [n, k] -> [n, m].

    `positions` [m] count the kept inputs from 0; one may stand there more than once.
    """

    positions: Tensor

    def __init__(self, positions: Tensor) -> None:
        super().__init__()
        self.register_buffer("positions", positions.clone(), persistent=False)

    def forward(self, kept: Tensor) -> Tensor:
        return kept.index_select(1, self.positions)

    def extra_repr(self) -> str:
        return f"{len(self.positions)} inputs"


def _rearrangement(layer: Gather) -> Rearrangement:
    return Rearrangement(layer.forward)


register(Scatter, Scattering)
register(Frame, Framing)
register(Gather, _rearrangement)
