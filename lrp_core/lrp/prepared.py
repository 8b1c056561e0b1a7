"""Prepared explainers, kept for as long as their model lives and is unchanged."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from .composites import Composite, find_composite
from .engine import Explainer
from .reading.preparation import tensors
from .starts import Start, Target

KEPT = 16
"""How many explainers are kept; the one that was not used for longest goes first."""

_SIMPLE = (bool, int, float, str, tuple, type(None), torch.dtype)


@dataclass(frozen=True)
class _Kept:
    model: weakref.ref[nn.Module]
    composite: Composite  # held, so that its identity is not given to another one
    state: tuple[Any, ...]
    explainer: Explainer


_kept: OrderedDict[tuple[int, int], _Kept] = OrderedDict()
_lock = threading.RLock()


def explainer_for(model: Any, composite: str | Composite) -> Explainer:
    """An explainer of the model as it is now: a new one, or one that was prepared before and still fits.

    Raises what `Explainer` raises.
    """
    resolved = find_composite(composite)
    if not isinstance(model, nn.Module):
        return Explainer(model, resolved)
    key, state = (id(model), id(resolved)), state_of(model)
    with _lock:
        kept = _kept.get(key)
        if kept is not None and kept.model() is model and kept.state == state:
            _kept.move_to_end(key)
            return kept.explainer
    explainer = Explainer(model, resolved)
    with _lock:
        _kept[key] = _Kept(weakref.ref(model, lambda _: _forget(key)), resolved, state, explainer)
        _kept.move_to_end(key)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return explainer


def attribute(
    model: Any,
    inputs: Shaped[Tensor, "n *shape"],
    *,
    target: Target | Literal["all"] = None,
    composite: str | Composite = "epsilon-plus",
    start: Start = "logit",
) -> Float[Tensor, "n *rest"]:
    """Relevance of every input for the class `target`: a tensor of the shape of `inputs`.

    `target` is one class, one for each image [n], None for the predicted one, or "all" for every class in turn,
    which gives [n, classes, *shape]. `start` is the relevance at the output: "logit" (the class's logit, as in
    Bach et al. 2015), "contrast" (logit minus the best other), "log-odds" (logit minus the logsumexp of the
    others), "one-hot" (1), or a tensor in the shape of the output. Raises `UnsupportedLayer`, `InputError`, and
    `NonFiniteRelevance` instead of returning NaN or infinity.

    What is prepared for a model and a composite is kept as long as the model lives and is as it was, so that calls in
    a loop cost what `Explainer.relevance` does.

    >>> import torch
    >>> import lrp_core as lc
    >>> net = lc.build_model("lenet-5", shape=(1, 28, 28), n_classes=10)
    >>> images = torch.rand(2, 1, 28, 28)
    >>> lc.attribute(net, images, composite="epsilon-plus").shape
    torch.Size([2, 1, 28, 28])
    >>> lc.attribute(net, images, target="all").shape
    torch.Size([2, 10, 1, 28, 28])
    """
    return explainer_for(model, composite).relevance(inputs, target, start)


def _forget(key: tuple[int, int]) -> None:
    with _lock:
        kept = _kept.get(key)
        if kept is not None and kept.model() is None:
            del _kept[key]


@torch.no_grad()
def state_of(model: nn.Module) -> tuple[Any, ...]:
    """What changes when a network does: its layers, their settings and hooks, and its tensors.

    A tensor is known by its identity, its version, which counts changes in place, and its sum, since a change through
    `.data` is not counted.
    """
    layers = tuple(
        (id(module), type(module), tuple(module._forward_hooks), tuple(module._forward_pre_hooks), _settings(module))
        for module in model.modules()
    )
    return layers, tuple(_state_of_tensor(t) for t in tensors(model))


def _settings(module: nn.Module) -> tuple[Any, ...]:
    """The plain values that stand on a layer, and a `forward` of its own; not whether it is in training."""
    return tuple(
        (name, value if isinstance(value, _SIMPLE) else id(value))
        for name, value in vars(module).items()
        if (isinstance(value, _SIMPLE) or name == "forward") and name != "training"
    )


def _state_of_tensor(t: Tensor) -> tuple[Any, ...]:
    version = None if t.is_inference() else t._version
    return id(t), t.data_ptr() if t.layout is torch.strided else 0, version, tuple(t.shape), repr(t.sum().item())
