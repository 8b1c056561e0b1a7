"""What each input contributed to one classification by the gradients that relevance has to beat."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..lrp.given import refusing_misfits
from ..lrp.starts import start_relevance
from ..seeds import generator

PATH_STEPS = 32
"""How many gradients approximate the integral of integrated gradients."""

SMOOTHGRAD_SAMPLES = 32
SMOOTHGRAD_NOISE = 0.15
"""Standard deviation of SmoothGrad's noise, with pixels in [0, 1]: 10 to 20 % of the range (Smilkov et al. 2017)."""

Attribute = Callable[[Tensor, Tensor | None, str], Tensor]
"""Inputs [n, *shape], the class of each [n] (None: the predicted one), a start -> contributions [n, *shape]."""

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


def smoothgrad(images: Tensor, slope: Slope, seed: int = 0) -> Tensor:
    """The mean of df/dx over noisy copies of each image (Smilkov et al. 2017); the noise is the same for all images."""
    random = generator(seed, "smoothgrad")
    noise = SMOOTHGRAD_NOISE * torch.randn(SMOOTHGRAD_SAMPLES, *images.shape[1:], generator=random).to(images.dtype)
    total = torch.zeros_like(images)
    for one in noise:
        total += slope(images + one.to(images.device))
    return total.div_(SMOOTHGRAD_SAMPLES)


def explain_by(attribution: Callable[[Tensor, Slope], Tensor], model: nn.Module) -> Attribute:
    """What explains images by a gradient; prepared once, so that later changes of the model are not seen.

    f is what the start names: the explained logit ("logit" and "one-hot"), that minus the best other ("contrast"), or
    minus the logsumexp of the others ("log-odds").
    """
    network = copy.deepcopy(model).eval().requires_grad_(False)

    def attribute(images: Tensor, labels: Tensor | None, start: str) -> Tensor:
        if labels is None:
            with torch.no_grad(), refusing_misfits(images):
                outputs = network(images)
            labels = outputs.argmax(1) if outputs.shape[1] > 1 else None  # a single output explains itself
        return attribution(images.detach(), slope_of(network, labels, start))

    return attribute


def slope_of(network: nn.Module, labels: Tensor | None, start: str) -> Slope:
    """The gradient of what `start` names for the classes `labels` [n], or of a single output, by the images."""

    @torch.enable_grad()
    def slope(images: Tensor) -> Tensor:
        # A tensor made in inference mode has no gradient, a copy has one.
        x = (images.clone() if images.is_inference() else images.detach()).requires_grad_()
        with refusing_misfits(x):
            logits = network(x)
        # A named start gives every logit z the relevance z df/dz, as a product: the factor is what is needed here.
        factor = start_relevance(logits.detach(), labels, start)[1].tensor
        gradient: Tensor = torch.autograd.grad(logits, x, factor)[0]
        return gradient

    return slope
