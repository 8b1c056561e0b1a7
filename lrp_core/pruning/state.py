"""A network on its way down: what is left of it, and the rows as it takes them."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models import count_outputs, spec_of
from ..training import Encode, selects_pixels
from .crop import slice_dense
from .mask import PixelMask
from .network import PrunedNetwork, loses_columns, prune_inputs
from .shrinking import shrink, widths_of, widths_without
from .units import Coupling


@dataclass(frozen=True, eq=False)
class State:
    """`network` with the units of `coupling` that are left, where `removed` are gone of those of the `full` one.

    A network that starts with dense layers on every path takes the kept inputs alone ([n, k], `sliced`); any other one
    takes full inputs, in which removed ones are 0. So does one that is no plain sequence if its layers are to shrink
    (`whole_modules`): what slices it gives them other names.
    """

    full: nn.Module
    whole: Coupling
    shape: tuple[int, ...]
    network: nn.Module
    coupling: Coupling
    removed: Tensor
    sliced: bool

    @classmethod
    def start(cls, network: nn.Module, coupling: Coupling, shape: tuple[int, ...], *, whole_modules: bool) -> State:
        """Nothing removed yet. With `whole_modules`, only sequences are cut, so that a module stays of its class."""
        is_plain = slice_dense(network, PixelMask.full(shape), 0.0) is not None
        sliced = is_plain if whole_modules else loses_columns(network, shape)
        body = _on(network, PixelMask.full(shape)) if sliced else copy.deepcopy(network)
        removed = torch.zeros(coupling.n_units, dtype=torch.bool)
        return cls(network, coupling, shape, body, coupling, removed, sliced)

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
                network = _on(network, PixelMask(kept, (len(coupling.inputs),)))
                coupling = coupling.only(~units)
        return replace(self, network=network, coupling=coupling, removed=self.removed | units)

    def encode(self, images: Tensor) -> Tensor:
        """What the network takes of full inputs [n, ...]."""
        return self.encoding(images)

    @cached_property
    def encoding(self) -> Encode:
        """`encode`, which says of itself whether it only picks pixels."""
        mask, sliced = self.mask, self.sliced

        def pick(images: Tensor) -> Tensor:
            images = images.reshape(len(images), *mask.shape)
            if sliced:
                return mask.apply(images)
            return images if len(mask) == mask.n_inputs else mask.remove(images)

        return selects_pixels(pick) if sliced or len(mask) == mask.n_inputs else pick

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


def shape_taken(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which `network` takes inputs of `shape`: its own, if it says one.

    Raises `InputError` for a network that does not take them, or that is pruned already.
    """
    if isinstance(network, PrunedNetwork) or widths_of(network):
        raise InputError("the network is pruned already: prune the full one, that it was made from")
    spec = spec_of(network)
    if spec is None:
        count_outputs(network, shape)
        return shape
    if math.prod(spec.shape) != math.prod(shape):
        raise InputError(f"the network is for inputs of shape {spec.shape}, the images are {shape}")
    return spec.shape


def _on(network: nn.Module, mask: PixelMask) -> nn.Module:
    """A copy of a network that takes the kept inputs alone."""
    sequence = slice_dense(network, mask, 0.0)
    return prune_inputs(network, mask).body.train(network.training) if sequence is None else sequence
