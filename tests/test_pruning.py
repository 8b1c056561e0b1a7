from __future__ import annotations

import copy
import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lrp_core.errors import InputError, LrpError, UnsupportedLayer
from lrp_core.models import ModelSpec, Network, build_model
from lrp_core.pruning import PixelMask, PrunedNetwork, build_pruned, prune_inputs
from lrp_core.pruning.layers import Frame, Scatter

from .support import IMAGE_NETWORKS, check_sentence, frozen, livened, stir, unchanged

FILLS = st.sampled_from([0.0, 1.0, 0.3, -2.5])
SHAPE = (1, 28, 28)
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # beartype does, to pick what to check


@functools.cache
def network_for(architecture: str, seed: int = 0) -> Network:
    """A network on 28x28 images that no test may change."""
    return livened(architecture, SHAPE, 10, seed)


@st.composite
def supports(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """Boolean arrays of `shape`, True at one input at least: single ones, corners, everything, blobs and dust."""
    keep = np.zeros(shape, bool)
    kind = draw(st.sampled_from(["one", "corners", "full", "blob", "dust"]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "one":
        keep.flat[draw(st.integers(0, keep.size - 1))] = True
    elif kind == "corners":
        corners = [0, shape[-1] - 1, keep.size - shape[-1], keep.size - 1]
        for corner in draw(st.lists(st.sampled_from(corners), min_size=1)):
            keep.flat[corner] = True
    elif kind == "full":
        keep[:] = True
    elif kind == "dust":
        keep = random.random(shape) < draw(st.sampled_from([0.02, 0.2, 0.8]))
    else:
        (top, bottom), (left, right) = (sorted(random.integers(0, n + 1, 2)) for n in shape[-2:])
        keep[..., top:bottom, left:right] = random.random((*shape[:-2], bottom - top, right - left)) < 0.6
    assume(keep.any())
    return keep


def masks(shape: tuple[int, ...]) -> st.SearchStrategy[PixelMask]:
    return supports(shape).map(lambda keep: PixelMask.from_indices(np.flatnonzero(keep), shape))


def batch(shape: tuple[int, ...], n: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Masks


@given(st.data())
def test_masks_read_like_a_selector(data):
    shape = data.draw(st.sampled_from([(1, 6, 5), (3, 4, 4), (9,), (2, 1, 7)]))
    keep = data.draw(supports(shape if len(shape) > 1 else (1, 1, *shape))).reshape(shape)
    fill = data.draw(FILLS)
    mask = PixelMask.from_indices(torch.from_numpy(np.flatnonzero(keep)), shape)
    x = batch(shape)
    assert np.array_equal(mask.get_support(), keep.ravel())
    assert np.array_equal(mask.keep.numpy(), keep)
    assert len(mask) == keep.sum()
    assert mask.removed_share == pytest.approx(1 - keep.mean())
    assert np.array_equal(mask.apply(x).numpy(), x.flatten(1).numpy()[:, keep.ravel()])
    assert torch.equal(mask.scatter(mask.apply(x)), x * mask.keep)
    removed = np.where(keep, x.numpy(), fill)
    assert np.array_equal(mask.remove(x, fill).numpy(), removed)
    assert np.array_equal(mask.scatter(mask.apply(x), fill).numpy(), removed)
    assert torch.equal(mask.apply(mask.scatter(mask.apply(x), fill)), mask.apply(x))
    if len(shape) == 3:
        rows, columns = np.nonzero(keep.any(0))
        assert mask.bounding_box() == (
            slice(rows.min(), rows.max() + 1),
            slice(columns.min(), columns.max() + 1),
        )


@given(keep=supports((1, 5, 5)), order=st.randoms())
def test_the_order_in_which_indices_are_given_does_not_matter(keep, order):
    indices = np.flatnonzero(keep).tolist()
    shuffled = order.sample(indices, len(indices))
    for given_as in (shuffled, torch.tensor(shuffled), np.array(shuffled), np.array(shuffled, np.int32)):
        assert PixelMask.from_indices(given_as, (1, 5, 5)).indices.tolist() == indices


def test_applying_works_on_raw_bytes_too(toy):
    mask = PixelMask.from_indices([3, 7], toy.shape)
    assert mask.apply(toy.test.pixels).dtype == torch.uint8
    assert torch.equal(mask.apply(toy.test.pixels), toy.test.pixels.flatten(1)[:, [3, 7]])


@pytest.mark.parametrize(
    ("indices", "reason"),
    [
        ([], "a mask must keep between 1 and 9 inputs, not 0"),
        (list(range(10)), "a mask must keep between 1 and 9 inputs, not 10"),
        ([1, 1], "mask indices must be distinct, increasing and between 0 and 8"),
        ([0, 9], "mask indices must be distinct, increasing and between 0 and 8"),
        ([-1, 3], "mask indices must be distinct, increasing and between 0 and 8"),
    ],
)
def test_masks_that_cannot_be(indices, reason):
    for build in (PixelMask.from_indices, lambda i, s: PixelMask(torch.tensor(i, dtype=torch.int64), s)):
        with pytest.raises(InputError) as caught:
            build(indices, (1, 3, 3))
        assert str(caught.value) == reason


def test_unsorted_and_two_dimensional_indices_are_refused(unchecked):
    for indices in (torch.tensor([3, 1]), torch.tensor([[1, 2]]), torch.tensor(3)):
        with pytest.raises(InputError, match=r"^(a mask must|mask indices must)"):
            PixelMask(indices, (1, 3, 3))


@pytest.mark.parametrize(
    "indices",
    [np.array([True, False, False, True]), torch.tensor([False, True]), [0.5, 2.7], [math.nan]],
    ids=["support", "short support", "floats", "nan"],
)
def test_indices_that_are_no_integers_are_refused(indices, unchecked):
    with pytest.raises(InputError):
        PixelMask.from_indices(indices, (1, 2, 2))


def test_images_of_another_shape_are_refused(unchecked):
    mask = PixelMask.from_indices([0, 5], (1, 3, 3))
    for call in (mask.apply, mask.remove):
        for shape in ((2, 1, 3, 4), (2, 9), (1, 3, 3), (2, 3, 3, 1), (2, 1, 1, 3, 3)):
            with pytest.raises(InputError, match=r"^the mask is for inputs of shape \(1, 3, 3\); got a batch"):
                call(torch.zeros(shape))
    for shape in ((2, 3), (2,), (1, 3, 3), (2, 1, 2)):
        with pytest.raises(InputError, match=r"^expected kept pixels of shape \[n, 2\], not"):
            mask.scatter(torch.zeros(shape))
    with pytest.raises(InputError, match="have no bounding box"):
        PixelMask.full((5,)).bounding_box()


# The headline: the small network is the big one, with less input


def assert_same_function(network: Network, mask: PixelMask, fill: float, seed: int = 0) -> None:
    """The small network agrees with the big one, or it is refused because no kept pixel has any influence."""
    x = batch(network.spec.shape, seed=seed)
    try:
        small = prune_inputs(network, mask, fill=fill)
    except InputError as error:
        if "reads none of the kept inputs" not in str(error):
            raise
        other = mask.remove(batch(network.spec.shape, seed=seed + 1), fill)
        assert torch.equal(network(mask.remove(x, fill)), network(other)), "refused although pixels matter"
        return
    with torch.no_grad():
        expected = network(mask.remove(x, fill))
        found = small(mask.apply(x))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-10 * max(1, float(expected.abs().max()))


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
@settings(max_examples=15)
@given(mask=masks(SHAPE), fill=FILLS, seed=st.integers(0, 3))
@example(mask=PixelMask.from_indices([0], SHAPE), fill=0.0, seed=0)
@example(mask=PixelMask.from_indices([783], SHAPE), fill=1.0, seed=0)
@example(mask=PixelMask.from_indices([0, 27, 756, 783], SHAPE), fill=0.3, seed=1)
@example(mask=PixelMask.from_indices([406], SHAPE), fill=0.0, seed=2)
@example(mask=PixelMask.full(SHAPE), fill=0.0, seed=0)
def test_the_small_network_computes_the_same(architecture, mask, fill, seed):
    assert_same_function(network_for(architecture, seed), mask, fill, seed)


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
@settings(max_examples=15)
@given(st.data())
def test_the_small_network_computes_the_same_on_any_shape(architecture, data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 17), st.integers(1, 17)))
    mask, fill = data.draw(masks(shape)), data.draw(FILLS)
    assert_same_function(livened(architecture, shape, 4, data.draw(st.integers(0, 3))), mask, fill)


@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100"])
def test_flat_networks_are_pruned_too(architecture):
    assert_same_function(livened(architecture, (20,), 4), PixelMask.from_indices([2, 3, 19], (20,)), 0.7)


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
@settings(max_examples=10)
@given(keep=supports(SHAPE), fill=FILLS, seed=st.integers(0, 99))
def test_masks_nest(architecture, keep, fill, seed):
    """A network pruned less, given images in which more is removed, agrees with one pruned more."""
    network = network_for(architecture)
    fewer = keep & (np.random.default_rng(seed).random(SHAPE) < 0.5)
    assume(fewer.any())
    more_kept, less_kept = (PixelMask.from_indices(np.flatnonzero(k), SHAPE) for k in (keep, fewer))
    x = batch(SHAPE)
    large, small = (prune_inputs(network, mask, fill=fill) for mask in (more_kept, less_kept))
    with torch.no_grad():
        difference = large(more_kept.apply(less_kept.remove(x, fill))) - small(less_kept.apply(x))
    assert difference.abs().max() < 1e-10


@st.composite
def stacks(draw: st.DrawFn) -> Network:
    """Convolutional networks beyond the registry: any kernel, stride, padding, with and without pooling and norms."""
    channels, height, width = draw(st.tuples(st.integers(1, 2), st.integers(4, 14), st.integers(4, 14)))
    layers: list[tuple[str, nn.Module]] = []
    x = torch.zeros(1, channels, height, width)
    torch.manual_seed(draw(st.integers(0, 99)))
    pairs = {lo: st.tuples(st.integers(lo, 3), st.integers(lo, 3)) for lo in (0, 1)}
    for i in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["conv", "conv", "pool"] if i else ["conv"]))
        kernel, stride = draw(pairs[1]), draw(pairs[1])
        if kind == "conv":
            padding = draw(pairs[0])
            layer: nn.Module = nn.Conv2d(x.shape[1], 4, kernel, stride, padding, bias=draw(st.booleans()))
            if draw(st.booleans()) and x.shape[1] % 2 == 0:
                layer = nn.Conv2d(x.shape[1], 4, kernel, stride, padding, groups=2)
        else:
            padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
            layer = nn.MaxPool2d(kernel, stride, padding)
        assume(all(n + 2 * p >= k for n, p, k in zip(x.shape[2:], padding, kernel, strict=True)))
        layers.append((f"{kind}{i}", layer))
        x = layer(x)
        if kind == "conv" and draw(st.booleans()):
            layers += [(f"bn{i}", nn.BatchNorm2d(4)), (f"relu{i}", nn.ReLU())]
        if draw(st.booleans()):
            layers.append((f"dropout{i}", nn.Dropout(0.5)))
    layers += [("flatten", nn.Flatten()), ("fc", nn.Linear(x[0].numel(), 6, bias=draw(st.booleans())))]
    layers += [("relu", nn.ReLU()), ("logits", nn.Linear(6, 3))]
    network = Network(ModelSpec("custom", (channels, height, width), 3), layers).double()
    return stir(network, 1).eval()


@given(st.data())
def test_any_stack_of_known_layers_computes_the_same(data):
    network = data.draw(stacks())
    assert_same_function(network, data.draw(masks(network.spec.shape)), data.draw(FILLS))


def custom(*layers: nn.Module, shape: tuple[int, ...] = (2, 9, 9)) -> Network:
    torch.manual_seed(0)
    stack = nn.Sequential(*layers, nn.Flatten())
    width = stack(torch.rand(1, *shape)).shape[1]
    named = [(f"layer{i}", layer) for i, layer in enumerate([*layers, nn.Flatten(), nn.Linear(width, 3)])]
    return stir(Network(ModelSpec("custom", shape, 3), named).double(), 1).eval()


TWICE = nn.Conv2d(2, 2, 3, padding=1)
ODD_LAYERS = {
    "dilated convolution": lambda: custom(nn.Conv2d(2, 3, 3, padding=2, dilation=2)),
    "dilated pooling": lambda: custom(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2, 1, dilation=2)),
    "ceil mode": lambda: custom(nn.Conv2d(2, 3, 2), nn.MaxPool2d(3, 2, ceil_mode=True)),
    "circular padding": lambda: custom(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")),
    "reflected padding": lambda: custom(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")),
    "padding by name": lambda: custom(nn.Conv2d(2, 3, 3, padding="same")),
    "average pooling": lambda: custom(nn.Conv2d(2, 3, 3), nn.AvgPool2d(2)),
    "leaky activation": lambda: custom(nn.Conv2d(2, 3, 3), nn.LeakyReLU()),
    "nested": lambda: custom(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())),
    "flattened from the second axis on": lambda: Network(
        ModelSpec("custom", (2, 9, 9), 7),
        [("conv", nn.Conv2d(2, 3, 3)), ("flatten", nn.Flatten(2)), ("fc", nn.Linear(49, 7))],
    ).double(),
    "no dense layer": lambda: Network(
        ModelSpec("custom", (2, 9, 9), 3 * 49), [("conv", nn.Conv2d(2, 3, 3)), ("flatten", nn.Flatten())]
    ).double(),
    "one module twice": lambda: custom(*copy.deepcopy([TWICE, nn.ReLU(), TWICE])),
}


@pytest.mark.parametrize("odd", ODD_LAYERS)
def test_odd_layers_are_exact_or_refused(odd):
    network = ODD_LAYERS[odd]().eval()
    for indices in ([0], [40], [20, 24, 100], range(162)):
        mask = PixelMask.from_indices(list(indices), (2, 9, 9))
        try:
            small = prune_inputs(network, mask, fill=0.4)
        except LrpError as error:
            check_sentence(error)
            continue
        x = batch((2, 9, 9))
        expected, found = network(mask.remove(x, 0.4)), small(mask.apply(x))
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-10


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        (
            [("norm", nn.LayerNorm(3)), ("flatten", nn.Flatten()), ("fc", nn.Linear(9, 3))],
            r"layer 'norm' \(LayerNorm\)",
        ),
        ([("flatten", nn.Flatten()), ("relu", nn.ReLU()), ("fc", nn.Linear(9, 3))], r"layer 'relu' \(ReLU\)"),
        ([("flatten", nn.Flatten())], "Network returns inputs"),
    ],
    ids=["norm", "relu", "no layer"],
)
def test_networks_that_do_not_start_with_a_layer_are_refused_by_name(layers, named):
    network = Network(ModelSpec("custom", (1, 3, 3), 3), layers)
    with pytest.raises(UnsupportedLayer, match=f"^{named}") as caught:
        prune_inputs(network, PixelMask.from_indices([1], (1, 3, 3)))
    check_sentence(caught.value)


# What pruning leaves alone


def addresses(module: nn.Module) -> set[int]:
    tensors = [*module.parameters(), *module.buffers()]
    return {t.untyped_storage().data_ptr() for t in tensors if t.numel()}


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
@pytest.mark.parametrize("indices", [range(784), range(100, 500, 3)], ids=["all", "some"])
def test_the_network_is_not_touched_and_shares_no_memory(architecture, indices):
    network = livened(architecture, SHAPE, 10).train()
    mask = PixelMask.from_indices(list(indices), SHAPE)
    before, kept = frozen(network), mask.indices.clone()
    small = prune_inputs(network, mask, fill=0.5)
    assert unchanged(network, before)
    assert network.training
    assert small.training
    assert not addresses(network) & addresses(small)
    with torch.no_grad():
        for tensor in (*small.parameters(), *small.buffers()):
            tensor.zero_()
    assert unchanged(network, before)
    assert torch.equal(mask.indices, kept), "the small network shares the mask's memory"


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
def test_pruning_leaves_the_global_random_state(architecture):
    network = livened(architecture, SHAPE, 10)
    mask = PixelMask.from_indices(range(100, 300), SHAPE)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    for call in (
        lambda: prune_inputs(network, mask, fill=0.5),
        lambda: build_pruned(network.spec, mask),
        lambda: build_pruned(network.spec, mask, structure="sliced"),
    ):
        call()
        assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
def test_the_small_network_is_smaller_and_says_what_it_is(architecture):
    network = livened(architecture, SHAPE, 10)
    mask = PixelMask.from_indices([i * 28 + j for i in range(10) for j in range(14)], SHAPE)
    small = prune_inputs(network, mask, fill=0.25)
    assert (small.spec, small.mask, small.fill, small.structure) == (network.spec, mask, 0.25, "sliced")
    size, small_size = (sum(p.numel() for p in m.parameters()) for m in (network, small))
    assert small_size < size
    assert torch.equal(small.encode(torch.ones(2, *SHAPE)), torch.ones(2, 140))
    assert {p.dtype for p in small.parameters()} == {torch.float64}


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
def test_a_small_network_can_be_printed_and_copied(architecture):
    small = prune_inputs(network_for(architecture), PixelMask.from_indices(range(200, 400), SHAPE))
    assert "logits" in repr(small)
    x = batch((200,))
    assert torch.equal(copy.deepcopy(small)(x), small(x))


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
def test_training_mode_is_that_of_the_network(architecture):
    for training in (True, False):
        small = prune_inputs(livened(architecture, SHAPE, 10).train(training), PixelMask.full(SHAPE))
        assert {layer.training for layer in small.modules()} == {training}


@pytest.mark.parametrize("architecture", ["lenet-5", "cnn-32-64"])
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 7), (2, 9, 13), (1, 27, 27)])
def test_pooling_that_leaves_out_a_last_row(architecture, shape):
    n = math.prod(shape)
    for indices in ([n // 2], range(n), range(n // 3, n // 2 + 1)):
        assert_same_function(livened(architecture, shape, 4), PixelMask.from_indices(list(indices), shape), 0.5)


def test_a_dense_slice_is_its_columns():
    network = build_model("mlp-300-100", shape=SHAPE, n_classes=10)
    mask = PixelMask.from_indices([5, 77, 400], SHAPE)
    small = prune_inputs(network, mask, fill=0.0)
    assert torch.equal(small.body.fc1.weight, network.fc1.weight[:, [5, 77, 400]])
    assert torch.equal(small.body.fc1.bias, network.fc1.bias)
    assert sum(p.numel() for p in small.parameters()) == 266_610 - 781 * 300


# Networks for the kept pixels from scratch


@pytest.mark.parametrize("architecture", IMAGE_NETWORKS)
@pytest.mark.parametrize("structure", ["fresh", "sliced"])
@settings(max_examples=8)
@given(mask=masks(SHAPE), fill=FILLS)
def test_untrained_networks_take_the_kept_pixels(architecture, structure, mask, fill):
    spec = ModelSpec(architecture, SHAPE, 10)
    small = build_pruned(spec, mask, fill=fill, structure=structure, seed=4)
    assert isinstance(small, PrunedNetwork)
    assert (small.spec, small.mask, small.fill, small.structure) == (spec, mask, fill, structure)
    logits = small.eval()(torch.rand(2, len(mask)))
    assert logits.shape == (2, 10)
    assert bool(torch.isfinite(logits).all())
    assert unchanged(build_pruned(spec, mask, fill=fill, structure=structure, seed=4), frozen(small))
    assert not unchanged(build_pruned(spec, mask, fill=fill, structure=structure, seed=5), frozen(small))


def test_a_fresh_dense_network_is_the_architecture_on_k_inputs():
    mask = PixelMask.from_indices(range(0, 784, 8), SHAPE)
    small = build_pruned(ModelSpec("mlp-300-100", SHAPE, 10), mask)
    twin = build_model("mlp-300-100", shape=(98,), n_classes=10)
    x = torch.rand(2, 98)
    assert torch.equal(small(x), twin(x))


def test_a_fresh_convolutional_network_is_the_architecture_on_the_bounding_box():
    rows, columns = slice(5, 17), slice(9, 19)
    keep = torch.zeros(SHAPE, dtype=torch.bool)
    keep[0, rows, columns] = True
    keep[0, 10, 12] = False
    mask = PixelMask.from_indices(keep.flatten().nonzero().flatten(), SHAPE)
    x = batch(SHAPE).float()
    for architecture in ("lenet-5", "cnn-32-64"):
        small = build_pruned(ModelSpec(architecture, SHAPE, 10), mask, fill=0.5).eval()
        twin = build_model(architecture, shape=(1, 12, 10), n_classes=10).eval()
        assert torch.allclose(small(mask.apply(x)), twin(mask.remove(x, 0.5)[..., rows, columns]), atol=1e-6)


def test_a_mask_for_another_shape_is_refused(unchecked):
    for shape in ((784,), (1, 28, 27), (28, 28), (3, 28, 28)):
        mask = PixelMask.full(shape)
        for call in (
            lambda mask=mask: prune_inputs(build_model("lenet-5", shape=SHAPE, n_classes=10), mask),
            lambda mask=mask: build_pruned(ModelSpec("softmax", SHAPE, 10), mask),
        ):
            with pytest.raises(InputError, match=r"the network for \(1, 28, 28\)$"):
                call()


@pytest.mark.parametrize("fill", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("architecture", ["softmax", "lenet-5"])
def test_a_fill_that_is_no_number_is_refused(architecture, fill):
    mask = PixelMask.from_indices([1, 2], SHAPE)
    spec = ModelSpec(architecture, SHAPE, 10)
    for structure in ("fresh", "sliced"):
        with pytest.raises(InputError):
            build_pruned(spec, mask, fill=fill, structure=structure)


def test_an_unknown_structure_is_refused(unchecked):
    with pytest.raises(InputError, match="frsh"):
        build_pruned(ModelSpec("softmax", SHAPE, 10), PixelMask.full(SHAPE), structure="frsh")


# The two layers


@given(keep=supports((2, 4, 5)), fill=FILLS)
def test_scatter_and_its_adjoint(keep, fill):
    positions = torch.from_numpy(np.flatnonzero(keep))
    layer = Scatter(positions, (2, 4, 5), fill)
    kept, canvas = batch((len(positions),)), batch((2, 4, 5))
    expected = np.full((3, 2, 4, 5), fill)
    expected[:, keep] = kept.numpy()
    assert np.array_equal(layer(kept).numpy(), expected)
    linear = Scatter(positions, (2, 4, 5))
    assert torch.allclose((linear(kept) * canvas).sum(), (kept * linear.gather(canvas)).sum())
    assert layer.state_dict() == {}, "positions follow from the mask and are not stored"


@given(top=st.integers(0, 3), left=st.integers(0, 3), height=st.integers(1, 3), width=st.integers(1, 3))
def test_frame_and_its_adjoint(top, left, height, width):
    surround = batch((2, 6, 6), 1)[0]
    layer = Frame(surround, top, left)
    features = batch((2, height, width))
    expected = surround.numpy()[None].repeat(3, 0)
    expected[:, :, top : top + height, left : left + width] = features.numpy()
    assert np.array_equal(layer(features).numpy(), expected)
    framed = batch((2, 6, 6), seed=1)
    assert torch.equal(layer.crop(framed, features), framed[:, :, top : top + height, left : left + width])
    assert torch.equal(layer.surround, surround)
