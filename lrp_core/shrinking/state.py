"""A network on its way down: what is left of it, and the rows as it takes them."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..models import spec_of
from ..pruning import PixelMask, PrunedNetwork, prune_inputs, shrink
from ..pruning.coupling import Coupling
from ..pruning.crop import slice_dense
from ..pruning.shrinking import widths_without
from ..training import Encode, selects_pixels


@dataclass(frozen=True, eq=False)
class State:
    """`network` with the units of `coupling` that are left, where `removed` are gone of those of the `full` one.

    A sequence that starts with a dense layer takes the kept inputs alone ([n, k], `sliced`); any other one takes full
    inputs, in which removed ones are 0.
    """

    full: nn.Module
    whole: Coupling
    shape: tuple[int, ...]
    network: nn.Module
    coupling: Coupling
    removed: Tensor
    sliced: bool

    @classmethod
    def start(cls, network: nn.Module, coupling: Coupling, shape: tuple[int, ...]) -> State:
        """Nothing removed yet."""
        body = slice_dense(network, PixelMask.full(shape), 0.0)
        removed = torch.zeros(coupling.n_units, dtype=torch.bool)
        sliced = body is not None
        return cls(network, coupling, shape, body or copy.deepcopy(network), coupling, removed, sliced)

    @property
    def present(self) -> Tensor:
        """Which units are left, bool [n_units]."""
        return ~self.removed

    @property
    def mask(self) -> PixelMask:
        """The inputs that are left."""
        gone = torch.cat([self.removed, torch.zeros(1, dtype=torch.bool)])
        return PixelMask((~gone[self.whole.inputs]).nonzero().flatten(), self.shape)

    def without(self, units: Tensor, means: Mapping[str, Tensor] | None = None) -> State:
        """What is left after more units went, bool [n_units]; with `means`, hidden ones leave theirs behind."""
        is_input = self.whole.is_input
        hidden = units & ~is_input
        network, coupling = self.network, self.coupling
        if bool(hidden.any()):
            network, coupling = shrink(network, coupling, hidden, means=means), coupling.only(~hidden)
        if bool((units & is_input).any()):
            gone = torch.cat([units, torch.zeros(1, dtype=torch.bool)])
            kept = (~gone[coupling.inputs]).nonzero().flatten()
            if self.sliced:
                body = slice_dense(network, PixelMask(kept, (len(coupling.inputs),)), 0.0)
                assert body is not None, "what was a sequence stays one"
                network, coupling = body, coupling.only(~units)
        return replace(self, network=network, coupling=coupling, removed=self.removed | units)

    def encode(self, images: Tensor) -> Tensor:
        """What the network takes of full inputs [n, *shape]."""
        mask = self.mask
        if self.sliced:
            return mask.apply(images)
        return images if len(mask) == mask.n_inputs else mask.remove(images)

    @property
    def encoding(self) -> Encode | None:
        """`encode` for training; None where the network takes inputs as they are."""
        if not self.sliced and len(self.mask) == self.mask.n_inputs:
            return None
        mask, sliced = self.mask, self.sliced

        @selects_pixels
        def pick(images: Tensor) -> Tensor:
            return mask.apply(images) if sliced else mask.remove(images)

        return pick

    def trained(self, network: nn.Module) -> State:
        """The same with other weights."""
        return replace(self, network=network)

    def small(self) -> nn.Module:
        """The smaller network: one of kept inputs, or where all are kept, one of the full network's class."""
        widths = widths_without(self.whole, self.removed)
        mask = self.mask
        if len(mask) == mask.n_inputs:
            network = self._of_full()
            if widths:
                vars(network)["widths"] = widths
            return network
        if not self.sliced:
            small = prune_inputs(self.network, mask)
            small.widths = widths
            return small.eval()
        like = prune_inputs(self.full, mask)
        body = nn.Sequential(OrderedDict(self.network.named_children()))
        small = PrunedNetwork(body, mask, 0.0, "sliced", spec_of(self.full), like.layers, like.made_from, widths)
        return small.eval()

    def _of_full(self) -> nn.Module:
        """The network on all inputs, of the full network's class."""
        hidden = self.removed & ~self.whole.is_input
        if not self.sliced:
            return copy.deepcopy(self.network).eval()
        network = shrink(self.full, self.whole, hidden)
        network.load_state_dict(self.network.state_dict())
        return network.eval()
