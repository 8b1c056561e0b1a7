"""What relevance must not depend on: the order of units, the batch, mirrors, scale, precision, layout of memory."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lrp_core.lrp import (
    COMPOSITES,
    STARTS,
    Explainer,
    attribute,
)

from .networks import (
    ARCHITECTURE_NAMES,
    IMAGE,
    architecture,
    cnn,
    cnns,
    images,
    mlp,
    mlps,
    randomise,
    relative_error,
    seeds,
)

pytestmark = pytest.mark.slow

ANY_START = st.sampled_from(STARTS)
ANY_COMPOSITE = st.sampled_from(sorted(COMPOSITES))
ANY_NETWORK = mlps() | cnns()


class TestSymmetry:
    @given(ANY_NETWORK, ANY_COMPOSITE, ANY_START)
    @settings(deadline=None, max_examples=30)
    def test_a_batch_is_its_images_one_by_one(
        self, drawn: tuple[nn.Module, Tensor], composite: str, start: str
    ) -> None:
        model, x = drawn
        explainer = Explainer(model, composite)
        together = explainer.relevance(x, 1, start)
        alone = torch.cat([explainer.relevance(x[i : i + 1], 1, start) for i in range(len(x))])
        assert relative_error(together, alone) < 1e-9

    @given(ANY_COMPOSITE, ANY_START, seeds)
    @settings(deadline=None, max_examples=20)
    def test_the_order_of_hidden_units_does_not_matter(self, composite: str, start: str, seed: int) -> None:
        model = randomise(cnn([4, 6], norm=True), seed)
        x, shuffled, random = images(IMAGE, seed), copy.deepcopy(model), torch.Generator().manual_seed(seed)
        first, norm, second = shuffled[0], shuffled[1], shuffled[4]
        hidden, logits = shuffled[-4], shuffled[-1]
        with torch.no_grad():
            p = torch.randperm(4, generator=random)
            for tensor in (first.weight, first.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor.copy_(tensor[p].clone())
            second.weight.copy_(second.weight[:, p].clone())
            q = torch.randperm(hidden.out_features, generator=random)
            for tensor in (hidden.weight, hidden.bias):
                tensor.copy_(tensor[q].clone())
            logits.weight.copy_(logits.weight[:, q].clone())
        torch.testing.assert_close(shuffled(x), model(x))
        expected = attribute(model, x, target=1, composite=composite, start=start)
        assert relative_error(attribute(shuffled, x, target=1, composite=composite, start=start), expected) < 1e-7

    @given(ANY_COMPOSITE, ANY_START, seeds)
    @settings(deadline=None, max_examples=20)
    def test_permuting_pixels_and_columns_permutes_relevance(self, composite: str, start: str, seed: int) -> None:
        model, x = randomise(mlp([8, 6, 4]), seed), images((8,), seed)
        p = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
        shuffled = copy.deepcopy(model)
        with torch.no_grad():
            shuffled[1].weight.copy_(model[1].weight[:, p])
        expected = attribute(model, x, target=0, composite=composite, start=start)[:, p]
        actual = attribute(shuffled, x[:, p], target=0, composite=composite, start=start)
        assert relative_error(actual, expected) < 1e-7

    @pytest.mark.parametrize("composite", COMPOSITES)
    @pytest.mark.parametrize("flip", [2, 3])
    def test_a_mirrored_image_under_mirrored_kernels_has_mirrored_relevance(self, composite: str, flip: int) -> None:
        model, x = randomise(cnn([4, 4], pool=False, hidden=None), 1), images(IMAGE)
        mirrored = copy.deepcopy(model)
        with torch.no_grad():
            for layer in mirrored:
                if isinstance(layer, nn.Conv2d):
                    layer.weight.copy_(layer.weight.flip(flip))
            last = mirrored[-1]
            last.weight.copy_(last.weight.view(-1, 4, *IMAGE[1:]).flip(flip).flatten(1))
        expected = attribute(model, x, target=0, composite=composite).flip(flip)
        assert relative_error(attribute(mirrored, x.flip(flip), target=0, composite=composite), expected) < 1e-7

    @pytest.mark.parametrize("composite", COMPOSITES)
    def test_a_logit_scaled_by_its_weights_scales_relevance(self, composite: str) -> None:
        """Doubling the last layer doubles the start, and (but for epsilon and the stabiliser) all relevance."""
        model, x = randomise(cnn([4]), 0), images(IMAGE)
        doubled = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in doubled[-1].parameters():
                parameter.mul_(2)
        expected = 2 * attribute(model, x, target=1, composite=composite)
        assert relative_error(attribute(doubled, x, target=1, composite=composite), expected) < 1e-4

    @pytest.mark.parametrize("composite", COMPOSITES)
    @pytest.mark.parametrize("name", ARCHITECTURE_NAMES)
    def test_single_precision_is_close_to_double(self, name: str, composite: str) -> None:
        model, x = architecture(name), images((1, 12, 12))
        expected = attribute(model, x, target=1, composite=composite, start="log-odds")
        single = attribute(copy.deepcopy(model).float(), x.float(), target=1, composite=composite, start="log-odds")
        assert single.dtype == torch.float32
        assert relative_error(single, expected) < 1e-3

    def test_the_layout_of_memory_does_not_matter(self) -> None:
        model, x = randomise(cnn([4, 4]), 0), images(IMAGE)
        expected = attribute(model, x, target=1)
        turned = attribute(
            copy.deepcopy(model).to(memory_format=torch.channels_last),
            x.to(memory_format=torch.channels_last),
            target=1,
        )
        assert relative_error(turned, expected) < 1e-9
        strided = torch.stack([x, x], dim=-1)[..., 0]
        assert relative_error(attribute(model, strided, target=1), expected) < 1e-12
