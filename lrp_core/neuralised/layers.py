"""The layers that estimators are made of: distances to prototypes, contests between soft minima, and votes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import InputError, check_choice
from ..lrp import register
from .explained import NeighbourContest, PairVotes, SoftMinContest, SquaredDistances

WAYS = ("rivals", "pairs")
"""How a contest sets its pools against each other: each against all others, or every first against the second."""


class ReadsInputs(nn.Module):
    """A first layer over vectors [n, in_features] that can do without some of its inputs."""

    in_features: int

    @abstractmethod
    def take_inputs(self, columns: Tensor, constant: Tensor) -> ReadsInputs:
        """The layer on the inputs at `columns` [k] alone, where all others hold `constant` [in_features] forever."""


class Distances(ReadsInputs):
    """D_j = |x - u_j|^2 + offset_j, [n, in_features] -> [n, n_prototypes].

    `prototypes` [n_prototypes, in_features] are the u_j; inputs are taken in their precision. Removed inputs add a
    constant to each distance, which `offset` [n_prototypes] holds. Raises `InputError` for inputs of another shape.
    """

    def __init__(self, in_features: int, n_prototypes: int) -> None:
        super().__init__()
        self.in_features, self.n_prototypes = in_features, n_prototypes
        self.prototypes = _fixed(torch.zeros(n_prototypes, in_features))
        self.offset = _fixed(torch.zeros(n_prototypes))

    @classmethod
    def around(cls, prototypes: Tensor, offset: Tensor | None = None) -> Distances:
        """The distances to these prototypes [m, d]."""
        layer = cls(prototypes.shape[1], prototypes.shape[0])
        layer.prototypes = _fixed(prototypes)
        layer.offset = _fixed(prototypes.new_zeros(len(prototypes)) if offset is None else offset)
        return layer

    @property
    def operation(self) -> SquaredDistances:
        return SquaredDistances.of(self.prototypes, self.offset)

    def forward(self, x: Tensor) -> Tensor:
        return self.operation.measure(x)

    def take_inputs(self, columns: Tensor, constant: Tensor) -> Distances:
        columns = columns.to(self.prototypes.device)
        away = constant.to(self.prototypes) - self.prototypes
        shift = away.index_fill(1, columns, 0).square().sum(1)
        return Distances.around(self.prototypes[:, columns].clone(), self.offset + shift).train(self.training)

    def extra_repr(self) -> str:
        return f"{self.in_features} inputs, {self.n_prototypes} prototypes"


class Contest(nn.Module):
    """z_g = smin over B_g of (D_j + e_j) - smin over A_g of (D_i + e_i), [n, n_distances] -> [n, contests].

    smin(h) = -1/b log sum exp(-b h) with the `stiffness` b; None is a hard minimum. A_g and B_g are pools of distances:
    the first `pools[0]` of `members` are the places of those in pool 0, and so on, and `offsets` are their e. The place
    `n_distances` is a constant, a distance of 0. The `way` is one of `WAYS`: in "pairs" pools 0 and 1 are A and B of
    the first contest, 2 and 3 those of the second; among "rivals" every pool is A against the soft mean of all others.
    Raises `InputError` for another way, or too few pools for one contest.
    """

    members: Tensor

    def __init__(self, n_distances: int, pools: Sequence[int], way: str, stiffness: float | None = None) -> None:
        super().__init__()
        check_choice("way of a contest", way, WAYS)
        if len(pools) < 2 or (way == "pairs" and len(pools) % 2):
            raise InputError(f"{len(pools)} pools of distances make no contest: give at least 2, and pairs of them")
        if min(pools) < 1 or (stiffness is not None and not stiffness > 0):
            raise InputError(
                f"a contest is between pools that are not empty, with a stiffness above 0, not {stiffness}"
            )
        self.n_distances, self.pools, self.way, self.stiffness = n_distances, tuple(pools), way, stiffness
        self.register_buffer("members", torch.zeros(sum(pools), dtype=torch.int64))
        self.offsets = _fixed(torch.zeros(sum(pools)))

    def filled(self, members: Tensor, offsets: Tensor) -> Contest:
        """This contest, between distances at the places `members` with these `offsets`."""
        self.members, self.offsets = members, _fixed(offsets)
        return self

    @property
    def terms(self) -> int:
        """How many kernels are added up for one input."""
        return sum(self.pools)

    @property
    def operation(self) -> SoftMinContest:
        return SoftMinContest(self.members, self.offsets, self.pools, self.way, self.stiffness)

    def forward(self, d: Tensor) -> Tensor:
        return self.operation.scores(d)

    def extra_repr(self) -> str:
        return f"{len(self.pools)} pools of {self.n_distances} distances, {self.way}, stiffness={self.stiffness}"


class NeighbourVotes(Contest):
    """A contest of rivals that the nearest `neighbours` settle by vote, each by 1, or `weighted` by 1 / |x - u|.

    Where they vote for another pool than the one that wins the contest, its score is lifted just above the others.
    """

    def __init__(
        self,
        n_distances: int,
        pools: Sequence[int],
        neighbours: int,
        weighted: bool = False,
        stiffness: float | None = None,
    ) -> None:
        super().__init__(n_distances, pools, "rivals", stiffness)
        if not 1 <= neighbours <= n_distances:
            raise InputError(f"between 1 and {n_distances} neighbours can vote, not {neighbours}")
        self.neighbours, self.weighted = neighbours, weighted

    @property
    def operation(self) -> NeighbourContest:
        return NeighbourContest(
            self.members, self.offsets, self.pools, self.way, self.stiffness, self.neighbours, self.weighted
        )


class Votes(nn.Module):
    """Scores [n, n_classes] from contests between every two classes, [n, n_classes (n_classes - 1) / 2].

    A class has the mean of its contests; the one that wins most of them, the first of equals, is lifted just above all
    others where its mean is not the largest.
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        if n_classes < 2:
            raise InputError(f"votes are between at least two classes, not {n_classes}")
        self.n_classes = n_classes

    def forward(self, z: Tensor) -> Tensor:
        return PairVotes(self.n_classes).scores(z)

    def extra_repr(self) -> str:
        return f"{self.n_classes} classes"


def _fixed(values: Tensor) -> nn.Parameter:
    """Numbers that come of an estimator's own fit, and are not trained."""
    return nn.Parameter(values.detach(), requires_grad=False)


def _distances(layer: Distances) -> SquaredDistances:
    return SquaredDistances.of(layer.prototypes.detach(), layer.offset.detach().clone())


def _contest(layer: Contest) -> SoftMinContest:
    operation = layer.operation
    return replace(operation, members=operation.members.clone(), offsets=operation.offsets.detach().clone())


def _votes(layer: Votes) -> PairVotes:
    return PairVotes(layer.n_classes)


register(Distances, _distances)
register(Contest, _contest)
register(Votes, _votes)
