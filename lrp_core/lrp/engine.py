"""The engine: run the network forward once, remember every activation, walk the relevance back.

No autograd and no hooks: the model is read, never touched, and works the same whether its parameters
require gradients or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ..errors import InputError, check_choice
from .composites import Composite, find_composite
from .graph import Affine, trace
from .rules import Propagate

STARTS: tuple[str, ...] = ("logit", "contrast", "log-odds")

Target = int | Tensor | None
"""The explained class: one for all images, one for each of them [n], or None for the predicted one."""


@dataclass(frozen=True, eq=False)
class Balance:
    """What went through one layer with weights: relevance that arrived at its outputs and left at its inputs.

    Both are sums over the layer, one for each image [n]; the difference was absorbed by biases and epsilon.
    """

    layer: str
    rule: str
    arrived: Tensor
    left: Tensor

    @property
    def absorbed(self) -> Tensor:
        return self.arrived - self.left


@dataclass(frozen=True, eq=False)
class Explanation:
    """Relevance of one batch.

    `relevance` is that of the inputs and has their shape; `layers` maps every step of the network to the
    relevance at its output; `target` [n] is the explained class, `logits` [n, classes] the network's output;
    `balance` tells, from the first layer to the last, what arrived and what left.
    """

    relevance: Tensor
    layers: dict[str, Tensor]
    target: Tensor
    logits: Tensor
    balance: list[Balance]


class Explainer:
    """A network and a composite, prepared once: modified weights are made here and not for every batch.

    Later changes of the model's parameters are not seen. Raises `UnsupportedLayer` before anything is computed
    if the network holds an operation without a rule, and `InputError` for an unknown composite.
    """

    def __init__(self, model: nn.Module, composite: str | Composite = "epsilon-plus") -> None:
        self.composite = find_composite(composite)
        self.steps = trace(model)
        self._propagate: dict[int, Propagate] = {}
        self._rule_names: dict[int, str] = {}
        for i, step in enumerate(self.steps):
            if isinstance(step.operation, Affine):
                rule = self.composite.rule_for(step.operation, is_first=not self._propagate)
                self._propagate[i] = rule.prepare(step.operation)
                self._rule_names[i] = str(rule)

    def relevance(
        self, inputs: Shaped[Tensor, "n *shape"], target: Target = None, start: str = "logit"
    ) -> Float[Tensor, "n *shape"]:
        """Relevance of `inputs`, in their shape; intermediate relevance is not kept."""
        activations = self._forward(inputs)
        _, r = start_relevance(activations[-1], target, start)
        for i in reversed(range(len(self.steps))):
            r = self._back(i, activations, r)
        return r

    def explain(self, inputs: Shaped[Tensor, "n *shape"], target: Target = None, start: str = "logit") -> Explanation:
        """Relevance of `inputs` and of every layer, with the balance of what arrived and left."""
        activations = self._forward(inputs)
        chosen, r = start_relevance(activations[-1], target, start)
        layers, balance = {}, []
        for i in reversed(range(len(self.steps))):
            layers[self.steps[i].name] = r
            arrived, r = r, self._back(i, activations, r)
            if i in self._propagate:
                balance.append(
                    Balance(self.steps[i].name, self._rule_names[i], arrived.flatten(1).sum(1), r.flatten(1).sum(1))
                )
        return Explanation(r, dict(reversed(layers.items())), chosen, activations[-1], balance[::-1])

    @torch.no_grad()
    def _forward(self, inputs: Tensor) -> list[Tensor]:
        """The input and the output of every step: activations[i] goes into step i, activations[i + 1] comes out."""
        _check_inputs(inputs)
        activations = [inputs.detach()]
        for step in self.steps:
            try:
                activations.append(step.operation(activations[-1]))
            except RuntimeError as error:
                raise InputError(
                    f"inputs of shape {tuple(inputs.shape)} do not fit the network: layer {step.name!r} refused "
                    f"{tuple(activations[-1].shape)} ({str(error).splitlines()[0]})"
                ) from error
        return activations

    @torch.no_grad()
    def _back(self, i: int, activations: list[Tensor], r: Tensor) -> Tensor:
        a, z = activations[i], activations[i + 1]
        if i in self._propagate:
            return self._propagate[i](a, z, r)
        return self.steps[i].operation.relevance(a, z, r)


def attribute(
    model: nn.Module,
    inputs: Shaped[Tensor, "n *shape"],
    *,
    target: Target = None,
    composite: str | Composite = "epsilon-plus",
    start: str = "logit",
) -> Float[Tensor, "n *shape"]:
    """Relevance of every input for the class `target`: a tensor of the shape of `inputs`.

    `target` is one class, one for each image [n], or None for the predicted one. `start` is the relevance at
    the output: "logit" (the class's logit, as in Bach et al. 2015), "contrast" (logit minus the best other)
    or "log-odds" (logit minus the logsumexp of the others). Raises `UnsupportedLayer` and `InputError`.
    """
    return Explainer(model, composite).relevance(inputs, target, start)


@torch.no_grad()
def start_relevance(logits: Tensor, target: Target, start: str) -> tuple[Tensor, Tensor]:
    """The explained class [n] and the relevance [n, classes] at the output.

    Each start is a function f of the logits, and the relevance of logit k is z_k df/dz_k: the logit itself
    for f = z_c; z_c and minus the best other for their difference; for the log-odds
    f = z_c - log sum_{k != c} exp z_k the others share -z_k in proportion to their softmax.
    """
    check_choice("start", start, STARTS)
    if logits.ndim != 2:
        raise InputError(f"the network returns shape {tuple(logits.shape)}, not logits [n, classes]")
    if start != "logit" and logits.shape[1] < 2:
        raise InputError(f"start {start!r} compares classes, and the network has a single output: use 'logit'")
    chosen = _check_target(logits, target)[:, None]
    gradient = torch.zeros_like(logits).scatter_(1, chosen, 1.0)
    others = logits.scatter(1, chosen, -torch.inf)
    if start == "contrast":
        gradient.scatter_(1, others.argmax(1, keepdim=True), -1.0)
    elif start == "log-odds":
        gradient -= others.softmax(1)
    return chosen[:, 0], gradient * logits


def _check_target(logits: Tensor, target: Target) -> Tensor:
    n, n_classes = logits.shape
    if target is None:
        return logits.argmax(1)
    if isinstance(target, int):
        chosen = torch.full((n,), target, device=logits.device)
    else:
        chosen = torch.as_tensor(target, device=logits.device)
    if chosen.shape != (n,) or chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise InputError(
            f"target must be one class or {n} classes (integers), not {chosen.dtype} of shape {tuple(chosen.shape)}"
        )
    if n and not 0 <= int(chosen.min()) <= int(chosen.max()) < n_classes:
        raise InputError(
            f"target must be a class between 0 and {n_classes - 1}, not {int(chosen.min())}..{int(chosen.max())}"
        )
    return chosen.long()


def _check_inputs(inputs: Tensor) -> None:
    if not inputs.is_floating_point():
        raise InputError(f"inputs must be floating point (pixels / 255), not {inputs.dtype}")
    if not bool(torch.isfinite(inputs).all()):
        bad = (~torch.isfinite(inputs)).flatten(1).any(1).nonzero().flatten().tolist()
        raise InputError(f"image {bad[0]} of the batch holds NaN or infinity ({len(bad)} such images): clean it first")
