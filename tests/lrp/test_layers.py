"""Scatter and Frame: forward, adjoint, and the relevance of a network that was cut down to its kept pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lrp_core.errors import InputError
from lrp_core.lrp import STARTS, Explainer, attribute
from lrp_core.lrp.reading import trace
from lrp_core.lrp.relevance import Relevance
from lrp_core.pruning import PixelMask, build_pruned, prune_inputs
from lrp_core.pruning.explained import Framing, Scattering
from lrp_core.pruning.layers import Frame, Scatter

from .networks import architecture, images, relative_error, seeds

pytestmark = pytest.mark.slow

SHAPE = (1, 12, 12)


# Strategies draw plain values: the type checks inside our constructors use `random`, which hypothesis forbids in draws.
@st.composite
def scatters(draw: st.DrawFn) -> tuple[list[int], tuple[int, ...], float]:
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=3, max_size=3)))
    n = shape[0] * shape[1] * shape[2]
    positions = draw(st.permutations(range(n)))[: draw(st.integers(1, n))]
    return positions, shape, draw(st.sampled_from([0.0, 0.25, -1.0]))


def scatter_of(drawn: tuple[list[int], tuple[int, ...], float]) -> Scatter:
    positions, shape, fill = drawn
    return Scatter(torch.tensor(positions), shape, fill)


class TestScatter:
    @given(scatters(), st.integers(0, 3))
    @settings(deadline=None, max_examples=50)
    def test_puts_pixels_in_their_places_and_fill_elsewhere(
        self, drawn: tuple[list[int], tuple[int, ...], float], n: int
    ) -> None:
        scatter = scatter_of(drawn)
        kept = torch.rand(n, len(scatter.positions), dtype=torch.float64)
        canvas = scatter(kept)
        assert canvas.shape == (n, *scatter.shape)
        for image, pixels in zip(canvas.flatten(1), kept, strict=True):
            expected = [scatter.fill] * image.numel()
            for position, pixel in zip(scatter.positions.tolist(), pixels.tolist(), strict=True):
                expected[position] = pixel
            assert image.tolist() == expected

    @given(scatters())
    @settings(deadline=None, max_examples=30)
    def test_gather_is_the_adjoint(self, drawn: tuple[list[int], tuple[int, ...], float]) -> None:
        scatter = scatter_of(drawn)
        kept = torch.rand(2, len(scatter.positions), dtype=torch.float64, requires_grad=True)
        canvas = scatter(kept)
        r = torch.randn_like(canvas)
        (expected,) = torch.autograd.grad(canvas, kept, r)
        assert torch.equal(scatter.gather(r), expected)
        assert torch.equal(scatter.gather(scatter(kept)), kept)

    def test_keeps_precision_and_does_not_keep_the_callers_positions(self) -> None:
        positions = torch.tensor([3, 0])
        scatter = Scatter(positions, (1, 2, 2))
        positions.zero_()
        assert scatter.positions.tolist() == [3, 0]
        assert scatter(torch.ones(1, 2, dtype=torch.float16)).dtype == torch.float16
        assert not scatter.state_dict()

    @pytest.mark.parametrize("width", [1, 2, 4])
    def test_the_wrong_number_of_pixels_is_refused(self, width: int) -> None:
        """One pixel must not be spread over all places."""
        with pytest.raises((RuntimeError, InputError)):
            Scatter(torch.tensor([0, 1, 2]), (1, 2, 2))(torch.rand(5, width))

    def test_its_step_drops_the_relevance_of_the_fill(self) -> None:
        scatter = Scatter(torch.tensor([3, 0]), (1, 2, 2), fill=0.5)
        (step,) = trace(nn.Sequential(scatter))
        assert isinstance(step.operation, Scattering)
        kept = torch.rand(1, 2)
        r = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        z, back = step.operation.run(kept)
        for arriving, expected in ((Relevance.of(z, r), r), (Relevance.product(z, r), z * r)):
            (left,) = back(arriving)
            assert torch.equal(left.dense(), expected.flatten(1)[:, [3, 0]])

    def test_says_what_it_does(self) -> None:
        assert str(Scatter(torch.tensor([3, 0]), (1, 2, 2))) == "Scatter(2 pixels -> (1, 2, 2), fill=0.0)"


class TestFrame:
    @given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.integers(0, 2), seeds)
    @settings(deadline=None, max_examples=40)
    def test_sets_a_map_into_its_surround(self, c: int, h: int, w: int, top: int, left: int, seed: int) -> None:
        torch.manual_seed(seed)
        surround = torch.randn(c, top + h + 1, left + w + 2, dtype=torch.float64)
        frame, features = Frame(surround, top, left), torch.randn(3, c, h, w, dtype=torch.float64, requires_grad=True)
        framed = frame(features)
        expected = torch.stack([surround] * 3)
        expected[:, :, top : top + h, left : left + w] = features.detach()
        assert torch.equal(framed, expected)
        assert torch.equal(frame.surround, surround)
        r = torch.randn_like(framed)
        (adjoint,) = torch.autograd.grad(framed, features, r)
        assert torch.equal(frame.crop(r, like=features), adjoint)

    def test_its_step_absorbs_the_relevance_of_the_surround(self) -> None:
        frame = Frame(torch.zeros(1, 3, 3), 1, 0)
        (step,) = trace(nn.Sequential(frame))
        assert isinstance(step.operation, Framing)
        a = torch.ones(1, 1, 1, 2)
        r = torch.arange(9.0).view(1, 1, 3, 3)
        z, back = step.operation.run(a)
        (left,) = back(Relevance.of(z, r))
        assert left.dense().tolist() == [[[[3.0, 4.0]]]]

    def test_does_not_keep_the_callers_surround(self) -> None:
        surround = torch.ones(1, 2, 2)
        frame = Frame(surround, 0, 0)
        surround.zero_()
        assert frame.surround.all()
        assert list(frame.state_dict()) == ["surround"]

    def test_a_map_that_does_not_fit_is_refused(self) -> None:
        with pytest.raises((RuntimeError, InputError)):
            Frame(torch.zeros(1, 3, 3), 1, 1)(torch.ones(1, 1, 3, 2))


@st.composite
def kept_pixels(draw: st.DrawFn) -> list[int]:
    """Positions inside a random rectangle, from one pixel to the whole image."""
    top, left = draw(st.integers(0, 8)), draw(st.integers(0, 8))
    bottom, right = draw(st.integers(top + 3, 12)), draw(st.integers(left + 3, 12))
    keep = torch.zeros(SHAPE, dtype=torch.bool)
    random = torch.Generator().manual_seed(draw(seeds))
    keep[:, top:bottom, left:right] = torch.rand(1, bottom - top, right - left, generator=random) < 0.6
    keep[0, (top + bottom) // 2, (left + right) // 2] = True
    return keep.flatten().nonzero().flatten().tolist()


def pruned_pair(name: str, mask: PixelMask, fill: float) -> tuple[nn.Module, nn.Module, Tensor]:
    """The full network, the cut one, and images whose removed pixels hold `fill`."""
    full = architecture(name, SHAPE)
    return full, prune_inputs(full, mask, fill=fill), mask.remove(images(SHAPE, 3), fill)


class TestPrunedNetworks:
    """The small network is the big one with less input: so is its relevance, where no rule mixes biases in."""

    @given(
        kept_pixels(),
        st.sampled_from(["lenet-5", "cnn-32-64", "mlp-300-100", "softmax"]),
        st.sampled_from(["lrp-0", "epsilon", "epsilon-plus"]),
        st.sampled_from(STARTS),
        st.sampled_from([0.0, 0.3]),
    )
    @settings(deadline=None, max_examples=60)
    def test_kept_pixels_have_the_relevance_they_had(
        self, kept: list[int], name: str, composite: str, start: str, fill: float
    ) -> None:
        mask = PixelMask.from_indices(kept, SHAPE)
        full, small, x = pruned_pair(name, mask, fill)
        expected = Explainer(full, composite).explain(x, 2, start)
        actual = Explainer(small, composite).explain(mask.apply(x), 2, start)
        assert relative_error(actual.logits, expected.logits) < 1e-10
        relevance = expected.relevance.flatten(1)[:, mask.indices]
        scale = max(float(expected.relevance.abs().max()), 1e-12)
        assert float((actual.relevance - relevance).abs().max()) / scale < 1e-7

    @given(kept_pixels(), st.sampled_from(["lenet-5", "cnn-32-64"]), st.sampled_from(STARTS))
    @settings(deadline=None, max_examples=20)
    def test_lrp_0_is_gradient_x_input_through_scatter_and_frame(self, kept: list[int], name: str, start: str) -> None:
        mask = PixelMask.from_indices(kept, SHAPE)
        _, small, x = pruned_pair(name, mask, 0.3)
        pixels = mask.apply(x).requires_grad_()
        z = small(pixels)
        others = torch.cat([z[:, :2], z[:, 3:]], 1)
        rest = {
            "logit": 0 * z[:, 2],
            "one-hot": 0 * z[:, 2],
            "contrast": others.amax(1),
            "log-odds": others.logsumexp(1),
        }
        value = (z[:, 2] - rest[start]) / (z[:, 2].detach() if start == "one-hot" else 1)
        (gradient,) = torch.autograd.grad(value.sum(), pixels)
        relevance = attribute(small, pixels, target=2, composite="lrp-0", start=start)
        assert relative_error(relevance, (pixels * gradient).detach()) < 1e-8

    @pytest.mark.parametrize("name", ["lenet-5", "cnn-32-64", "mlp-300-100"])
    def test_a_fresh_network_for_the_kept_pixels_can_be_explained(self, name: str) -> None:
        mask = PixelMask.from_indices(torch.arange(30, 90, 2), SHAPE)
        small = build_pruned(architecture(name, SHAPE).spec, mask).double()
        kept = mask.apply(images(SHAPE))
        pixels = kept.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(small.eval()(pixels)[:, 1].sum(), pixels)
        relevance = attribute(small, kept, target=1, composite="lrp-0")
        assert relevance.shape == (3, 30)
        assert relative_error(relevance, kept * gradient) < 1e-8

    def test_steps_of_a_cut_network_include_its_frames(self) -> None:
        mask = PixelMask.from_indices(torch.tensor([50, 51, 66, 77]), SHAPE)
        _, small, x = pruned_pair("cnn-32-64", mask, 0.0)
        kinds = [type(step.operation).__name__ for step in trace(small)]
        assert kinds[0] == "Scattering"
        assert "Framing" in kinds
        with pytest.raises(InputError):
            attribute(small, mask.apply(x)[:, :2])
        with pytest.raises(InputError):
            attribute(small, mask.apply(x)[:, :1])
