"""Perturbation curves: remove ever more inputs, most relevant first and least relevant first, and watch the output."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ..errors import InputError, check_choice
from ..extras import from_extra
from .checks import check_attributions, check_classes, check_images
from .fills import PixelStatistics, make_fill
from .orders import find_candidates, removal_order
from .removal import Removal, blocks, of_rows
from .statistics import Interval, mean_interval, wilson_interval
from .stepwise import logits_by_step

if TYPE_CHECKING:
    import pandas as pd

ORDERS: tuple[str, ...] = ("MoRF", "LeRF")
"""Most relevant first, least relevant first."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One criterion in one order. Point k has the share k / n_steps of the inputs removed; point 0 is the image itself.

    `probability` [n, points] is that of the explained class, `correct` [n, points] whether the prediction is the label.
    """

    criterion: str
    order: str
    probability: Float[Tensor, "n points"]
    correct: Bool[Tensor, "n points"]

    @property
    def n_steps(self) -> int:
        return self.probability.shape[1] - 1

    @property
    def drops(self) -> Float[Tensor, " n"]:
        """Each image's mean drop of the probability over all points, the original among them."""
        return self.probability[:, 0] - self.probability.mean(1)

    @property
    def aopc(self) -> Interval:
        """Area over the perturbation curve (Samek et al. 2017), with its interval over images.

        1 / (L + 1) times the mean over images of sum_{k=0..L} f(x^(0)) - f(x^(k)).
        """
        return mean_interval(self.drops.numpy())


@dataclass(frozen=True, eq=False)
class Curves:
    """The curves of several criteria on the same images, both orders of each, removed alike."""

    removal: Removal
    curves: tuple[Curve, ...]

    @property
    def n_steps(self) -> int:
        return self.curves[0].n_steps

    def find(self, criterion: str, order: str) -> Curve:
        """The curve of a criterion in one of `ORDERS`. Raises `InputError` for one that is not here."""
        check_choice("criterion", criterion, self.criteria)
        check_choice("order", order, ORDERS)
        return next(curve for curve in self.curves if (curve.criterion, curve.order) == (criterion, order))

    @property
    def criteria(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.criterion for c in self.curves))

    def area_between(self, criterion: str) -> Interval:
        """Area between the LeRF and the MoRF curve over the share removed, in [-1, 1], with its interval over images.

        The larger, the better the criterion tells what matters from what does not; 0 for a random one. Trapezoids.
        """
        least, most = (self.find(criterion, order).probability for order in ("LeRF", "MoRF"))
        return mean_interval(torch.trapezoid(least - most, dx=1 / self.n_steps).numpy())

    def table(self) -> pd.DataFrame:
        """One row for each criterion, order and step: the share removed, mean probability and accuracy.

        `probability_low`, `..._high` are Student's t over images, `accuracy_low`, `..._high` Wilson's, both at 95 %.
        """
        with from_extra():
            import pandas as pd

        rows = []
        for curve in self.curves:
            n = len(curve.probability)
            for step in range(curve.n_steps + 1):
                probability = mean_interval(curve.probability[:, step].numpy())
                accuracy = wilson_interval(int(curve.correct[:, step].sum()), n)
                rows.append(
                    {
                        "criterion": curve.criterion,
                        "order": curve.order,
                        "step": step,
                        "share": step / curve.n_steps,
                        "images": n,
                        "probability": probability.estimate,
                        "probability_low": probability.low,
                        "probability_high": probability.high,
                        "accuracy": accuracy.estimate,
                        "accuracy_low": accuracy.low,
                        "accuracy_high": accuracy.high,
                    }
                )
        return pd.DataFrame(rows)

    def summary(self) -> pd.DataFrame:
        """One row for each criterion, the best first: AOPC of both orders and the area between, with 95 % intervals."""
        with from_extra():
            import pandas as pd

        rows = []
        for criterion in self.criteria:
            row: dict[str, str | float] = {"criterion": criterion}
            for name, interval in (
                ("area_between", self.area_between(criterion)),
                ("aopc_morf", self.find(criterion, "MoRF").aopc),
                ("aopc_lerf", self.find(criterion, "LeRF").aopc),
            ):
                row |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
            rows.append(row)
        return pd.DataFrame(rows).sort_values("area_between", ascending=False, ignore_index=True)


def perturbation_curves(
    model: nn.Module,
    images: Float[Tensor, "n *shape"],
    labels: Int64[Tensor, " n"],
    attributions: Mapping[str, Float[Tensor, "n *shape"]],
    removal: Removal,
    n_steps: int = 20,
    *,
    target: Int64[Tensor, " n"] | None = None,
    statistics: PixelStatistics | None = None,
    batch_size: int = 1000,
    on_batch: Callable[[int], None] | None = None,
) -> Curves:
    """MoRF and LeRF curves, in `n_steps` equal shares, of every criterion: name -> relevance [n, *shape].

    The probability followed is that of `target` [n] (default: the class predicted for the whole image). `statistics`
    are those of the training images, which scope "active" and fill "mean" need, and fill "road" where the last pixel
    goes. `batch_size` images at most go through the network at once; `on_batch(images done)` counts each criterion's
    images. Raises `InputError` for no criteria, less than one step, and as `remove_features` does.
    """
    if not attributions:
        raise InputError("a curve needs at least one criterion")
    if n_steps < 1:
        raise InputError(f"a curve needs at least 1 step, not {n_steps}")
    check_images(images, model)
    check_classes("labels", images, labels)
    if target is not None:
        check_classes("classes to follow", images, target)
    for relevance in attributions.values():
        check_attributions(images, relevance)
    network = copy.deepcopy(model).eval()
    candidates = find_candidates(images, removal.scope, statistics)
    fill = make_fill(removal.fill, images, mean=statistics.mean if statistics else None, seed=removal.seed)
    n, points = len(images), n_steps + 1
    curves = []
    for number, (criterion, relevance) in enumerate(attributions.items()):
        own = [
            Curve(criterion, name, torch.empty(n, points, dtype=torch.float64), torch.empty(n, points).bool())
            for name in ORDERS
        ]
        for rows in blocks(n):
            order = removal_order(
                relevance[rows], ranking=removal.ranking, candidates=of_rows(candidates, rows), seed=removal.seed
            )
            for curve in own:
                step = order.steps(n_steps, least_first=curve.order == "LeRF")
                logits, which = logits_by_step(
                    network, images[rows], step, n_steps, fill.take(rows), batch_size=batch_size
                )
                followed = logits[which[:, 0]].argmax(1) if target is None else target[rows]
                curve.probability[rows] = logits.softmax(1)[which, followed[:, None]].double()
                curve.correct[rows] = logits.argmax(1)[which] == labels[rows, None]
            if on_batch:
                on_batch(number * n + rows.stop)
        curves += own
    return Curves(removal, tuple(curves))
