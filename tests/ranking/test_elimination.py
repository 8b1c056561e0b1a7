"""Elimination: a full ranking by survival, whose survivors know about each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrp_core.data import Dataset, Split
from lrp_core.errors import Cancelled, InputError
from lrp_core.models import Network, build_model
from lrp_core.pruning import build_pruned
from lrp_core.ranking import Elimination, eliminate, rank
from lrp_core.training import Recipe, evaluate, fit

from ..support import frozen, toy_split

pytestmark = pytest.mark.slow

QUICK = Elimination(drop=0.5, fine_drop=0.5, updates=5, batch_size=32, explained=50)


def trained(split: Split, architecture: str = "mlp-300-100", classes: int = 3) -> Network:
    model = build_model(architecture, shape=split.pixels.shape[1:], n_classes=classes, seed=0)
    return fit(model, split, recipe=Recipe(epochs=3, batch_size=32), seed=0, device="cpu")


@pytest.fixture(scope="module")
def split() -> Split:
    return toy_split(120)


@pytest.fixture(scope="module")
def network(split: Split) -> Network:
    return trained(split)


def twins(n: int = 600, seed: int = 0) -> Split:
    """Two bits tell four classes apart: one is on inputs 0 to 7, one, fainter, on 8 and 9. The others are noise."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (n,), generator=random)
    pixels = torch.randint(0, 60, (n, 1, 4, 4), generator=random).flatten(1)
    pixels[:, :8] += (150 * (labels % 2))[:, None]
    pixels[:, 8:10] += (90 * (labels // 2))[:, None]
    return Split(pixels.view(n, 1, 4, 4).to(torch.uint8), labels, torch.arange(n))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100"])
@settings(max_examples=10)
@given(
    drop=st.floats(0.2, 0.95),
    fine_drop=st.floats(0.1, 0.95),
    fine_below=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_every_ranking_is_a_permutation_and_steps_shrink_to_one(
    architecture: str, split: Split, drop: float, fine_drop: float, fine_below: float, seed: int
) -> None:
    options = Elimination(drop=drop, fine_drop=fine_drop, fine_below=fine_below, updates=1, explained=8)
    left: list[int] = []
    model = build_model(architecture, shape=(1, 6, 6), n_classes=3, seed=1)
    ranking = eliminate(model, split, options=options, seed=seed, on_step=left.append)
    assert ranking.order.sort().values.tolist() == list(range(36))
    assert ranking.scores[ranking.order].tolist() == list(range(35, -1, -1))
    assert ranking.shape == (1, 6, 6)
    assert left[-1] == 1
    assert all(after < before for before, after in zip([36, *left], left, strict=False))


def test_the_first_to_go_are_the_least_relevant_of_the_given_network(split: Split, network: Network) -> None:
    """With every image explained, the first step is the one-shot ranking's second half."""
    options = Elimination(drop=0.5, updates=1, explained=len(split))
    ranking = eliminate(network, split, options=options)
    assert ranking.order[18:].tolist() == rank(network, split).order[18:].tolist()


def test_a_redundant_input_goes_where_a_single_ranking_keeps_it() -> None:
    """Eight copies of one bit are each more relevant than the only ones of the other bit, but one of them is enough."""
    data = twins()
    model = trained(data, classes=4)
    survivors = set(eliminate(model, data, options=Elimination(updates=60, batch_size=64)).order[:3].tolist())
    assert survivors <= set(range(10))
    assert survivors & set(range(8))
    assert survivors & {8, 9}


@pytest.mark.parametrize("architecture", ["mlp-300-100", "lenet-5"])
def test_the_seed_alone_decides(architecture: str, split: Split) -> None:
    model = trained(split, architecture)
    torch.manual_seed(1)
    first = eliminate(model, split, options=QUICK, seed=3)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = eliminate(model, split, options=QUICK, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.order, second.order)
    assert not torch.equal(first.order, eliminate(model, split, options=QUICK, seed=4).order)


@pytest.mark.parametrize("architecture", ["mlp-300-100", "lenet-5", "cnn-32-64"])
def test_the_network_stays_as_it_was(architecture: str, split: Split) -> None:
    model = trained(split, architecture)
    before = frozen(model)
    ranking = eliminate(model, split, options=QUICK)
    assert ranking.order.sort().values.tolist() == list(range(36))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_vectors_are_ranked_like_images(split: Split, network: Network) -> None:
    """A network that takes a flat vector of 36 numbers ranks the images that hold them."""
    flat = Network(
        build_model("mlp-300-100", shape=(36,), n_classes=3).spec, [(n, m) for n, m in network.named_children()]
    )
    assert torch.equal(eliminate(flat, split, options=QUICK).order, eliminate(network, split, options=QUICK).order)


def test_what_raises_in_the_progress_report_stops_it(split: Split, network: Network) -> None:
    seen: list[int] = []

    def stop(left: int) -> None:
        seen.append(left)
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        eliminate(network, split, options=QUICK, on_step=stop)
    assert seen == [18]


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"criterion": "variance"}, "unknown criterion"),
            ({"statistic": "median"}, "unknown statistic"),
            ({"start": "log"}, "unknown start"),
        ],
    )
    def test_unknown_names(self, split: Split, network: Network, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(InputError, match=words):
            eliminate(network, split, **changes)

    def test_no_images(self, split: Split, network: Network) -> None:
        with pytest.raises(InputError, match="the split is empty"):
            eliminate(network, split.take(torch.arange(0)))

    def test_images_of_another_shape(self, network: Network) -> None:
        with pytest.raises(InputError, match=r"\(1, 6, 6\), the images are \(1, 4, 4\)"):
            eliminate(network, twins(8))

    @pytest.mark.parametrize(
        "options",
        [
            {"drop": 0.0},
            {"drop": 1.0},
            {"fine_drop": -0.1},
            {"fine_below": 1.1},
            {"updates": -1},
            {"explained": 0},
            {"batch_size": 0},
            {"lr": 0.0},
            {"drop": float("nan")},
        ],
    )
    def test_options_that_cannot_be(self, options: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            Elimination(**options)


@given(left=st.integers(2, 1000), n_inputs=st.integers(2, 1000), drop=st.floats(0.001, 0.999))
def test_a_step_always_removes_some_and_never_all(left: int, n_inputs: int, drop: float) -> None:
    after = Elimination(drop=drop, fine_drop=drop).after(left, n_inputs)
    assert 1 <= after < left


@given(n_images=st.integers(1, 100_000), updates=st.integers(0, 500), batch_size=st.integers(1, 1000))
def test_a_step_trains_for_the_updates_asked_for_rounded_up_to_epochs(
    n_images: int, updates: int, batch_size: int
) -> None:
    recipe = Elimination(updates=updates, batch_size=batch_size).recipe(n_images)
    in_an_epoch = -(-n_images // batch_size)
    assert updates <= recipe.epochs * in_an_epoch < updates + in_an_epoch


@pytest.mark.slow
def test_on_mnist_it_beats_a_single_ranking_and_chance(mnist: Dataset) -> None:
    """Networks trained from scratch on the 30 pixels kept of each, 8,000 training images."""
    part = mnist.train.sample(8000, seed=0)
    model = fit(build_model("mlp-300-100", mnist, seed=0), part, recipe=Recipe(epochs=4), seed=0, device="cpu")
    rankings = {
        "elimination": eliminate(model, part, options=Elimination(updates=60)),
        "one-shot": rank(model, part),
        "random": rank(None, part, criterion="random"),
    }
    accuracy = {}
    for name, ranking in rankings.items():
        small = build_pruned(model.spec, ranking.mask(keep=30))
        small = fit(small, part, recipe=Recipe(epochs=6), device="cpu", encode=small.encode)
        accuracy[name] = evaluate(small, mnist.validation, device="cpu", encode=small.encode).accuracy
    assert accuracy["elimination"] > accuracy["one-shot"] + 0.02
    assert accuracy["elimination"] > accuracy["random"] + 0.1
