"""An estimator as a network: what it is, what its outputs stand for, and the estimator's own numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .explained import NeighbourContest
from .layers import Contest, Distances

Measure = Literal["transform", "decision_function", "score_samples", "predict_proba"]
"""The method of an estimator whose numbers a network gives, too."""


class Neuralised(nn.Sequential):
    """An estimator as layers: inputs of any shape [n, ...] are flattened, and each output is a contest that it can win.

    `classes` are what the outputs stand for, in order: the estimator's classes, the numbers of its clusters, or for one
    output ("outlier",). `supervised` says that it has learnt from labels. `made_from` is the name of the estimator's
    class, `measure` that of the method that `decide` follows, and `scale` is what that takes beside the layers.
    """

    def __init__(
        self,
        layers: Sequence[tuple[str, nn.Module]],
        *,
        classes: Sequence[Any],
        made_from: str,
        measure: Measure,
        supervised: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__(OrderedDict([("flatten", nn.Flatten()), *layers]))
        self.classes, self.made_from, self.supervised = tuple(classes), made_from, supervised
        self.measure, self.scale = measure, scale

    @property
    def shape(self) -> tuple[int]:
        """The shape of one input, flattened."""
        return (self._distances.in_features,)

    @torch.no_grad()
    def decide(self, inputs: Tensor) -> Tensor:
        """What the estimator's own method `measure` gives for inputs [n, ...], computed from the layers.

        "transform" are distances to the centres of clusters [n, clusters]; "decision_function" is that of a one-class
        machine or of two classes [n], or of every pair of more classes [n, pairs] (decision_function_shape="ovo");
        "score_samples" is the logarithm of a density [n], and "predict_proba" the share of the neighbours [n, classes].
        """
        contest, d = self._contest, self._distances.operation.measure(inputs.flatten(1))
        if self.measure == "transform":
            return d.sqrt()
        operation = contest.operation
        if isinstance(operation, NeighbourContest):
            return operation.votes(d)
        assert operation.stiffness is not None, "a kernel has a width"
        own, other = (-operation.stiffness * side for side in operation.sides(d))
        if self.measure == "score_samples":
            return (other - own)[:, 0]
        if len(self.classes) == 1:
            return self.scale * torch.expm1(other - own)[:, 0]
        values = own.exp() - other.exp()
        return -values[:, 0] if len(self.classes) == 2 else values

    @property
    def _distances(self) -> Distances:
        layer = self.get_submodule("distances")
        assert isinstance(layer, Distances)
        return layer

    @property
    def _contest(self) -> Contest:
        layer = self.get_submodule("contest")
        assert isinstance(layer, Contest)
        return layer
