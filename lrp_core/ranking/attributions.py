"""What each input contributed to one classification: by relevance, or by the gradients that it has to beat."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..lrp import Composite, Explainer
from ..lrp.starts import start_relevance

PATH_STEPS = 16
"""How many gradients approximate the integral of integrated gradients."""

Attribute = Callable[[Tensor, Tensor, str], Tensor]
"""Images [n, *shape], the class of each [n] and a start -> the contribution of every input [n, *shape]."""

Slope = Callable[[Tensor], Tensor]
"""Images -> the gradient of what is explained, in their shape."""


def gradient(images: Tensor, slope: Slope) -> Tensor:
    """df/dx (Simonyan et al. 2014)."""
    return slope(images)


def gradient_x_input(images: Tensor, slope: Slope) -> Tensor:
    """x df/dx (Shrikumar et al. 2016)."""
    return images * slope(images)


def integrated_gradients(images: Tensor, slope: Slope, steps: int = PATH_STEPS) -> Tensor:
    """x times the mean of df/dx on the straight way from zero to x (Sundararajan et al. 2017, eq. 1).

    The integral is taken by the midpoint rule: its sum over the inputs is f(x) - f(0) up to an error that falls with
    `steps`. One gradient at a time is held.
    """
    total = torch.zeros_like(images)
    for step in range(steps):
        total += slope(images * ((step + 0.5) / steps))
    return images * total.div_(steps)


ATTRIBUTIONS: dict[str, Callable[[Tensor, Slope], Tensor]] = {
    "gradient": gradient,
    "gradient-x-input": gradient_x_input,
    "integrated-gradients": integrated_gradients,
}
"""Controls that explain one image at a time, as LRP does, by autograd."""


def attributor(model: nn.Module, criterion: str | Composite) -> Attribute:
    """What explains images by `criterion`: one of `ATTRIBUTIONS`, or an LRP composite; prepared once for all batches.

    For an attribution, f is what the start names: the explained logit ("logit" and "one-hot"), that minus the best
    other ("contrast"), or minus the logsumexp of the others ("log-odds"). Later changes of the model are not seen.
    """
    if isinstance(criterion, str) and criterion in ATTRIBUTIONS:
        return _ByGradient(_frozen(model), ATTRIBUTIONS[criterion])
    return Explainer(model, criterion).relevance


@dataclass(frozen=True, eq=False)
class _ByGradient:
    """An attribution, and a network whose parameters need no gradient."""

    network: nn.Module
    attribution: Callable[[Tensor, Slope], Tensor]

    def __call__(self, images: Tensor, labels: Tensor, start: str) -> Tensor:
        return self.attribution(images.detach(), slope_of(self.network, labels, start))


def slope_of(network: nn.Module, labels: Tensor, start: str) -> Slope:
    """The gradient of what `start` names for the classes `labels` [n], as a function of the images."""

    @torch.enable_grad()
    def slope(images: Tensor) -> Tensor:
        # Of a tensor made in inference mode no gradient can be had, of a copy it can.
        x = (images.clone() if images.is_inference() else images.detach()).requires_grad_()
        with refusing_misfits(x):
            logits = network(x)
        # A named start gives every logit z the relevance z df/dz, as a product: the factor is what is needed here.
        factor = start_relevance(logits.detach(), labels, start)[1].tensor
        found: Tensor = torch.autograd.grad(logits, x, factor)[0]
        return found

    return slope


@contextmanager
def refusing_misfits(inputs: Tensor) -> Iterator[None]:
    """Turn what torch says of inputs that do not fit a network into an `InputError` of one sentence."""
    try:
        yield
    except (RuntimeError, IndexError) as error:
        raise InputError(
            f"inputs of shape {tuple(inputs.shape)} and type {inputs.dtype} do not fit the network "
            f"({str(error).splitlines()[0]})"
        ) from error


def _frozen(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose parameters need no gradient."""
    return copy.deepcopy(model).eval().requires_grad_(False)
