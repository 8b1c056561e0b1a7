"""The networks that are measured, checked, and what they are given."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..models import count_outputs
from ..pruning import PixelMask, PrunedNetwork
from . import runtimes
from .cost import Cost, measure_cost
from .speed import Name


@dataclass(frozen=True)
class Subject:
    """A network in evaluation mode with what it reads of full inputs of `shape`; `mask` None for all of it."""

    name: Name
    network: nn.Module
    shape: tuple[int, ...]
    mask: PixelMask | None
    n_outputs: int
    cost: Cost

    def inputs(self, batch: int, full: bool) -> Tensor:
        """Random inputs as the network takes them, or `full` ones."""
        random = torch.Generator().manual_seed(0)
        dtype = next((p.dtype for p in self.network.parameters()), torch.float32)
        x = torch.rand(batch, *self.shape, generator=random).to(dtype)
        return x if full or self.mask is None else self.mask.apply(x).contiguous()

    def picked(self, network: nn.Module) -> nn.Module:
        """`network` behind the picking."""
        assert self.mask is not None
        return runtimes.Picking(network, self.mask).eval()


def make_subjects(
    small: nn.Module, full: nn.Module | None, mask: PixelMask | None, shape: tuple[int, ...]
) -> tuple[Subject, ...]:
    """Both networks, checked. Raises `InputError` for what cannot be compared."""
    if isinstance(small, PrunedNetwork):
        if mask is not None:
            raise InputError("the smaller network says itself what it reads: leave out the mask")
        mask = small.mask
    if mask is not None and mask.shape != shape:
        raise InputError(f"the smaller network reads inputs of shape {mask.shape}, and {shape} was given")
    networks: list[tuple[Name, nn.Module, PixelMask | None]] = [("smaller", small, mask)]
    if full is not None:
        networks.insert(0, ("full", full, None))
    subjects = []
    for name, network, reads in networks:
        twin = copy.deepcopy(network).cpu().eval().requires_grad_(False)
        own = shape if reads is None else (len(reads),)
        subjects.append(Subject(name, twin, shape, reads, count_outputs(twin, own), measure_cost(twin, own)))
    if len(outputs := sorted({one.n_outputs for one in subjects})) > 1:
        raise InputError(f"the networks give {outputs[0]} and {outputs[1]} outputs: compare those of one task")
    return tuple(subjects)
