"""Elimination: rank, drop the least relevant inputs, let the smaller network adapt, and rank again.

A ranking made once does not know that two neighbouring pixels say the same: both are relevant, though either
would do. After one of them is gone and the network has adapted, the other one's relevance has grown.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..data import Grouping, Split
from ..errors import InputError, check_choice
from ..lrp import STARTS, Composite
from ..pruning.state import State, shape_taken
from ..pruning.units import Coupling
from ..training import Recipe, fit
from .criteria import Criterion, explaining_criterion
from .ranking import Ranking
from .relevance import measure_relevance
from .statistics import STATISTICS


@dataclass(frozen=True)
class Elimination:
    """How inputs are eliminated.

    A step removes the share `drop` of the inputs that are left, and `fine_drop` once no more than the share
    `fine_below` of all inputs is left; at least one. Then the network is trained for `updates` gradient steps
    of `batch_size` images at the highest learning rate `lr`, and relevance is measured on `explained` images.
    The steps end when no more than `fewest` inputs are left, which are ordered by their relevance then.
    """

    drop: float = 0.3
    fine_drop: float = 0.1
    fine_below: float = 0.2
    updates: int = 100
    batch_size: int = 256
    lr: float = 1.5e-3
    weight_decay: float = 0.01
    explained: int = 10_000
    fewest: int = 1

    def __post_init__(self) -> None:
        if not (0 < self.drop < 1 and 0 < self.fine_drop < 1 and 0 <= self.fine_below <= 1):
            raise InputError(
                f"the shares dropped must lie between 0 and 1, not {self.drop} and {self.fine_drop} below "
                f"{self.fine_below} of the inputs"
            )
        if self.updates < 0 or self.explained < 1 or self.fewest < 1:
            raise InputError(
                f"elimination needs 0 or more updates, 1 or more explained images and 1 or more inputs that it ends "
                f"with, not {self.updates}, {self.explained} and {self.fewest}"
            )
        self.recipe(1)

    def after(self, left: int, n_inputs: int) -> int:
        """How many inputs the next step leaves of `left`, never fewer than one."""
        share = self.drop if left > self.fine_below * n_inputs else self.fine_drop
        return max(1, left - max(1, round(share * left)))

    def recipe(self, n_images: int) -> Recipe:
        """Training for `updates` gradient steps on this many images, rounded up to whole epochs."""
        epochs = math.ceil(self.updates / max(1, math.ceil(n_images / max(1, self.batch_size))))
        return Recipe(epochs, self.batch_size, self.lr, self.weight_decay)


def eliminate(
    network: nn.Module,
    split: Split,
    *,
    criterion: str | Composite | Criterion = "lrp-0",
    statistic: str = "mean-square",
    start: str = "log-odds",
    options: Elimination | None = None,
    grouping: Grouping | None = None,
    seed: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> Ranking:
    """Rank all inputs of `network` by how long they survive elimination on `split` (never the test split).

    With a `grouping`, groups of inputs go together. The last survivor comes first; inputs that go in one step are
    ordered by their relevance in it, measured by `criterion`, one that explains images. The score of an input is the
    number of inputs that were ranked below it. A dense network is sliced and gets cheaper with every step; any other
    one sees removed inputs as 0.
    `network` itself is not changed. The same seed, versions and thread count give the same ranking.

    `on_step(inputs left)` reports progress, and stops the elimination by raising (`Cancelled`, say). Raises
    `InputError` for unknown names, no images, or images of another shape.

    >>> import torch
    >>> import lrp_core as lc
    >>> from lrp_core.ranking import Elimination
    >>> split = lc.Split(torch.rand(60, 20), torch.arange(60) % 3)
    >>> net = lc.build_model("softmax", shape=(20,), n_classes=3)
    >>> lc.eliminate(net, split, options=Elimination(updates=1)).n_inputs
    20
    """
    how = explaining_criterion(criterion)
    check_choice("statistic", statistic, STATISTICS)
    check_choice("start", start, STARTS)
    shape = split.shape
    if len(split) == 0:
        raise InputError("there are no images to eliminate inputs by: the split is empty")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError("elimination trains a network further, and this one has nothing to train: rank it one-shot")
    taken = shape_taken(network, shape)
    options = options or Elimination()
    random = torch.Generator().manual_seed(seed)
    grouping = grouping or Grouping.single(math.prod(shape))
    state = State.start(network, Coupling(len(grouping), grouping.of, ()), taken, whole_modules=False)
    left = torch.arange(len(grouping))
    removed: list[Tensor] = []
    while True:
        sample = _draw(len(split), options.explained, random)
        scores = _relevance(state, split.take(sample), grouping, left, how, statistic, start)
        survivors = Ranking.from_scores(how.name, scores, (len(left),), seed=_seed(random)).order
        keep = options.after(len(left), len(grouping)) if len(left) > options.fewest else 0
        removed.append(left[survivors[keep:]])
        if keep == 0:
            break
        left = left[survivors[:keep].sort().values]
        sample = _draw(len(split), options.updates * options.batch_size, random)
        gone = torch.zeros(len(grouping), dtype=torch.bool)
        gone[removed[-1]] = True
        state = _tuned(state.without(gone), split.take(sample), options.recipe(len(sample)), _seed(random))
        if on_step:
            on_step(keep)
    return ranking_of_order(f"{how.name}, elimination", torch.cat(removed[::-1]), shape, grouping)


def _relevance(
    state: State, sample: Split, grouping: Grouping, left: Tensor, criterion: Criterion, statistic: str, start: str
) -> Tensor:
    """A statistic of the relevance of every group of inputs that is left."""
    statistics = measure_relevance(
        state.network,
        sample,
        criterion=criterion,
        start=start,
        encode=state.encode,
        grouping=grouping.only(left) if state.sliced else grouping,
        statistic=statistic,
    )
    scores = statistics.mean(statistic)
    return scores if state.sliced else scores[left]


def _tuned(state: State, sample: Split, recipe: Recipe, seed: int) -> State:
    return state.trained(fit(state.network, sample, recipe=recipe, seed=seed, device="cpu", encode=state.encoding))


def ranking_of_order(
    criterion: str, order: Tensor, shape: tuple[int, ...], grouping: Grouping | None = None
) -> Ranking:
    """The ranking with this order [n_groups]; the score of an input, or group, is the number of those below it."""
    scores = torch.empty(len(order), dtype=torch.float64)
    scores[order] = torch.arange(len(order) - 1, -1, -1, dtype=torch.float64)
    return Ranking.from_scores(criterion, scores, shape, grouping=grouping)


def _draw(n: int, size: int, random: torch.Generator) -> Tensor:
    """`size` of `n` positions in random order, or all of them if they are fewer."""
    return torch.randperm(n, generator=random)[: max(1, size)]


def _seed(random: torch.Generator) -> int:
    return int(torch.randint(2**31, (), generator=random))
