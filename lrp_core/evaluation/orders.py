"""In which order an image's inputs go: ranked by their relevance, within the inputs that are in question at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from ..errors import InputError, check_choice
from ..seeds import generator
from ..shares import keep_for_share
from .fills import PixelStatistics

RANKINGS: tuple[str, ...] = ("signed", "magnitude")
"""signed: relevance against the class is the least relevant. magnitude: relevance around zero is."""

SCOPES: tuple[str, ...] = ("all", "active", "lit")
"""all inputs; those lit in at least `ACTIVE_SHARE` of the training images; those lit in the image itself."""

ACTIVE_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class RemovalOrder:
    """The inputs of each image from the most to the least relevant.

    `order` [n, inputs] holds their flat positions; the first `candidates` [n] of each row are those in question,
    the rest is never removed. `scores` [n, inputs] are what they were ordered by, in that order.
    """

    order: Int64[Tensor, "n inputs"]
    scores: Float[Tensor, "n inputs"]
    candidates: Int64[Tensor, " n"]

    @cached_property
    def place(self) -> Int64[Tensor, "n inputs"]:
        """The place of every input in the order of its image: 0 for the most relevant one."""
        places = torch.arange(self.order.shape[1]).expand_as(self.order)
        return torch.empty_like(self.order).scatter_(1, self.order, places)

    def counts(self, share: float) -> Int64[Tensor, " n"]:
        """How many inputs of each image are `share` of those in question: 118 for 15 % of 784, all of them for 1."""
        sizes, which = torch.unique(self.candidates, return_inverse=True)
        return torch.tensor([n if share == 1 else n - keep_for_share(share, n) for n in sizes.tolist()])[which]

    def removed(self, share: float, *, least: bool = False) -> Bool[Tensor, "n inputs"]:
        """True for the `share` of the inputs that is the most relevant, or the least."""
        counts = self.counts(share)[:, None]
        if not least:
            return self.place < counts
        last = self.candidates[:, None]
        return (self.place >= last - counts) & (self.place < last)

    def tied(self, share: float, *, least: bool = False) -> Int64[Tensor, " n"]:
        """How many of the removed inputs were picked by the seed, among equals of which only some had to go."""
        counts, places = self.counts(share), torch.arange(self.order.shape[1])
        inner, outer = (self.candidates - counts, self.candidates - counts - 1) if least else (counts - 1, counts)
        cut = (counts > 0) & (counts < self.candidates)
        edge, beyond = (self.scores.gather(1, p.clamp(0, len(places) - 1)[:, None]) for p in (inner, outer))
        removed = (
            (places >= inner[:, None]) & (places < self.candidates[:, None]) if least else places < counts[:, None]
        )
        return ((self.scores == edge) & removed).sum(1) * (cut & (edge == beyond)[:, 0])

    def steps(self, n_steps: int, *, least_first: bool = False) -> Int64[Tensor, "n inputs"]:
        """The step, 1 to `n_steps`, in which each input goes when equal shares go at a time; n_steps + 1 for never.

        After step k the share k / n_steps is removed, rounded as `counts` does.
        """
        sizes, which = torch.unique(self.candidates, return_inverse=True)
        places = torch.arange(self.order.shape[1])
        table = torch.empty(len(sizes), len(places), dtype=torch.int64)
        for row, n in enumerate(sizes.tolist()):
            ends = [n - keep_for_share(k / n_steps, n) for k in range(1, n_steps)] + [n]
            table[row] = torch.searchsorted(torch.tensor(ends), places, right=True) + 1
        place = self.place
        if least_first:
            last = self.candidates[:, None]
            place = torch.where(place < last, last - 1 - place, place)
        return table[0][place] if len(sizes) == 1 else table[which].gather(1, place)


def removal_order(
    attributions: Float[Tensor, "n *shape"],
    *,
    ranking: str = "signed",
    candidates: Bool[Tensor, "m *shape"] | None = None,
    seed: int = 0,
) -> RemovalOrder:
    """Order the inputs of every image by decreasing relevance, signed or by magnitude.

    `candidates` [n or 1, *shape] says which inputs are in question (default: all). Equal relevance, which is common
    since blank pixels have none, is put in an order that `seed` draws, the same one for every image: so an image is
    treated alike alone and among others. Raises `InputError` for relevance that is not finite.
    """
    check_choice("ranking", ranking, RANKINGS)
    scores = attributions.detach().flatten(1)
    bad = ~torch.isfinite(scores).all(1)
    if bool(bad.any()):
        raise InputError(
            f"the attribution of image {int(bad.nonzero()[0])} holds NaN or infinity ({int(bad.sum())} such images): "
            "the network may have diverged"
        )
    if ranking == "magnitude":
        scores = scores.abs()
    n, n_inputs = scores.shape
    counts = torch.full((n,), n_inputs)
    if candidates is not None:
        chosen = candidates.flatten(1).expand(n, n_inputs)
        counts = chosen.sum(1)
        scores = scores.masked_fill(~chosen, -torch.inf)
    shuffled = torch.randperm(n_inputs, generator=generator(seed, "ties"))
    ordered = scores[:, shuffled].sort(dim=1, descending=True, stable=True)
    return RemovalOrder(shuffled[ordered.indices], ordered.values, counts)


def find_candidates(
    images: Shaped[Tensor, "n *shape"], scope: str, statistics: PixelStatistics | None = None
) -> Bool[Tensor, "m *shape"] | None:
    """Which inputs of the images are in question in a scope: None for all, [1, *shape] or one row for each image.

    Raises `InputError` for an unknown scope, an image without any lit pixel, no pixel that training images light, or
    inputs below 0, for which there is no such thing as lit.
    """
    check_choice("scope", scope, SCOPES)
    if scope == "all":
        return None
    if bool((images < 0).any()):
        raise InputError(f"scope {scope!r} is about pixels above 0, and these inputs have values below it: use all")
    if scope == "lit":
        lit = images > 0
        blank = ~lit.flatten(1).any(1)
        if bool(blank.any()):
            raise InputError(
                f"image {int(blank.nonzero()[0])} has no lit pixel ({int(blank.sum())} such images): "
                "scope 'lit' has nothing to remove there"
            )
        return lit
    if statistics is None:
        raise InputError("scope 'active' needs to know which pixels training images light: give pixel statistics")
    if statistics.lit_share.shape != images.shape[1:]:
        raise InputError(
            f"the pixel statistics are of shape {tuple(statistics.lit_share.shape)}, "
            f"the images have {tuple(images.shape[1:])}"
        )
    active = statistics.lit_share >= ACTIVE_SHARE
    if not bool(active.any()):
        raise InputError("scope 'active' is empty: no pixel is lit in 1 % of the training images")
    return active[None]
