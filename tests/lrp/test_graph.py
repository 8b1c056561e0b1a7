"""How a model becomes a list of steps: what is understood, and what is refused by name before anything is computed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.errors import UnsupportedLayer
from lrp_core.lrp import COMPOSITES, Explainer, attribute
from lrp_core.lrp.graph import Affine, MaxPool, trace

from .networks import IMAGE, Lambda, cnn, images, mlp, randomise, relative_error

WIDTH = 6


def three(forward: Callable[[Any, Tensor], Any], **parts: nn.Module) -> nn.Module:
    """Three dense layers a, b, c (and other parts), joined by `forward`."""
    dense = {"a": nn.Linear(WIDTH, 5), "b": nn.Linear(5, 5), "c": nn.Linear(5, 3)}
    return randomise(Lambda(forward, **dense, **parts), 4)


def plain() -> nn.Module:
    return three(lambda m, x: m.c(torch.relu(m.b(torch.relu(m.a(x))))))


def relu_method(m: Any, x: Tensor) -> Tensor:
    return m.c(m.b(m.a(x).relu()).relu_())


def inplace_functional(m: Any, x: Tensor) -> Tensor:
    return m.c(F.relu(m.b(F.relu_(m.a(x))), inplace=True))


def inplace_statement(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    F.relu_(h)
    h = m.b(h)
    h.relu_()
    return m.c(h)


def inplace_flag_statement(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    F.relu(h, inplace=True)
    h = m.b(h)
    torch.relu_(h)
    return m.c(h)


def inplace_module_statement(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    m.relu(h)
    h = m.b(h)
    m.relu(h)
    return m.c(h)


def one_relu_twice(m: Any, x: Tensor) -> Tensor:
    return m.c(m.relu(m.b(m.relu(m.a(x)))))


def functional_dropout(m: Any, x: Tensor) -> Tensor:
    return m.c(F.dropout(torch.relu(m.b(torch.relu(m.a(x)))), 0.5, m.training))


def dropout_and_identity(m: Any, x: Tensor) -> Tensor:
    return m.c(m.drop(m.same(torch.relu(m.b(m.drop(torch.relu(m.a(x))))))))


def unused_branch(m: Any, x: Tensor) -> Tensor:
    h = torch.relu(m.a(x))
    m.b(x.relu()[:, :5]) if False else m.c(h)
    torch.relu(m.c(h))
    return m.c(torch.relu(m.b(h)))


def keyword(m: Any, x: Tensor) -> Tensor:
    return m.c(torch.relu(input=m.b(F.relu(input=m.a(input=x)))))


SAME_AS_PLAIN: dict[str, tuple[Callable[[Any, Tensor], Tensor], dict[str, nn.Module]]] = {
    "relu as a method": (relu_method, {}),
    "functional relu in place": (inplace_functional, {}),
    "relu in place as a statement": (inplace_statement, {}),
    "relu with inplace=True as a statement": (inplace_flag_statement, {}),
    "in-place module as a statement": (inplace_module_statement, {"relu": nn.ReLU(inplace=True)}),
    "one relu used twice": (one_relu_twice, {"relu": nn.ReLU()}),
    "one in-place relu used twice": (one_relu_twice, {"relu": nn.ReLU(inplace=True)}),
    "functional dropout": (functional_dropout, {}),
    "dropout and identity": (dropout_and_identity, {"drop": nn.Dropout(0.9), "same": nn.Identity()}),
    "an unused branch": (unused_branch, {}),
    "arguments by keyword": (keyword, {}),
}


class TestUnderstood:
    @pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
    @pytest.mark.parametrize("how", SAME_AS_PLAIN)
    def test_relevance_is_that_of_the_plain_network(self, how: str, training: bool) -> None:
        forward, parts = SAME_AS_PLAIN[how]
        model, x = three(forward, **copy.deepcopy(parts)), images((WIDTH,))
        expected_logits = model(x.clone()).detach()
        torch.testing.assert_close(expected_logits, plain()(x).detach())
        model.train(training)
        for composite in COMPOSITES:
            explanation = Explainer(model, composite).explain(x.clone(), 1)
            assert relative_error(explanation.logits, expected_logits) < 1e-12
            assert relative_error(explanation.relevance, attribute(plain(), x, target=1, composite=composite)) < 1e-12
        assert model.training is training

    @pytest.mark.parametrize(
        "flatten",
        [
            lambda m, x: torch.flatten(x, 1),
            lambda m, x: torch.flatten(x, start_dim=1),
            lambda m, x: torch.flatten(x, 1, -1),
            lambda m, x: x.flatten(1),
            lambda m, x: x.flatten(start_dim=1, end_dim=-1),
            lambda m, x: m.flat(x),
            lambda m, x: m.flat(m.flat(x)),
        ],
    )
    def test_flatten_variants(self, flatten: Callable[[Any, Tensor], Tensor]) -> None:
        parts = {"conv": nn.Conv2d(2, 3, 3), "flat": nn.Flatten(), "out": nn.Linear(192, 4)}
        model = randomise(Lambda(lambda m, x: m.out(flatten(m, torch.relu(m.conv(x)))), **parts), 0)
        reference = nn.Sequential(model.conv, nn.ReLU(), nn.Flatten(), model.out)
        assert torch.equal(attribute(model, images(IMAGE), target=2), attribute(reference, images(IMAGE), target=2))

    @pytest.mark.parametrize(
        "flatten",
        [
            lambda x: x.view(x.size(0), -1),
            lambda x: x.view(len(x), -1) if isinstance(x, Tensor) else x.view(x.shape[0], -1),
            lambda x: x.reshape(-1, 192),
            lambda x: torch.flatten(x, end_dim=-1, start_dim=1),
            lambda x: torch.flatten(x, 2),
            lambda x: torch.flatten(x, 1, 2).flatten(1),
            lambda x: torch.flatten(x)[None],
            lambda x: x.transpose(2, 3).flatten(1),
        ],
    )
    def test_other_reshaping_is_right_or_refused(self, flatten: Callable[[Any], Tensor]) -> None:
        """Never wrong in silence: whatever the tracer makes of it, the logits are the model's."""
        parts = {"conv": nn.Conv2d(2, 3, 3), "out": nn.LazyLinear(4)}
        model, x = Lambda(lambda m, x: m.out(flatten(torch.relu(m.conv(x)))), **parts).double(), images(IMAGE, n=1)
        expected = model(x).detach()
        try:
            explanation = Explainer(model).explain(x)
        except UnsupportedLayer as refused:
            assert_names(refused, "operation")
        else:
            assert relative_error(explanation.logits, expected) < 1e-12

    def test_one_layer_used_twice_propagates_twice(self) -> None:
        model = three(lambda m, x: m.c(torch.relu(m.b(torch.relu(m.b(torch.relu(m.a(x))))))))
        twin = nn.Sequential(model.a, nn.ReLU(), model.b, nn.ReLU(), copy.deepcopy(model.b), nn.ReLU(), model.c)
        x = images((WIDTH,))
        for composite in COMPOSITES:
            ours = attribute(model, x, target=0, composite=composite)
            assert torch.equal(ours, attribute(twin, x, target=0, composite=composite))

    def test_nested_modules_have_dotted_names(self) -> None:
        block = nn.Sequential(nn.Linear(6, 5), nn.ReLU())
        model = nn.Sequential(nn.Sequential(block, nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3)).double()
        assert [step.name for step in trace(model)] == ["0.0.0", "0.0.1", "0.1", "1", "2"]

    def test_sources_form_one_chain(self) -> None:
        steps = trace(three(unused_branch))
        assert [step.source for step in steps] == list(range(-1, len(steps) - 1))
        assert [step.name for step in steps] == ["a", "relu", "b", "relu_2", "c"]

    def test_a_dead_branch_does_not_stop_the_living_one(self) -> None:
        """A head that is computed but not returned has no part in the logits."""
        model = three(lambda m, x: (F.softmax(m.c(m.a(x)), 1), m.c(torch.relu(m.b(torch.relu(m.a(x))))))[1])
        x = images((WIDTH,))
        assert torch.equal(attribute(model, x, target=1), attribute(plain(), x, target=1))

    def test_a_bare_linear_layer_is_a_network(self) -> None:
        layer = randomise(nn.Linear(4, 3), 0)
        x = images((4,))
        assert torch.equal(attribute(layer, x, target=1), attribute(nn.Sequential(layer), x, target=1))

    def test_parametrized_weights_are_the_effective_ones(self) -> None:
        model = randomise(mlp([6, 5, 3]), 0)
        nn.utils.parametrizations.weight_norm(model[1])
        x = images((6,))
        assert relative_error(Explainer(model).explain(x).logits, model(x).detach()) < 1e-12


class TestBatchNorm:
    @pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
    @pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
    @pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
    @pytest.mark.parametrize("kind", ["dense", "convolution"])
    def test_folds_into_the_layer_before(self, kind: str, bias: bool, affine: bool, training: bool) -> None:
        if kind == "dense":
            model = nn.Sequential(nn.Linear(6, 5, bias=bias), nn.BatchNorm1d(5, affine=affine), nn.ReLU())
            model.append(nn.Linear(5, 3))
            x = images((6,))
        else:
            model = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2, bias=bias), nn.BatchNorm2d(4, affine=affine, eps=0.1))
            model.extend([nn.ReLU(), nn.Flatten(), nn.Linear(256, 3)])
            x = images(IMAGE)
        model = randomise(model, 1)
        expected = model(x).detach()
        before = copy.deepcopy(model.state_dict())
        model.train(training)
        explanation = Explainer(model, "lrp-0").explain(x, 1)
        assert relative_error(explanation.logits, expected) < 1e-12
        assert all(module.training is training for module in model.modules())
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        pixels = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model.eval()(pixels)[:, 1].sum(), pixels)
        assert relative_error(explanation.relevance, x * gradient) < 1e-9

    def test_two_in_a_row_fold_both(self) -> None:
        model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
        model, x = randomise(model, 0), images((6,))
        assert relative_error(Explainer(model).explain(x).logits, model(x).detach()) < 1e-12

    def test_dropout_between_is_told(self) -> None:
        with pytest.raises(UnsupportedLayer) as refused:
            trace(nn.Sequential(nn.Linear(6, 5), nn.Dropout(), nn.BatchNorm1d(5)))
        assert_names(refused.value, "batch-norm '2'")

    @pytest.mark.parametrize(
        "model",
        [
            nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3)),
            nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 3)),
            nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)),
            three(lambda m, x: m.c(m.norm(m.a(x))) + m.c(m.a(x)), norm=nn.BatchNorm1d(5)),
        ],
        ids=["first", "after relu", "no statistics", "joined"],
    )
    def test_what_cannot_be_folded_is_refused(self, model: nn.Module) -> None:
        with pytest.raises(UnsupportedLayer) as refused:
            trace(model)
        assert_names(refused.value, "norm" if "Sequential" in type(model).__name__ else "add")

    def test_after_an_output_that_others_read_too_is_right_or_refused(self) -> None:
        def forward(m: Any, x: Tensor) -> Tensor:
            h = m.a(x)
            torch.relu(h)
            return m.c(torch.relu(m.norm(h)))

        model, x = three(forward, norm=nn.BatchNorm1d(5)), images((WIDTH,))
        try:
            logits = Explainer(model).explain(x).logits
        except UnsupportedLayer as refused:
            assert_names(refused, "norm")
        else:
            assert relative_error(logits, model(x).detach()) < 1e-12

    def test_a_layer_used_with_and_without_batch_norm_keeps_its_own_weights(self) -> None:
        model = three(
            lambda m, x: m.c(torch.relu(m.b(torch.relu(m.norm(m.b(torch.relu(m.a(x)))))))), norm=nn.BatchNorm1d(5)
        )
        x = images((WIDTH,))
        assert relative_error(Explainer(model).explain(x).logits, model(x).detach()) < 1e-12


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) if x.sum() > 0 else self.a(-x)


class Looping(Branching):
    def forward(self, x: Tensor) -> Tensor:
        for row in x:
            x = x + row
        return self.a(x)


class FreeParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.scale = nn.Linear(6, 3), nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) * self.scale


def twice_the_same(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    return m.c(h + h)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "softmax": (lambda: nn.Sequential(nn.Linear(6, 3), nn.Softmax(1)), "Softmax"),
    "functional softmax": (lambda: three(lambda m, x: F.softmax(m.c(m.b(m.a(x))), 1)), "softmax"),
    "log-softmax": (lambda: nn.Sequential(nn.Linear(6, 3), nn.LogSoftmax(1)), "LogSoftmax"),
    "lstm": (lambda: Lambda(lambda m, x: m.cell(x)[0], cell=nn.LSTM(6, 3)), "LSTM"),
    "residual": (lambda: three(lambda m, x: m.c(m.a(x) + m.b(m.a(x)))), "add"),
    "residual in place": (lambda: three(lambda m, x: m.c(m.a(x).add_(m.b(m.a(x))))), "add_"),
    "residual with itself": (lambda: three(lambda m, x: m.c(m.a(x) + m.a(x))), "add"),
    "adding a number": (lambda: three(lambda m, x: m.c(m.a(x) + 1)), "add"),
    "scaling": (lambda: three(lambda m, x: m.c(2 * m.a(x))), "mul"),
    "twice the same tensor": (lambda: three(twice_the_same), "add"),
    "cat": (lambda: three(lambda m, x: m.c(torch.cat([m.a(x), m.b(m.a(x))], 1))), "cat"),
    "slicing": (lambda: three(lambda m, x: m.c(m.a(x)[:, :5])), "getitem"),
    "sigmoid": (lambda: nn.Sequential(nn.Linear(6, 3), nn.Sigmoid()), "Sigmoid"),
    "leaky relu": (lambda: nn.Sequential(nn.Linear(6, 3), nn.LeakyReLU()), "LeakyReLU"),
    "gelu": (lambda: three(lambda m, x: m.c(F.gelu(m.a(x)))), "gelu"),
    "layer norm": (lambda: nn.Sequential(nn.Linear(6, 3), nn.LayerNorm(3)), "LayerNorm"),
    "average pooling": (lambda: nn.Sequential(nn.AvgPool2d(2), nn.Flatten()), "AvgPool2d"),
    "pooling with indices": (lambda: nn.Sequential(nn.MaxPool2d(2, return_indices=True)), "MaxPool2d"),
    "transposed convolution": (lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 3)), "ConvTranspose2d"),
    "1-d convolution": (lambda: nn.Sequential(nn.Conv1d(2, 3, 3)), "Conv1d"),
    "circular padding": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")), "circular"),
    "uneven same padding": (lambda: nn.Sequential(nn.Conv2d(2, 3, 2, padding="same")), "same"),
    "partial flatten": (lambda: nn.Sequential(nn.Flatten(2), nn.Linear(4, 2)), "Flatten"),
    "branch on values": (Branching, "Branching"),
    "loop over values": (Looping, "Looping"),
    "two results": (lambda: three(lambda m, x: (m.a(x), m.b(m.a(x)))), "tuple"),
    "a dictionary": (lambda: three(lambda m, x: {"logits": m.a(x)}), "dict"),
    "a free parameter": (FreeParameter, "scale"),
}


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class TestRefused:
    @pytest.mark.parametrize("what", REFUSED)
    def test_by_name_before_anything_is_computed(self, what: str) -> None:
        build, name = REFUSED[what]
        with pytest.raises(UnsupportedLayer) as refused:
            Explainer(build())
        assert_names(refused.value, name)

    @pytest.mark.parametrize("what", ["residual", "residual in place", "cat"])
    def test_a_sum_of_branches_is_told_as_such(self, what: str) -> None:
        with pytest.raises(UnsupportedLayer, match="joins 2 branches"):
            trace(REFUSED[what][0]())

    def test_two_inputs(self) -> None:
        with pytest.raises(UnsupportedLayer, match="several inputs") as refused:
            trace(TwoInputs())
        assert_names(refused.value, "TwoInputs")

    def test_a_layer_is_named_by_its_place(self) -> None:
        with pytest.raises(UnsupportedLayer, match=r"'body\.2'"):
            trace(Lambda(lambda m, x: m.body(x), body=nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Tanh())))

    def test_a_subclass_with_its_own_forward_is_not_taken_for_its_parent(self) -> None:
        class Doubled(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return 2 * super().forward(x)

        with pytest.raises(UnsupportedLayer):
            trace(nn.Sequential(Doubled(6, 3)))

    def test_a_forward_hook_is_not_ignored_in_silence(self) -> None:
        """torch.fx does not see hooks: a hook that changes an output would be left out of the explanation."""
        model, x = randomise(mlp([6, 5, 3]), 0), images((6,))
        model[1].register_forward_hook(lambda module, inputs, output: 3 * output)
        try:
            logits = Explainer(model).explain(x).logits
        except UnsupportedLayer as refused:
            assert_names(refused, "hook")
        else:
            assert relative_error(logits, model(x).detach()) < 1e-12


class TestMaxPool:
    @pytest.mark.parametrize(
        "pool",
        [
            nn.MaxPool2d(2),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.MaxPool2d(3, stride=1),
            nn.MaxPool2d((1, 3), stride=(2, 1)),
            nn.MaxPool2d(2, dilation=2),
            nn.MaxPool2d(3, ceil_mode=True),
        ],
        ids=str,
    )
    def test_gives_relevance_to_the_winners_as_the_gradient_does(self, pool: nn.MaxPool2d) -> None:
        (step,) = trace(nn.Sequential(pool))
        a = torch.randn(3, *IMAGE, dtype=torch.float64, requires_grad=True)
        z = pool(a)
        assert torch.equal(step.operation(a.detach()), z.detach())
        r = torch.randn_like(z)
        (expected,) = torch.autograd.grad(z, a, r)
        torch.testing.assert_close(step.operation.relevance(a.detach(), z.detach(), r), expected)

    @pytest.mark.parametrize("value", [0.0, 0.5, -1.0])
    def test_a_tie_has_exactly_one_winner(self, value: float) -> None:
        (step,) = trace(nn.Sequential(nn.MaxPool2d(2)))
        assert isinstance(step.operation, MaxPool)
        a = torch.full((1, 2, 4, 6), value)
        r = torch.rand(1, 2, 2, 3) + 0.5
        relevance = step.operation.relevance(a, step.operation(a), r)
        windows = relevance.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        assert (windows.count_nonzero(4) == 1).all()
        assert torch.equal(windows.sum(4), r)
        assert torch.equal(windows[..., 0], r), "the first one wins"

    def test_ties_between_dead_units_lose_no_relevance(self) -> None:
        """ReLU makes whole windows zero: LRP-0 through it is still gradient x input."""
        model = randomise(cnn([4, 4], bias=False), 7)
        x = images(IMAGE) * 0
        x[0, :, :5] = 1
        relevance = attribute(model, x, target=0, composite="lrp-0")
        pixels = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(pixels)[:, 0].sum(), pixels)
        assert relative_error(relevance, x * gradient) < 1e-9


class TestConvolution:
    @pytest.mark.parametrize("dilation", [1, 2, (1, 2)])
    @pytest.mark.parametrize("kernel", [1, 3, 5, (1, 3), (3, 5)])
    def test_padding_same_of_an_odd_kernel(self, kernel: Any, dilation: Any) -> None:
        layer = nn.Conv2d(2, 3, kernel, padding="same", dilation=dilation).double()
        (step,) = trace(nn.Sequential(layer))
        assert torch.equal(step.operation(images(IMAGE)), layer(images(IMAGE)))

    @pytest.mark.parametrize("kernel", [2, (3, 4)])
    def test_padding_same_of_an_even_kernel_is_right_or_refused(self, kernel: Any) -> None:
        layer = nn.Conv2d(2, 3, kernel, padding="same").double()
        try:
            (step,) = trace(nn.Sequential(layer))
        except UnsupportedLayer as refused:
            assert_names(refused, "same")
        else:
            assert torch.equal(step.operation(images(IMAGE)), layer(images(IMAGE)))

    def test_padding_same_with_an_even_kernel_but_even_reach(self) -> None:
        layer = nn.Conv2d(2, 3, 2, padding="same", dilation=2).double()
        (step,) = trace(nn.Sequential(layer))
        assert torch.equal(step.operation(images(IMAGE)), layer(images(IMAGE)))

    def test_kinds(self) -> None:
        kinds = [s.operation.kind for s in trace(cnn([4, 4])) if isinstance(s.operation, Affine)]
        assert kinds == ["convolution", "convolution", "dense", "dense"]


def assert_names(error: Exception, name: str) -> None:
    text = str(error)
    assert name in text
    assert "\n" not in text
    assert len(text) < 400
