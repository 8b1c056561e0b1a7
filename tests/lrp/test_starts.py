"""Where relevance starts, and which class it is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lrp_core.errors import InputError
from lrp_core.lrp import (
    COMPOSITES,
    STARTS,
    Explainer,
    attribute,
)
from lrp_core.lrp.starts import start_relevance

from .networks import (
    ARCHITECTURE_NAMES,
    IMAGE,
    architecture,
    assert_clear,
    cnn,
    cnns,
    gradient_x_input,
    images,
    mlp,
    mlps,
    randomise,
    relative_error,
    seeds,
    some_targets,
    starting_value,
)

pytestmark = pytest.mark.slow

ANY_START = st.sampled_from(STARTS)
ANY_COMPOSITE = st.sampled_from(sorted(COMPOSITES))
ANY_NETWORK = mlps() | cnns()


class TestStart:
    @given(ANY_NETWORK, ANY_START, seeds)
    @settings(deadline=None, max_examples=40)
    def test_lrp_0_is_gradient_x_input(self, drawn: tuple[nn.Module, Tensor], start: str, seed: int) -> None:
        model, x = drawn
        target = some_targets(len(x), model(x).shape[1], seed)
        relevance = attribute(model, x, target=target, composite="lrp-0", start=start)
        expected = gradient_x_input(model, x, target, start)
        assume(bool(expected.isfinite().all()))  # the oracle of one-hot divides by a logit, which may be 0
        assert relative_error(relevance, expected) < 1e-8

    @pytest.mark.parametrize("start", STARTS)
    @pytest.mark.parametrize("name", ARCHITECTURE_NAMES)
    def test_lrp_0_is_gradient_x_input_for_our_own_architectures(self, name: str, start: str) -> None:
        model, x = architecture(name), images((1, 12, 12))
        target = torch.tensor([0, 4, 2])
        relevance = attribute(model, x, target=target, composite="lrp-0", start=start)
        assert relative_error(relevance, gradient_x_input(model, x, target, start)) < 1e-9

    @given(st.integers(2, 6), st.integers(1, 4), ANY_START, seeds)
    @settings(deadline=None, max_examples=40)
    def test_is_each_logit_times_its_derivative(self, n_classes: int, n: int, start: str, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        logits = (torch.randn(n, n_classes, generator=random, dtype=torch.float64) * 5).requires_grad_()
        target = torch.randint(n_classes, (n,), generator=random)
        (gradient,) = torch.autograd.grad(starting_value(logits, target, start).sum(), logits)
        wanted = gradient.detach() if start == "one-hot" else (logits * gradient).detach()
        if start == "one-hot":
            wanted = torch.zeros_like(wanted).scatter_(1, target[:, None], 1.0)
        chosen, r = start_relevance(logits.detach(), target, start)
        assert torch.equal(chosen, target)
        assert relative_error(r.dense(), wanted) < 1e-12

    def test_logit_contrast_and_log_odds_of_known_logits(self) -> None:
        logits = torch.tensor([[2.0, -1.0, 3.0]], dtype=torch.float64)
        assert start_relevance(logits, 0, "logit")[1].dense().tolist() == [[2.0, 0.0, 0.0]]
        assert start_relevance(logits, 0, "contrast")[1].dense().tolist() == [[2.0, 0.0, -3.0]]
        share = torch.tensor([-1.0, 3.0], dtype=torch.float64).softmax(0)
        expected = torch.tensor([[2.0, 1.0 * share[0], -3.0 * share[1]]], dtype=torch.float64)
        torch.testing.assert_close(start_relevance(logits, 0, "log-odds")[1].dense(), expected)

    def test_contrast_subtracts_exactly_one_of_several_equal_rivals(self) -> None:
        _, r = start_relevance(torch.tensor([[1.0, 4.0, 4.0, 4.0]]), 0, "contrast")
        assert r.dense().sum() == 1 - 4
        assert r.dense().count_nonzero() == 2

    @pytest.mark.parametrize("start", STARTS)
    def test_large_logits_do_not_overflow(self, start: str) -> None:
        _, r = start_relevance(torch.tensor([[1e4, -1e4, 3e4]]), 1, start)
        assert torch.isfinite(r.dense()).all()

    @pytest.mark.parametrize("start", ["contrast", "log-odds"])
    def test_a_single_output_has_nothing_to_be_contrasted_with(self, start: str) -> None:
        model = randomise(mlp([4, 3, 1]), 0)
        with pytest.raises(InputError, match=start):
            attribute(model, images((4,)), start=start)

    def test_a_single_output_can_be_explained_by_its_logit(self) -> None:
        model, x = randomise(mlp([4, 3, 1]), 0), images((4,))
        relevance = attribute(model, x, composite="lrp-0")
        assert relative_error(relevance, gradient_x_input(model, x, torch.zeros(3, dtype=torch.long), "logit")) < 1e-9


class TestTarget:
    def test_none_is_the_predicted_class(self) -> None:
        model, x = randomise(cnn([4]), 3), images(IMAGE, n=6)
        predicted = model(x).argmax(1)
        explanation = Explainer(model).explain(x)
        assert torch.equal(explanation.target, predicted)
        assert torch.equal(explanation.relevance, attribute(model, x, target=predicted))

    def test_one_class_is_meant_for_every_image(self) -> None:
        model, x = randomise(cnn([4]), 3), images(IMAGE)
        assert torch.equal(attribute(model, x, target=2), attribute(model, x, target=torch.full((3,), 2)))

    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
    def test_any_integer_type_will_do(self, dtype: torch.dtype) -> None:
        model, x = randomise(mlp([5, 4]), 0), images((5,))
        explanation = Explainer(model).explain(x, torch.tensor([3, 0, 1], dtype=dtype))
        assert explanation.target.tolist() == [3, 0, 1]

    @pytest.mark.parametrize(
        ("target", "says"),
        [
            (4, "between 0 and 3"),
            (-1, "between 0 and 3"),
            (torch.tensor([0, 1, 4]), "between 0 and 3"),
            (torch.tensor([0, -1, 2]), "between 0 and 3"),
            (torch.tensor([0, 1]), "3 classes"),
            (torch.tensor([[0], [1], [2]]), "3 classes"),
            (torch.tensor([0.0, 1.0, 2.0]), "integers"),
            (torch.tensor([True, False, True]), "integers"),
            (torch.eye(3, 4), "integers"),
        ],
        ids=str,
    )
    def test_what_is_no_class_is_refused(self, target: Any, says: str) -> None:
        model = randomise(mlp([5, 4]), 0)
        with pytest.raises(InputError, match=says) as refused:
            attribute(model, images((5,)), target=target)
        assert_clear(refused.value)

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize(
        "target",
        [[3, 0, 1], (3, 0, 1), np.array([3, 0, 1]), np.array([3, 0, 1], dtype=np.uint8), [np.int64(3), 0, 1]],
        ids=repr,
    )
    def test_sequences_of_classes(self, target: Any) -> None:
        model, x = randomise(mlp([5, 4]), 0), images((5,))
        assert Explainer(model).explain(x, target).target.tolist() == [3, 0, 1]

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize("target", [2, np.int64(2), np.uint8(2), torch.tensor(2), np.array(2)], ids=repr)
    def test_numbers_of_any_kind(self, target: Any) -> None:
        model, x = randomise(mlp([5, 4]), 0), images((5,))
        assert Explainer(model).explain(x, target).target.tolist() == [2, 2, 2]

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize(
        "target",
        [
            "most",
            "3",
            1.0,
            [0.5, 1, 2],
            np.array([0.0, 1.0, 2.0]),
            torch.tensor(1.0),
            [[0], [1], [2]],
            {0: 1},
            object(),
        ],
        ids=lambda value: str(value).split(" at ")[0],
    )
    def test_what_is_no_number_is_refused(self, target: Any) -> None:
        model = randomise(mlp([5, 4]), 0)
        with pytest.raises(InputError, match="target") as refused:
            attribute(model, images((5,)), target=target)
        assert_clear(refused.value)

    @pytest.mark.parametrize("target", [10**30, -(10**30), 2**62])
    def test_absurd_classes_are_refused(self, target: int) -> None:
        with pytest.raises(InputError, match="target") as refused:
            attribute(randomise(mlp([5, 4]), 0), images((5,)), target=target)
        assert_clear(refused.value)

    @pytest.mark.parametrize("composite", ["lrp-0", "epsilon-plus", "epsilon-gamma-box", "epsilon-alpha2-beta1-flat"])
    @pytest.mark.parametrize("start", STARTS)
    def test_all_is_every_class_in_turn(self, start: str, composite: str) -> None:
        model, x = randomise(cnn([4]), 3), images(IMAGE)
        explainer = Explainer(model, composite)
        together = explainer.relevance(x, "all", start)
        assert together.shape == (3, 4, *IMAGE)
        assert torch.equal(together, torch.stack([explainer.relevance(x, k, start) for k in range(4)], 1))
        assert torch.equal(together, attribute(model, x, target="all", composite=composite, start=start))

    def test_all_needs_logits_and_a_start_by_name(self) -> None:
        model, x = randomise(cnn([4]), 3), images(IMAGE)
        with pytest.raises(InputError, match="leave the target out"):
            attribute(model, x, target="all", start=torch.ones(3, 4, dtype=torch.float64))
        with pytest.raises(InputError, match="logits"):
            attribute(nn.Sequential(nn.Conv2d(2, 3, 3).double()), x, target="all")


class TestGivenStart:
    """Relevance of the output as a tensor, which need not be logits."""

    model, x = randomise(cnn([4], bias=False), 2), images(IMAGE)

    def test_the_logit_of_a_class_is_the_start_logit(self) -> None:
        for composite in COMPOSITES:
            explainer = Explainer(self.model, composite)
            logits = explainer.explain(self.x, 2).logits
            start = logits * torch.tensor([0.0, 0.0, 1.0, 0.0])
            given_start = explainer.explain(self.x, start=start)
            assert relative_error(given_start.relevance, explainer.relevance(self.x, 2)) < 1e-9
            assert given_start.target.tolist() == [-1, -1, -1]

    def test_relevance_is_linear_in_it(self) -> None:
        random = torch.Generator().manual_seed(0)
        one, other = (torch.randn(3, 4, generator=random, dtype=torch.float64) for _ in range(2))
        for composite in ("epsilon", "epsilon-gamma-box", "epsilon-alpha2-beta1", "w2"):
            explainer = Explainer(self.model, composite)
            both = explainer.relevance(self.x, start=2 * one - other)
            expected = 2 * explainer.relevance(self.x, start=one) - explainer.relevance(self.x, start=other)
            assert relative_error(both, expected) < 1e-9

    @pytest.mark.parametrize("layers", [0, 1])
    def test_maps_can_be_explained(self, layers: int) -> None:
        body = randomise(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3, bias=False)), 0)
        z = body(self.x).detach()
        relevance = attribute(body, self.x, start=z, composite="lrp-0")
        pixels = self.x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(body(pixels).sum(), pixels)
        assert relative_error(relevance, self.x * gradient) < 1e-9

    def test_it_is_neither_changed_nor_kept(self) -> None:
        start = torch.ones(3, 4, dtype=torch.float64, requires_grad=True)
        explanation = Explainer(randomise(nn.Sequential(nn.Flatten(), nn.Flatten()), 0)).explain(
            torch.ones(3, 4, dtype=torch.float64), start=start
        )
        assert not explanation.relevance.requires_grad
        explanation.relevance.zero_()
        for tensor in explanation.layers.values():
            tensor.zero_()
        assert bool((start == 1).all())
        assert start._version == 0

    def test_another_precision_will_do(self) -> None:
        start = torch.ones(3, 4)
        assert Explainer(self.model).relevance(self.x, start=start).dtype == torch.float64

    @pytest.mark.parametrize(
        ("start", "says"),
        [
            (torch.ones(3, 5), "(3, 4), not (3, 5)"),
            (torch.ones(4), "(3, 4), not (4,)"),
            (torch.ones(1, 4), "(3, 4), not (1, 4)"),
            (torch.ones(3, 4, dtype=torch.int64), "int64"),
            (torch.ones(3, 4, dtype=torch.bool), "bool"),
            (torch.full((3, 4), float("nan")), "finite"),
            (torch.full((3, 4), float("inf")), "finite"),
        ],
        ids=str,
    )
    def test_what_is_no_start_is_refused(self, start: Tensor, says: str) -> None:
        with pytest.raises(InputError) as refused:
            attribute(self.model, self.x, start=start)
        assert_clear(refused.value, says)

    def test_a_target_beside_it_is_refused(self) -> None:
        with pytest.raises(InputError, match="leave the target out") as refused:
            attribute(self.model, self.x, start=torch.ones(3, 4, dtype=torch.float64), target=1)
        assert_clear(refused.value)

    def test_unknown_names_are_refused_with_the_nearest(self) -> None:
        with pytest.raises(InputError, match="did you mean 'contrast'") as refused:
            attribute(self.model, self.x, start="contrasts")
        assert_clear(refused.value, *STARTS)

    @pytest.mark.usefixtures("unchecked")
    def test_a_word_other_than_all_is_no_target(self) -> None:
        with pytest.raises(InputError, match="target") as refused:
            attribute(self.model, self.x, target="every")  # type: ignore[arg-type]
        assert_clear(refused.value, "all")
