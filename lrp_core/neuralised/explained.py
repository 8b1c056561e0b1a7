"""What the layers of estimators compute, and where their relevance goes: the operations that they are registered as.

They have one way back, whatever a composite says. Relevance arrives at a contest as the product z_g r_g, and goes on as
the product D_j c_j with c_j = sum_g r_g dz_g/dD_j, which takes no division. What does not go on was no distance:
offsets are absorbed like a bias, and the entropy of the soft minima by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..lrp.operations import Back, Operation
from ..lrp.relevance import Relevance
from .contests import lifted, others_back, others_of, soft_min, soft_min_weights


@dataclass(frozen=True, eq=False)
class SquaredDistances(Operation):
    """D_j = |x - u_j|^2 + offset_j: R_d = sum_j c_j (x_d - u_jd)^2 for relevance D_j c_j.

    All is measured from the mean of the prototypes, so that far from zero less is lost to rounding.
    """

    centre: Tensor
    relative: Tensor
    offset: Tensor

    @classmethod
    def of(cls, prototypes: Tensor, offset: Tensor) -> SquaredDistances:
        centre = prototypes.mean(0)
        return cls(centre, prototypes - centre, offset)

    def measure(self, x: Tensor) -> Tensor:
        """The distances [n, prototypes] of inputs [n, features]."""
        if x.ndim != 2 or x.shape[1] != len(self.centre):
            raise InputError(
                f"the estimator was fitted on {len(self.centre)} inputs, and is given {tuple(x.shape)}: give [n, "
                f"{len(self.centre)}]"
            )
        y = self._relative(x)
        squares = y.square().sum(1, keepdim=True) + self.relative.square().sum(1)
        return (squares - 2 * (y @ self.relative.T)).clamp(min=0) + self.offset

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (x,) = inputs

        def back(r: Relevance) -> Sequence[Relevance]:
            c, y = _factor(r), self._relative(x)
            crossed = 2 * y * (c @ self.relative)
            return [Relevance.of(x, y.square() * c.sum(1, keepdim=True) - crossed + c @ self._squares)]

        return self.measure(x), back

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        return bool((self.offset >= 0).all())

    def gives_product(self, arriving: bool) -> bool:
        return False

    @cached_property
    def _squares(self) -> Tensor:
        return self.relative.square()

    def _relative(self, x: Tensor) -> Tensor:
        return x.to(self.centre.dtype) - self.centre


@dataclass(frozen=True, eq=False)
class SoftMinContest(Operation):
    """z_g = smin over B_g of (D_j + e_j) - smin over A_g of (D_i + e_i), over pools of distances.

    A pool holds the places `members` of some distances, as many as `sizes` says, one pool after the other, with their
    `offsets` e; the place after the last distance stands for a constant, a distance of 0. In "pairs", pools 0 and 1 are
    A and B of the first contest, 2 and 3 those of the second. Among "rivals" each pool is A once, against the soft mean
    of all others, so that there are as many contests as pools.
    """

    members: Tensor
    offsets: Tensor
    sizes: tuple[int, ...]
    way: str
    stiffness: float | None

    def scores(self, d: Tensor) -> Tensor:
        """The z_g [n, contests] for distances [n, prototypes]."""
        z = self._contest(self._pooled(self._terms(d)))
        lift = self._lift(d, z)
        return z if lift is None else z + lift

    def sides(self, d: Tensor) -> tuple[Tensor, Tensor]:
        """The soft minima over A and over B of every pair, [n, contests] each."""
        h = self._pooled(self._terms(d))
        return h[:, 0::2], h[:, 1::2]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (d,) = inputs
        return self.scores(d), lambda r: [Relevance.product(d, self._to_distances(d, _factor(r)))]

    def gives_product(self, arriving: bool) -> bool:
        return True

    def entropy(self, inputs: Sequence[Tensor], arrived: Relevance) -> Tensor:
        (d,), r = inputs, _factor(arrived)
        terms = self._terms(d)
        h = self._pooled(terms)
        linear = (self._to_terms(terms, h, r) * terms).sum(1) + self._constant * r.sum(1)
        return (r * self._contest(h)).sum(1) - linear

    def _lift(self, d: Tensor, z: Tensor) -> Tensor | None:
        """What is added to the scores; None for nothing."""
        return None

    @property
    def _constant(self) -> float:
        """What the mean over several others adds to a soft minimum over them."""
        if self.way == "pairs" or self.stiffness is None:
            return 0.0
        return math.log(len(self.sizes) - 1) / self.stiffness

    def _terms(self, d: Tensor) -> Tensor:
        return F.pad(d, (0, 1)).index_select(1, self.members) + self.offsets

    def _pooled(self, terms: Tensor) -> Tensor:
        """The soft minimum of every pool."""
        if terms.shape[1] == len(self.sizes):
            return terms
        return torch.stack([soft_min(pool, self.stiffness) for pool in torch.split(terms, list(self.sizes), 1)], 1)

    def _contest(self, h: Tensor) -> Tensor:
        return h[:, 1::2] - h[:, 0::2] if self.way == "pairs" else others_of(h, self.stiffness) - h

    def _to_terms(self, terms: Tensor, h: Tensor, r: Tensor) -> Tensor:
        """sum_g r_g dz_g / d(term), in the shape of the terms."""
        of_pools = torch.stack([-r, r], 2).flatten(1) if self.way == "pairs" else others_back(h, r, self.stiffness) - r
        if terms.shape[1] == len(self.sizes):
            return of_pools
        pools = enumerate(torch.split(terms, list(self.sizes), 1))
        return torch.cat([of_pools[:, p, None] * soft_min_weights(pool, self.stiffness) for p, pool in pools], 1)

    def _to_distances(self, d: Tensor, r: Tensor) -> Tensor:
        """The c_j [n, prototypes]."""
        terms = self._terms(d)
        shares = self._to_terms(terms, self._pooled(terms), r)
        return d.new_zeros(len(d), d.shape[1] + 1).index_add_(1, self.members, shares)[:, :-1]


@dataclass(frozen=True, eq=False)
class NeighbourContest(SoftMinContest):
    """A contest of rivals that the vote of the nearest `neighbours` settles, each by 1, or `weighted` by 1 / distance.

    Where the vote goes to another pool than the contest does, its score is lifted just above all others. The lift is
    absorbed.
    """

    neighbours: int
    weighted: bool

    def votes(self, d: Tensor) -> Tensor:
        """The share of the vote that each pool gets, [n, pools]."""
        least, places = d.topk(self.neighbours, 1, largest=False, sorted=False)
        pools = torch.cat([self.members.new_full((size,), p) for p, size in enumerate(self.sizes)])
        voters = torch.zeros_like(self.members).scatter(0, self.members, pools)[places]
        weights = torch.ones_like(least)
        if self.weighted:
            is_here = least <= 0
            weights = torch.where(is_here.any(1, keepdim=True), is_here.to(d.dtype), least.rsqrt())
        chosen = voters[:, :, None] == torch.arange(len(self.sizes), device=d.device)
        votes = (chosen * weights[:, :, None]).sum(1)
        return votes / votes.sum(1, keepdim=True)

    def _lift(self, d: Tensor, z: Tensor) -> Tensor | None:
        return lifted(z, self.votes(d).argmax(1))


@dataclass(frozen=True, eq=False)
class PairVotes(Operation):
    """One score for each class, from a contest between every two: the mean of its own contests.

    Contests are (0, 1), (0, 2), ..., (1, 2), ...; z > 0 speaks for the first class. Each gives one vote, and the class
    with most votes, the first of equals, is lifted just above all others where its mean is not the largest. Relevance
    goes back through the means, and the lift is absorbed.
    """

    n_classes: int

    def scores(self, z: Tensor) -> Tensor:
        """The scores [n, classes] for contests [n, pairs]."""
        sides = self._sides(z)
        means = z @ sides / (self.n_classes - 1)
        won = torch.where(z > 0, 1.0, -1.0).to(z.dtype) @ sides
        return means + lifted(means, won.argmax(1))

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (z,) = inputs
        sides = self._sides(z)
        return self.scores(z), lambda r: [Relevance.product(z, _factor(r) @ sides.T / (self.n_classes - 1))]

    def gives_product(self, arriving: bool) -> bool:
        return True

    def _sides(self, z: Tensor) -> Tensor:
        """+1 where a class is the first of a pair, -1 where it is the second, [pairs, classes]."""
        first, second = torch.triu_indices(self.n_classes, self.n_classes, 1, device=z.device)
        places = torch.arange(self.n_classes, device=z.device)
        sides: Tensor = (places == first[:, None]).to(z.dtype) - (places == second[:, None]).to(z.dtype)
        return sides


def _factor(r: Relevance) -> Tensor:
    """c, for relevance that is the product of c and the values."""
    return r.tensor if r.is_factor else r.over_values()
