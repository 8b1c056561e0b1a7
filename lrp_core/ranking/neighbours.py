"""A network of nearest neighbours: what a set of inputs is worth, told in milliseconds and without training.

A soft nearest-neighbour classifier looks up the images nearest to a query, on some of the inputs only, and lets
them vote for their classes: image j at the squared distance D_j has the weight exp(-D_j / T). Its log-odds for
the query's own class, logsumexp_own(-D / T) - logsumexp_others(-D / T), is a network of two layers, distances and
a soft maximum (Kauffmann et al. 2022, arXiv:1906.07633); its expected error, 1 / (1 + exp(log-odds)), is what
neighbourhood components analysis minimises (Goldberger et al. 2004). Another set of inputs is another sum of
squared differences: unlike a trained network it favours no input for having been there before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

GROUPS_EACH = 100
"""Groups that references are looked up in, for each neighbour wanted: of two in one group, one is found."""

CHUNK = 100
"""Queries whose distances to all references are held at a time."""

TEMPERATURES: tuple[float, ...] = (0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0)
"""Candidates for T, in multiples of the median squared distance to the nearest reference."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images as vectors [n, inputs] in random order; `labels` [n] are the classes.

    Columns are what a set is chosen of: inputs, or with `column` [inputs] the groups of inputs that it names.
    """

    inputs: Float[Tensor, "n inputs"]
    labels: Int64[Tensor, " n"]
    column: Int64[Tensor, " inputs"] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_columns(self) -> int:
        return self.inputs.shape[1] if self.column is None else int(self.column.max()) + 1

    def take(self, rows: Int64[Tensor, " m"]) -> Images:
        """Some of the images."""
        return Images(self.inputs[rows], self.labels[rows], self.column)

    def inputs_of(self, columns: Sequence[int]) -> Int64[Tensor, " k"]:
        """Positions of the inputs in some columns."""
        chosen = torch.tensor(columns, dtype=torch.int64)
        return chosen if self.column is None else torch.isin(self.column, chosen).nonzero().flatten()


def find_neighbours(
    queries: Images, references: Images, columns: Sequence[int], n_neighbours: int
) -> tuple[Int64[Tensor, "2 m n"], Float[Tensor, "2 m n"]]:
    """Positions of the references nearest to each query on `columns`: of its own class first, then of all others.

    The second tensor is 0 where there is such a neighbour and infinite where a class has too few images.
    Where there are many references, they are looked up in random groups, and of two in one group one is found.
    """
    chosen = queries.inputs_of(columns)
    asked_inputs, known_inputs = queries.inputs[:, chosen], references.inputs[:, chosen]
    places = torch.zeros(2, n_neighbours, len(queries), dtype=torch.int64)
    missing = torch.full((2, n_neighbours, len(queries)), torch.inf)
    for label in sorted(set(queries.labels.tolist())):
        asked = (queries.labels == label).nonzero().flatten()
        own = references.labels == label
        for side, among in enumerate((own, ~own)):
            candidates = among.nonzero().flatten()
            if len(candidates) == 0:
                continue
            nearest = torch.cat(
                [_nearest(asked_inputs[part], known_inputs[candidates], n_neighbours) for part in asked.split(CHUNK)], 1
            )
            places[side][: len(nearest), asked] = candidates[nearest]
            missing[side][: len(nearest), asked] = 0
    return places, missing


def _nearest(queries: Tensor, references: Tensor, n_neighbours: int) -> Tensor:
    """Positions [m, n] of the nearest references, at most one in each group."""
    size = min(16, max(1, len(references) // (GROUPS_EACH * n_neighbours)))
    n_groups = len(references) // size
    grouped = references[: n_groups * size]
    distances = torch.addmm(grouped.square().sum(1), queries, grouped.T, alpha=-2).view(len(queries), size, n_groups)
    groups = distances.amin(1).topk(min(n_neighbours, n_groups), largest=False, sorted=False).indices
    members = distances.gather(2, groups[:, None].expand(-1, size, -1)).argmin(1)
    return (members * n_groups + groups).T


class Neighbourhood:
    """Queries and their nearest references: what any set of inputs near the given one is worth.

    `squares` [columns, 2, m, n] are the squared differences of each of n queries to its m nearest references of
    its own class and of other classes, found on `columns`; `distances` [2, m, n] their sums over these columns.
    """

    def __init__(self, queries: Images, references: Images, columns: Sequence[int], n_neighbours: int = 10) -> None:
        places, self.missing = find_neighbours(queries, references, columns, n_neighbours)
        self.squares = torch.zeros(queries.n_columns, *places.shape)
        flat = places.flatten()
        asked, looked_up = queries.inputs.T.contiguous(), references.inputs.T.contiguous()
        columns_of = range(len(asked)) if queries.column is None else queries.column.tolist()
        for i, column in enumerate(columns_of):
            neighbours = looked_up[i].index_select(0, flat).view(places.shape)
            if queries.column is None:
                torch.sub(neighbours, asked[i], out=self.squares[column]).square_()
            else:
                self.squares[column] += (neighbours - asked[i]).square_()
        self.distances = self.distances_on(columns)

    def distances_on(self, columns: Sequence[int]) -> Float[Tensor, "2 m n"]:
        """Squared distances to the same neighbours on other columns."""
        total = self.missing.clone()
        for i in columns:
            total += self.squares[i]
        return total

    def swapped(self, distances: Tensor, leaves: int, enters: int) -> Float[Tensor, "2 m n"]:
        """`distances` after one input was exchanged for another."""
        return distances - self.squares[leaves] + self.squares[enters]

    def gradient(self, distances: Tensor, temperature: float) -> Float[Tensor, " inputs"]:
        """First-order change of the mean expected error with the weight of every input in the distances.

        For an input that is in, it is minus the mean of e (1 - e) R, with e a query's expected error and R the
        relevance of the input for its log-odds, (E_others[d] - E_own[d]) / T: gradient x input of the distance
        layer, where d are the squared differences of that input and E the votes' weighted means. Over all inputs
        that are in, R adds up to (E_others[D] - E_own[D]) / T. For an input that is out, R is what it would get.
        """
        with torch.enable_grad():
            variable = distances.clone().requires_grad_()
            (slope,) = torch.autograd.grad(expected_error(variable, temperature).mean(), variable)
        return self.squares.flatten(1) @ slope.nan_to_num_().flatten()


def expected_error(distances: Float[Tensor, "2 m n"], temperature: float) -> Float[Tensor, " n"]:
    """Weight of the wrong classes' images in each query's vote, in [0, 1]."""
    own, others = torch.logsumexp(distances / -temperature, 1)
    return torch.sigmoid(others - own)


def best_temperature(distances: Float[Tensor, "2 m n"]) -> float:
    """The candidate T whose votes are best calibrated: of the least cross-entropy."""
    nearest = distances.flatten(0, 1).amin(0)
    scale = float(nearest[nearest.isfinite()].median()) or 1.0

    def cross_entropy(temperature: float) -> float:
        own, others = torch.logsumexp(distances / -temperature, 1)
        return float(torch.nn.functional.softplus((others - own).clamp(-50, 50)).mean())

    return min((factor * scale for factor in TEMPERATURES), key=cross_entropy)
