"""A network's output while its input is taken away step by step, without computing anything twice.

A step that removes only pixels which already have their fill changes nothing, and is not computed: with MNIST's black
background that is most of them. Where a dense layer comes first, its sums are carried from step to step, and
only what changed is added.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from ..training import one_thread
from .fills import Fill

_POINTS = 2**13
"""How many sums of the first layer are held at once: few enough to stay near the processor."""


@torch.inference_mode()
def logits_by_step(
    network: nn.Module,
    images: Float[Tensor, "n *shape"],
    steps: Int64[Tensor, "n inputs"],
    n_steps: int,
    fill: Fill,
    *,
    batch_size: int = 1000,
) -> tuple[Float[Tensor, "computed classes"], Int64[Tensor, "n points"]]:
    """Logits of each image with nothing removed and after every one of `n_steps` steps, each different one once.

    The first tensor holds them, the second tells which of its rows is that of image i at point k: `logits[which]` is
    [n, points, classes]. `steps` [n, inputs] says in which step, 1 to n_steps, an input goes; a larger number is never.
    `network` is to be in evaluation mode; `batch_size` images at most are computed at once.
    """
    effective = steps.where(fill.changes(images).flatten(1), n_steps + 1).clamp(max=n_steps + 1)
    changed = torch.zeros(len(images), n_steps + 2, dtype=torch.bool).scatter_(1, effective, True)[:, :-1].contiguous()
    changed[:, 0] = True
    dense = None if fill.depends_on_mask else _dense_first(network)
    if dense is None:
        logits = _by_image(network, images, steps, fill, changed, batch_size)
    else:
        logits = _by_difference(*dense, images, effective, n_steps, fill, changed)
    which = changed.flatten().cumsum(0).view(changed.shape) - 1  # the latest that is computed, as point 0 always is
    return logits.clone(), which.clone()


def _by_image(
    network: nn.Module, images: Tensor, steps: Tensor, fill: Fill, changed: Tensor, batch_size: int
) -> Tensor:
    """Logits wherever `changed` [n, points] holds, image by image: every such input is made and computed."""
    logits = []
    for part in torch.split(changed.nonzero(), batch_size):
        rows, points = part.T
        removed = (steps[rows] <= points[:, None]).view(-1, *images.shape[1:])
        logits.append(network(fill.take(rows).apply(images[rows], removed)))
    return torch.cat(logits)


@one_thread()  # thousands of small sums: threads would wait for each other longer than they work
def _by_difference(
    first: nn.Linear, rest: nn.Module, images: Tensor, steps: Tensor, n_steps: int, fill: Fill, changed: Tensor
) -> Tensor:
    """The same for a network whose first layer is dense, with that layer's sums carried along.

    Point by point, the sums are those of the point before plus the weights of what changed, times how much.
    """
    x = images.flatten(1)
    difference = fill.values.flatten(1) - x
    weight = first.weight.T.contiguous()
    place = changed.cumsum(1) - 1  # of each point among those of its image that are computed
    most = int(place.max()) + 1
    at_once = max(1, _POINTS // most)
    logits = []
    for at in range(0, len(x), at_once):
        part = slice(at, at + at_once)
        n = len(x[part])
        rows, inputs = (steps[part] <= n_steps).nonzero().T
        bag = rows * most + place[part][rows, steps[part][rows, inputs]]
        in_order = bag.to(torch.int16 if n * most < 2**15 else torch.int64).argsort(stable=True)  # short keys sort fast
        rows, inputs = rows[in_order], inputs[in_order]
        sizes = bag.bincount(minlength=n * most)
        sums = F.embedding_bag(
            inputs, weight, sizes.cumsum(0) - sizes, mode="sum", per_sample_weights=difference[part][rows, inputs]
        ).view(n, most, -1)
        sums[:, 0] = first(x[part])
        for point in range(1, most):
            sums[:, point] += sums[:, point - 1]
        image, at_point = changed[part].nonzero().T
        logits.append(rest(sums[image, place[part][image, at_point]]))
    return torch.cat(logits)


def _dense_first(network: nn.Module) -> tuple[nn.Linear, nn.Module] | None:
    """The first layer and the rest of a plain sequence that begins with a dense layer, else None."""
    if not isinstance(network, nn.Sequential) or type(network).forward is not nn.Sequential.forward:
        return None
    layers = list(network)
    if layers and isinstance(layers[0], nn.Flatten) and (layers[0].start_dim, layers[0].end_dim) == (1, -1):
        layers = layers[1:]
    if not layers or type(layers[0]) is not nn.Linear:
        return None
    return layers[0], nn.Sequential(*layers[1:])
