"""`attribute` in a loop: what is prepared is kept, and no change of the model goes unseen."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from lrp_core.errors import UnsupportedLayer
from lrp_core.lrp import At, Composite, Epsilon, Explainer, Gamma, attribute, prepared

from .networks import images, mlp, randomise


def network() -> nn.Sequential:
    model = randomise(mlp([6, 5, 4, 3], norm=True), 1)
    assert isinstance(model, nn.Sequential)
    return model


def add_in_place(model: Any) -> None:
    with torch.no_grad():
        model[1].weight.add_(0.5)


def write_through_data(model: Any) -> None:
    model[1].weight.data.mul_(-1.5)


def give_other_data(model: Any) -> None:
    model[1].weight.data = model[1].weight.data * 2


def replace_parameter(model: Any) -> None:
    model[1].weight = nn.Parameter(model[1].weight.detach() * 2)


def load(model: Any) -> None:
    model.load_state_dict(randomise(copy.deepcopy(model), 5).state_dict())


def change_statistics(model: Any) -> None:
    model[2].running_mean += 1


def replace_layer(model: Any) -> None:
    model[3] = nn.Tanh()


def change_setting(model: Any) -> None:
    model[2].eps = 0.5


def replace_forward(model: Any) -> None:
    weight = model[1].weight.detach() * 3
    model[1].forward = lambda a: nn.functional.linear(a, weight)


def prune_weights(model: Any) -> None:
    prune.l1_unstructured(model[1], "weight", 0.5)


CHANGES = [
    *(add_in_place, write_through_data, give_other_data, replace_parameter, load, change_statistics),
    *(replace_layer, change_setting, replace_forward, prune_weights),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_read_again(change: Callable[[Any], None]) -> None:
    model, x = network(), images((6,))
    before = attribute(model, x, target=1)
    change(model)
    after = attribute(model, x, target=1)
    assert torch.equal(after, Explainer(model).relevance(x, 1))
    assert not torch.equal(before, after)


def test_a_hook_set_later_is_refused() -> None:
    model, x = network(), images((6,))
    attribute(model, x)
    model[1].register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedLayer, match="hook"):
        attribute(model, x)


def test_an_unchanged_model_is_prepared_once_for_each_composite() -> None:
    model = network()
    mine = Composite(At(Gamma(0.1)))
    kept = [prepared.explainer_for(model, composite) for composite in ("epsilon", "lrp-0", mine)]
    model.train()
    assert [prepared.explainer_for(model, composite) for composite in ("epsilon", "lrp-0", mine)] == kept
    assert prepared.explainer_for(model, Composite(At(Epsilon()))) is not kept[0]


def test_what_is_kept_is_bounded_and_does_not_keep_a_model_alive() -> None:
    models = [network() for _ in range(prepared.KEPT + 3)]
    for model in models:
        attribute(model, images((6,)))
    assert len(prepared._kept) == prepared.KEPT
    gone = [weakref.ref(model) for model in models]
    del model, models
    gc.collect()
    assert not any(reference() for reference in gone)
    assert not any(kept.model() is None for kept in prepared._kept.values())


def test_many_threads_get_what_one_gets() -> None:
    models, x = [network() for _ in range(3)], images((6,))
    expected = [Explainer(model).relevance(x, 0) for model in models]
    wrong: list[int] = []

    def run(k: int) -> None:
        for _ in range(5):
            same = torch.equal(attribute(models[k % 3], x, target=0), expected[k % 3])
            wrong.extend([] if same else [k])

    threads = [threading.Thread(target=run, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_model_of_nans_is_not_prepared_for_ever_again() -> None:
    model = network()
    with torch.no_grad():
        model[1].weight.fill_(torch.nan)
    assert prepared.explainer_for(model, "lrp-0") is prepared.explainer_for(model, "lrp-0")


def test_a_network_read_by_its_sizes_is_kept_too() -> None:
    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            n, width = x.shape
            return self.inner(x.reshape(n, 2, width // 2).flatten(1))

    model, x = randomise(Sized(), 2), images((6,))
    first = attribute(model, x, target=0)
    assert prepared.explainer_for(model, "epsilon-plus") is prepared.explainer_for(model, "epsilon-plus")
    with torch.no_grad():
        model.inner.weight.mul_(2)  # type: ignore[union-attr, operator]
    assert not torch.equal(attribute(model, x, target=0), first)
