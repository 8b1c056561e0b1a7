"""The maths of contests between soft minima, with ways back that divide by nothing that can vanish.

A soft minimum is smin(h) = -1/b log sum_k exp(-b h_k) with the stiffness b; None for b stands for the least value.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def soft_min(h: Tensor, stiffness: float | None) -> Tensor:
    """smin over the last axis, [n, k] -> [n]."""
    return h.amin(-1) if stiffness is None else torch.logsumexp(-stiffness * h, -1) / -stiffness


def soft_min_weights(h: Tensor, stiffness: float | None) -> Tensor:
    """The slopes of smin, [n, k] in the shape of h: they are not negative and sum to 1; the first of equals has all."""
    if stiffness is None:
        return torch.zeros_like(h).scatter_(-1, h.argmin(-1, keepdim=True), 1.0)
    return torch.softmax(-stiffness * h, -1)


def others_of(h: Tensor, stiffness: float | None) -> Tensor:
    """For each of k values the soft mean-minimum of the others, [n, k] -> [n, k].

    -1/b log of the *mean* of exp(-b h): a sum would make the winner of a contest negative near a border.
    """
    is_least = _is_least(h)
    if stiffness is None:
        second = h.masked_fill(is_least, torch.inf).amin(-1, keepdim=True)
        return torch.where(is_least, second, h.amin(-1, keepdim=True))
    s = -stiffness * h
    total = torch.logsumexp(s, -1, keepdim=True)
    rest = torch.logsumexp(s.masked_fill(is_least, -torch.inf), -1, keepdim=True)
    # Without a value that is not the least one, at least half of the sum is left, so that this is well conditioned.
    share = (s - total).masked_fill(is_least, -torch.inf).exp()
    # All that are equal to the least one get the same, to the last bit.
    return (
        torch.where(h == h.amin(-1, keepdim=True), rest, total + torch.log1p(-share)) - math.log(h.shape[-1] - 1)
    ) / -stiffness


def others_back(h: Tensor, factors: Tensor, stiffness: float | None) -> Tensor:
    """sum_g factors_g d(others_of(h)_g) / dh_k, [n, k] for factors [n, k]."""
    is_least = _is_least(h)
    of_least = factors.masked_fill(~is_least, 0).sum(-1, keepdim=True)
    of_rest = factors.masked_fill(is_least, 0)
    rest = h.masked_fill(is_least, torch.inf)
    back = of_least * soft_min_weights(rest, stiffness)
    if stiffness is None:
        return back + is_least * of_rest.sum(-1, keepdim=True)
    p = soft_min_weights(h, stiffness)
    scaled = of_rest / (1 - p).masked_fill(is_least, 1)
    return back + p * (scaled.sum(-1, keepdim=True) - scaled)


def _is_least(h: Tensor) -> Tensor:
    """True at the least value of each row, the first one where several are equal."""
    places = torch.arange(h.shape[-1], device=h.device)
    return places == h.argmin(-1, keepdim=True)


def lifted(z: Tensor, winner: Tensor) -> Tensor:
    """What has to be added to scores z [n, k] for `winner` [n] to have the largest one: 0 where it has it already."""
    top = z.amax(1)
    own = z.gather(1, winner[:, None])[:, 0]
    step = 16 * torch.finfo(z.dtype).eps * (1 + top.abs())
    lift = torch.where(z.argmax(1) == winner, torch.zeros_like(top), top - own + step)
    return torch.zeros_like(z).scatter(1, winner[:, None], lift[:, None])
