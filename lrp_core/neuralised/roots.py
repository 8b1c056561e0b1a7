"""Where a function of many inputs is zero, on the line between two of its arguments."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

CLOSE = 1e-9
"""A root is found where |f| is below this share of the larger |f| at the two ends."""

STEPS = 100


def root_between(
    x: Float[Tensor, "n d"],
    f: Float[Tensor, " n"],
    other: Float[Tensor, "n d"],
    function: Callable[[Tensor], Tensor],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """For each row a point on the line from `x`, where the function is `f`, to `other`, and the function there.

    It is zero but for rounding if the signs at the ends differ, and else the end at `other`. The interval shrinks by
    the rule of false position in its Illinois form (Dowell and Jarratt 1971), which halves the value at an end that
    stays.
    """
    near, far = torch.zeros_like(f), torch.ones_like(f)
    at_near, at_far = f.clone(), function(other)
    found, at_found = far.clone(), at_far.clone()
    scale = CLOSE * torch.maximum(at_near.abs(), at_far.abs())
    open_ = ((at_near > 0) != (at_far > 0)) & (at_far != 0)
    for _ in range(STEPS):
        rows = open_.nonzero()[:, 0]
        if not len(rows):
            break
        a, b, at_a, at_b = near[rows], far[rows], at_near[rows], at_far[rows]
        middle = b - at_b * (b - a) / (at_b - at_a)
        value = function(torch.lerp(x[rows], other[rows], middle[:, None]))
        found[rows], at_found[rows] = middle, value
        stays = (value > 0) == (at_b > 0)
        near[rows] = torch.where(stays, a, b)
        at_near[rows] = torch.where(stays, at_a / 2, at_b)
        far[rows], at_far[rows] = middle, value
        open_[rows] = (value.abs() > scale[rows]) & (near[rows] != far[rows])
    return torch.lerp(x, other, found[:, None]), at_found
