"""Layer types that people bring: registered once, taken whole, found through their subclasses."""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from lrp_core.errors import InputError, UnsupportedLayer
from lrp_core.lrp import Explainer, register
from lrp_core.lrp.affine import Dense
from lrp_core.lrp.reading import registry, trace

from .networks import gradient_x_input, images, randomise, relative_error


class Wary(nn.Linear):
    """A linear layer of which torch.fx could not make anything."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 1e9:
            raise ValueError
        return super().forward(x)


class Derived(Wary):
    pass


def network(layer: type[nn.Linear]) -> nn.Module:
    return randomise(nn.Sequential(layer(6, 4), nn.ReLU(), nn.Linear(4, 3)), 1)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", copy.copy(registry._REGISTERED))


@pytest.mark.parametrize("layer", [Wary, Derived])
def test_a_registered_layer_is_taken_whole(layer: type[nn.Linear]) -> None:
    model, x = network(layer), images((6,))
    with pytest.raises(UnsupportedLayer):
        Explainer(model).relevance(x)
    register(Wary, lambda module: Dense(module.weight.detach().clone(), module.bias.detach().clone()))
    explanation = Explainer(model, "lrp-0").explain(x, 1)
    assert relative_error(explanation.relevance, gradient_x_input(model, x, 1)) < 1e-12
    assert [step.name for step in trace(model)] == ["0", "1", "2"]


def test_the_closest_and_the_latest_registration_counts() -> None:
    register(Wary, lambda module: Dense(module.weight.detach(), None))
    register(Derived, lambda module: Dense(2 * module.weight.detach(), None))
    first = trace(network(Derived))[0].operation
    assert isinstance(first, Dense)
    assert torch.equal(first.weight, 2 * network(Derived)[0].weight)
    register(Derived, lambda module: Dense(3 * module.weight.detach(), None))
    first = trace(network(Derived))[0].operation
    assert isinstance(first, Dense)
    assert torch.equal(first.weight, 3 * network(Derived)[0].weight)


@pytest.mark.parametrize(("layer", "convert"), [(3, print), (int, print), (nn.ReLU(), print), (nn.Linear, 3)])
def test_what_is_no_type_or_no_function_is_refused(layer: object, convert: object) -> None:
    with pytest.raises(InputError):
        inspect.unwrap(register)(layer, convert)  # type: ignore[arg-type, type-var]


def test_explaining_imports_nothing_of_the_rest() -> None:
    seen = (
        "import sys, lrp_core; before = set(sys.modules); import lrp_core.lrp; "
        "print(sorted(m for m in set(sys.modules) - before if m.startswith('lrp_core.')))"
    )
    loaded = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True).stdout
    allowed = ("lrp_core.lrp", "lrp_core.errors")
    assert [name for name in eval(loaded) if not name.startswith(allowed)] == []
