"""Elimination beside the same, written out: rank, take the least away, train, and rank again."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lrp_core.data import Split
from lrp_core.pruning import PixelMask
from lrp_core.ranking import Elimination, Ranking, eliminate
from lrp_core.ranking.relevance import measure_relevance
from lrp_core.training import Recipe, fit

QUICK = Elimination(drop=0.5, fine_drop=0.5, updates=4, batch_size=8, explained=10)


def bands(shape: tuple[int, ...], n: int = 24) -> Split:
    labels = torch.arange(n) % 3
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))
    x.view(n, 3, -1)[torch.arange(n), labels] += 0.5
    return Split(x, labels)


def dense() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3)).eval()


def columns(network: nn.Sequential, places: Tensor) -> nn.Sequential:
    """A dense network on some of its inputs."""
    first, *rest = list(network)[1:]
    small = nn.Linear(len(places), first.out_features)
    small.weight, small.bias = nn.Parameter(first.weight.detach()[:, places]), first.bias
    return nn.Sequential(nn.Flatten(), small, *rest)


def written_out(network: nn.Sequential, split: Split, seed: int, *, slices: bool) -> list[int]:
    random = torch.Generator().manual_seed(seed)

    def draw(size: int) -> Split:
        return split.take(torch.randperm(len(split), generator=random)[:size])

    def number() -> int:
        return int(torch.randint(2**31, (), generator=random))

    def encode(images: Tensor) -> Tensor:
        return images.flatten(1)[:, left] if slices else PixelMask(left, split.shape).remove(images)

    left, order = torch.arange(math.prod(split.shape)), []
    while True:
        found = measure_relevance(network, draw(QUICK.explained), encode=encode, statistic="mean-square")
        scores = found.mean("mean-square")
        best = Ranking.from_scores("lrp-0", scores if slices else scores[left], (len(left),), seed=number()).order
        keep = len(left) // 2
        order = left[best[keep:]].tolist() + order
        if not keep:
            return order
        stay = best[:keep].sort().values
        network = columns(network, stay) if slices else network
        left = left[stay]
        rows, recipe = draw(QUICK.updates * QUICK.batch_size), Recipe(2, 8, 1.5e-3, 0.01)
        network = fit(network, rows, recipe=recipe, seed=number(), device="cpu", encode=encode)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("make", [dense, convolutional])
def test_it_is_what_it_says(make, seed):
    split = bands((1, 3, 4))
    ranking = eliminate(make(), split, options=QUICK, seed=seed)
    assert ranking.order.tolist() == written_out(make(), split, seed, slices=make is dense)
