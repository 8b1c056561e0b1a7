"""What units are worth: relevance of what is read of them, a Taylor expansion, the size of their weights, or chance."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Split
from ..errors import InputError, check_choice
from ..lrp import COMPOSITES, Composite, Explainer
from ..lrp.composites import find_composite
from ..pruning.units import Coupled, Coupling
from ..ranking.relevance import classes_of, n_classes_of
from ..ranking.statistics import STATISTICS, RelevanceStatistics
from ..seeds import generator
from ..training import Encode, loss_of

CONTROLS: dict[str, str] = {
    "taylor": "by the squared change of the loss to first order (Molchanov et al. 2019, eq. 8)",
    "weight-l1": "by the sum of the absolute weights that give it (Li et al. 2017)",
    "weight-l2": "by the norm of the weights that give it",
    "random": "at random",
}
"""Criteria for units beside relevance under every composite, and what each orders by."""

BATCH = 250
"""Images that are explained at once."""


def unit_criteria() -> tuple[str, ...]:
    """The names of all criteria for units."""
    return (*COMPOSITES, *CONTROLS)


def check_criterion(criterion: str | Composite) -> None:
    """Raise `InputError` for a criterion that units cannot be ordered by."""
    if not isinstance(criterion, Composite):
        check_choice("criterion for units", criterion, unit_criteria())


def score_units(
    network: nn.Module,
    coupling: Coupling,
    split: Split,
    *,
    criterion: str | Composite = "lrp-0",
    statistic: str = "mean-square",
    start: str = "log-odds",
    encode: Encode | None = None,
    seed: int = 0,
) -> Tensor:
    """A score for every unit [n_units], float64: larger for what matters more.

    Relevance of a unit, for an image, is the sum of what all layers that read it give it, over all its places; over
    images a `statistic` is taken of it, and relevance is not normalised by layer. Raises `InputError` for an unknown
    name or no images.

    >>> import torch
    >>> import lrp_core as lc
    >>> from lrp_core.pruning import couple
    >>> from lrp_core.shrinking import score_units
    >>> net = lc.build_model("mlp-300-100", shape=(20,), n_classes=3)
    >>> score_units(net, couple(net, (20,)), lc.Split(torch.rand(60, 20), torch.arange(60) % 3)).shape
    torch.Size([420])
    """
    check_criterion(criterion)
    check_choice("statistic", statistic, STATISTICS)
    if len(split) == 0:
        raise InputError("there are no images to score units by: the split is empty")
    if criterion in ("weight-l1", "weight-l2"):
        return _weights(network, coupling, 1 if criterion == "weight-l1" else 2)
    if criterion == "random":
        return torch.rand(coupling.n_units, generator=generator(seed, "random units"), dtype=torch.float64)
    by_class = statistic.startswith("max-")  # other means are over all rows, and need no sums for each class
    n_classes = n_classes_of(network, split) if by_class else 1
    statistics = RelevanceStatistics.empty(n_classes, coupling.n_units, statistic)
    measure = _taylor(network, coupling) if criterion == "taylor" else _relevance(network, coupling, criterion, start)
    for first in range(0, len(split), BATCH):
        part = split.take(torch.arange(first, min(first + BATCH, len(split))))
        inputs = encode(part.images) if encode else part.images
        classes = classes_of(part)
        statistics.update(measure(inputs, part), classes if by_class else torch.zeros_like(classes))
    return statistics.mean(statistic)


Measure = Callable[[Tensor, Split], Tensor]
"""Inputs [n, ...] and their rows -> something of every unit for every row [n, n_units]."""


def _relevance(network: nn.Module, coupling: Coupling, criterion: str | Composite, start: str) -> Measure:
    explainer = Explainer(network, find_composite(criterion))
    read_by = _readers(coupling)

    def measure(inputs: Tensor, part: Split) -> Tensor:
        target, begin = (None, "logit") if part.has_numbers else (part.labels, start)
        total = torch.zeros(len(inputs), coupling.n_units + 1, dtype=inputs.dtype)
        for name, relevance in explainer.input_relevance(inputs, target, begin).items():
            layer = read_by.get(name.partition("@")[0])
            if layer is not None:
                _add(total, layer, relevance)
        return total[:, :-1]

    return measure


def _taylor(network: nn.Module, coupling: Coupling) -> Measure:
    """What each unit's values times the gradient of the loss by them give: its first-order effect."""
    twin = copy.deepcopy(network).eval().requires_grad_(False)
    for module in twin.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    read_by = _readers(coupling)

    def measure(inputs: Tensor, part: Split) -> Tensor:
        read: list[tuple[Coupled, Tensor]] = []

        def note(layer: Coupled) -> Callable[..., Any]:
            def hook(_module: nn.Module, arguments: Any) -> Any:
                value = arguments[0]
                # of its own for each reader, so that the gradient is that by what this one reads
                value = value.view_as(value) if value.requires_grad else value.detach().requires_grad_()
                read.append((layer, value))
                return (value, *arguments[1:])

            return hook

        handles = [twin.get_submodule(name).register_forward_pre_hook(note(layer)) for name, layer in read_by.items()]
        try:
            with torch.enable_grad():
                loss = loss_of(twin(inputs), part.labels, "sum")
                gradients = torch.autograd.grad(loss, [value for _, value in read], allow_unused=True)
        finally:
            for handle in handles:
                handle.remove()
        total = torch.zeros(len(inputs), coupling.n_units + 1, dtype=inputs.dtype)
        for (layer, value), gradient in zip(read, gradients, strict=True):
            if gradient is not None:
                _add(total, layer, value.detach() * gradient)
        return total[:, :-1]

    return measure


def _readers(coupling: Coupling) -> dict[str, Coupled]:
    """The layers that read units; one whose outputs are its inputs' reads none by itself."""
    return {layer.name: layer for layer in coupling.layers if layer.columns is not None and not layer.follows}


def _add(total: Tensor, layer: Coupled, values: Tensor) -> None:
    """Add what a layer's inputs have, [n, ..., inputs] or [n, inputs, ...], to their units; the last is nobody's."""
    assert layer.columns is not None
    axis = 1 if layer.is_convolution else -1
    flat = values.movedim(axis, 1).flatten(2).sum(2) if values.ndim > 2 else values
    total.index_add_(1, layer.columns % total.shape[1], flat.to(total))


@torch.no_grad()
def _weights(network: nn.Module, coupling: Coupling, power: int) -> Tensor:
    """The norm of the weights that give each unit; of an input, which none give, of those that read it."""
    given = torch.zeros(coupling.n_units + 1, dtype=torch.float64)
    read = torch.zeros_like(given)
    for layer in coupling.layers:
        module: Any = network.get_submodule(layer.name)
        if layer.columns is None:
            continue
        sizes = (module.weight.detach().double().abs() ** power).flatten(2 if layer.is_convolution else 1)
        sizes = sizes.sum(2) if layer.is_convolution else sizes
        groups = len(layer.columns) if layer.follows else layer.groups
        ends = sizes.sum(1), sizes.view(groups, -1, sizes.shape[1]).sum(1).flatten()  # the second axis is one group's
        of_rows, of_columns = reversed(ends) if layer.is_transposed else ends
        given.index_add_(0, layer.rows % len(given), of_rows)
        read.index_add_(0, layer.columns % len(given), of_columns)
    scores = torch.where(coupling.is_input, read[:-1], given[:-1])
    return scores ** (1 / power)


@torch.no_grad()
def means_read(network: nn.Module, coupling: Coupling, split: Split, encode: Encode | None = None) -> dict[str, Tensor]:
    """What every layer that reads units reads on average, over rows and places: [inputs] by the layer's name."""
    twin = copy.deepcopy(network).eval()
    sums: dict[str, tuple[Tensor, int]] = {}

    def note(name: str, axis: int) -> Callable[..., None]:
        def hook(_module: nn.Module, arguments: Any) -> None:
            values = arguments[0].detach().movedim(axis, 0).flatten(1).double()
            before, number = sums.get(name, (torch.zeros(len(values), dtype=torch.float64), 0))
            sums[name] = (before + values.sum(1).cpu(), number + values.shape[1])

        return hook

    for name, layer in _readers(coupling).items():
        twin.get_submodule(name).register_forward_pre_hook(note(name, 1 if layer.is_convolution else -1))
    for first in range(0, len(split), BATCH):
        part = split.take(torch.arange(first, min(first + BATCH, len(split))))
        twin(encode(part.images) if encode else part.images)
    return {name: total / number for name, (total, number) in sums.items()}
