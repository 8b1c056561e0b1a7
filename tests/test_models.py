from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lrp_core.errors import InputError
from lrp_core.models import ARCHITECTURES, ModelSpec, Network, architectures_for, build_from_spec, build_model

from .support import IMAGE_NETWORKS, SERIES_NETWORKS, frozen, is_one_sentence, unchanged

CONVOLUTIONAL = {"lenet-5", "cnn-32-64"}
DENSE = {"softmax", "mlp-300-100", "mlp-1000"}
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))


def test_the_registry():
    assert set(ARCHITECTURES) == {*IMAGE_NETWORKS, *SERIES_NETWORKS}
    assert set(IMAGE_NETWORKS) == {"softmax", "mlp-300-100", "mlp-1000", "lenet-5", "cnn-32-64"}
    assert set(SERIES_NETWORKS) == {"cnn-1d", "transformer-1d"}
    for_series = set(ARCHITECTURES) - CONVOLUTIONAL
    for shape, names in (((1, 5, 5), set(IMAGE_NETWORKS)), ((3, 20), for_series), ((7,), DENSE), ((1, 2, 2, 2), DENSE)):
        assert set(architectures_for(shape)) == names


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
@given(shape=SHAPES, n_classes=st.integers(2, 12), n=st.integers(1, 3))
def test_every_architecture_takes_any_image(architecture, shape, n_classes, n):
    model = build_model(architecture, shape=shape, n_classes=n_classes)
    assert model.spec == ModelSpec(architecture, shape, n_classes)
    logits = model.eval()(torch.rand(n, *shape))
    assert logits.shape == (n, n_classes)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("architecture", sorted(CONVOLUTIONAL))
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 40), (1, 40, 1), (2, 5, 6), (1, 28, 28), (1, 11, 12), (1, 3, 2)])
def test_convolutional_networks_at_the_smallest_sizes(architecture, shape):
    model = build_model(architecture, shape=shape, n_classes=4)
    x = torch.rand(2, *shape, requires_grad=True)
    logits = model.eval()(x)
    assert logits.shape == (2, 4)
    logits.sum().backward()
    assert bool((x.grad != 0).any()), "the logits do not depend on the image at all"


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
def test_flat_inputs(architecture):
    if architecture in CONVOLUTIONAL:
        with pytest.raises(InputError, match=rf"^{architecture} needs images .* not inputs of shape \(50,\)$"):
            build_model(architecture, shape=(50,), n_classes=10)
    else:
        assert build_model(architecture, shape=(50,), n_classes=10)(torch.rand(3, 50)).shape == (3, 10)


@pytest.mark.parametrize(
    ("architecture", "n_parameters"),
    [
        ("softmax", 784 * 10 + 10),
        ("mlp-300-100", 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10),
        ("mlp-1000", 784 * 1000 + 1000 + 1000 * 10 + 10),
        ("lenet-5", (25 * 6 + 6) + (6 * 25 * 16 + 16) + (400 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10)),
        (
            "cnn-32-64",
            (9 * 32 + 32) + 64 + (32 * 9 * 64 + 64) + 128 + (64 * 49 * 128 + 128) + (128 * 10 + 10),
        ),
    ],
)
def test_parameters_counted_by_hand(architecture, n_parameters):
    model = build_model(architecture, shape=(1, 28, 28), n_classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == n_parameters


def test_parameter_counts_known_from_the_literature():
    known = {"softmax": 7_850, "mlp-300-100": 266_610, "mlp-1000": 795_010, "lenet-5": 61_706}
    for architecture, count in known.items():
        model = build_model(architecture, shape=(1, 28, 28), n_classes=10)
        assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
def test_a_seed_decides_the_weights_and_leaves_the_global_random_state(architecture):
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    first = build_model(architecture, shape=(1, 8, 8), n_classes=3, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    assert unchanged(build_model(architecture, shape=(1, 8, 8), n_classes=3, seed=5), frozen(first))
    assert unchanged(build_from_spec(first.spec, seed=5), frozen(first))
    assert not unchanged(build_model(architecture, shape=(1, 8, 8), n_classes=3, seed=6), frozen(first))


def test_a_data_set_gives_shape_classes_and_name(toy):
    model = build_model("softmax", toy)
    assert model.spec == ModelSpec("softmax", (1, 6, 6), 3), "data of your own do not load by their name"
    assert build_model("softmax", toy, n_classes=7).spec.n_classes == 7
    assert isinstance(model, Network)
    assert [name for name, _ in build_model("mlp-300-100", toy).named_children()] == [
        "flatten",
        "fc1",
        "relu1",
        "fc2",
        "relu2",
        "logits",
    ]
    assert isinstance(model.logits, nn.Linear)


@pytest.mark.parametrize("architecture", ["lenet", "LeNet-5", "", "vision"])
def test_an_unknown_architecture_is_refused(architecture):
    with pytest.raises(InputError, match=f"^unknown model '{architecture}': .*choose one of softmax, mlp") as caught:
        build_model(architecture, shape=(1, 28, 28), n_classes=10)
    assert ("did you mean 'lenet-5'" in str(caught.value)) == architecture.lower().startswith("lenet")


@pytest.mark.parametrize(
    ("shape", "n_classes"),
    [((), 3), ((0,), 3), ((1, 0, 5), 3), ((1, 5, -5), 3), ((1, 5, 5), 0), ((1, 5, 5), -2)],
)
@pytest.mark.parametrize("architecture", ["softmax", "lenet-5"])
def test_shapes_and_classes_that_cannot_be(architecture, shape, n_classes):
    with pytest.raises(InputError, match=r"^cannot build a ") as caught:
        build_model(architecture, shape=shape, n_classes=n_classes)
    assert is_one_sentence(caught.value)


def test_a_data_set_does_not_hide_a_wrong_request(toy):
    with pytest.raises(InputError, match="0 classes"):
        build_model("softmax", toy, n_classes=0)
    with pytest.raises(InputError, match=r"shape \(\)"):
        build_model("softmax", toy, shape=())


@pytest.mark.parametrize("given", [{}, {"shape": (1, 5, 5)}, {"n_classes": 3}], ids=str)
def test_too_little_to_go_on(given):
    with pytest.raises(InputError, match="needs a data set, or both shape and n_classes"):
        build_model("softmax", **given)


@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100", "lenet-5", "cnn-32-64"])
def test_one_output_is_a_number(architecture):
    model = build_model(architecture, shape=(1, 12, 12), n_classes=1).eval()
    assert model(torch.rand(3, 1, 12, 12)).shape == (3, 1)
