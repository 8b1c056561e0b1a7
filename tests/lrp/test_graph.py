"""How a model becomes a list of steps: reuse, branches, in-place operations, and that nothing is wrong in silence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from lrp_core.errors import InputError, UnsupportedLayer
from lrp_core.lrp import COMPOSITES, Explainer, attribute
from lrp_core.lrp.affine import Affine
from lrp_core.lrp.reading import trace

from .networks import Lambda, assert_clear, cnn, gradient_x_input, images, mlp, randomise, relative_error

pytestmark = pytest.mark.slow

WIDTH = 6
NO_BOX = sorted(set(COMPOSITES) - {"epsilon-gamma-box"})


def three(forward: Callable[[Any, Tensor], Any], **parts: nn.Module | Tensor) -> nn.Module:
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


def inplace_positional_statement(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    F.relu(h, True)
    h = m.b(h)
    F.relu(h, True)
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


def checked(m: Any, x: Tensor) -> Tensor:
    """A condition on the training flag, and sizes that are read and dropped."""
    x.size(0), x.shape, x.dim()
    return m.c(torch.relu(m.b(torch.relu(m.a(m.c(x) if m.training else x)))))


SAME_AS_PLAIN: dict[str, tuple[Callable[[Any, Tensor], Tensor], dict[str, nn.Module]]] = {
    "relu as a method": (relu_method, {}),
    "functional relu in place": (inplace_functional, {}),
    "relu in place as a statement": (inplace_statement, {}),
    "relu with inplace=True as a statement": (inplace_flag_statement, {}),
    "relu with a positional True as a statement": (inplace_positional_statement, {}),
    "in-place module as a statement": (inplace_module_statement, {"relu": nn.ReLU(inplace=True)}),
    "one relu used twice": (one_relu_twice, {"relu": nn.ReLU()}),
    "one in-place relu used twice": (one_relu_twice, {"relu": nn.ReLU(inplace=True)}),
    "functional dropout": (functional_dropout, {}),
    "dropout and identity": (dropout_and_identity, {"drop": nn.Dropout(0.9), "same": nn.Identity()}),
    "an unused branch": (unused_branch, {}),
    "arguments by keyword": (keyword, {}),
    "branch on training": (checked, {}),
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

    def test_one_layer_used_twice_propagates_twice(self) -> None:
        model = three(lambda m, x: m.c(torch.relu(m.b(torch.relu(m.b(torch.relu(m.a(x))))))))
        twin = nn.Sequential(model.a, nn.ReLU(), model.b, nn.ReLU(), copy.deepcopy(model.b), nn.ReLU(), model.c)
        x = images((WIDTH,))
        for composite in COMPOSITES:
            ours = attribute(model, x, target=0, composite=composite)
            assert torch.equal(ours, attribute(twin, x, target=0, composite=composite))
        assert [step.name for step in trace(model)] == ["a", "relu", "b", "relu_1", "b@2", "relu_2", "c"]

    def test_nested_modules_have_dotted_names(self) -> None:
        block = nn.Sequential(nn.Linear(6, 5), nn.ReLU())
        model = nn.Sequential(nn.Sequential(block, nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3)).double()
        assert [step.name for step in trace(model)] == ["0.0.0", "0.0.1", "0.1", "1", "2"]

    def test_only_what_the_output_needs_is_kept(self) -> None:
        steps = trace(three(unused_branch))
        assert [step.sources for step in steps] == [(i,) for i in range(-1, len(steps) - 1)]
        assert [step.name for step in steps] == ["a", "relu", "b", "relu_2", "c"]

    def test_branches_have_two_sources(self) -> None:
        def forward(m: Any, x: Tensor) -> Tensor:
            h = m.a(x)
            return m.c(h + torch.relu(m.b(h)))

        assert [step.sources for step in trace(three(forward))] == [(-1,), (0,), (1,), (0, 2), (3,)]

    def test_a_dead_branch_does_not_stop_the_living_one(self) -> None:
        """A head that is computed but not returned has no part in the logits."""
        model = three(lambda m, x: (F.softmax(m.c(m.a(x)), 1), m.c(torch.relu(m.b(torch.relu(m.a(x))))))[1])
        x = images((WIDTH,))
        assert torch.equal(attribute(model, x, target=1), attribute(plain(), x, target=1))

    @pytest.mark.parametrize("layer", [nn.Linear(6, 3), nn.Sequential(nn.Linear(6, 3))], ids=str)
    def test_a_bare_layer_is_a_network(self, layer: nn.Module) -> None:
        layer, x = randomise(layer, 0), images((6,))
        assert relative_error(attribute(layer, x, target=1, composite="lrp-0"), gradient_x_input(layer, x, 1)) < 1e-12

    def test_parametrized_weights_are_the_effective_ones(self) -> None:
        model = randomise(mlp([6, 5, 3]), 0)
        nn.utils.parametrizations.weight_norm(model[1])
        x = images((6,))
        assert relative_error(Explainer(model).explain(x).logits, model(x).detach()) < 1e-12

    def test_a_subclass_with_its_own_forward_is_not_taken_for_its_parent(self) -> None:
        class Doubled(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return 2 * super().forward(x)

        model, x = randomise(nn.Sequential(Doubled(6, 3)), 0), images((6,))
        explanation = Explainer(model, "lrp-0").explain(x, 0)
        assert relative_error(explanation.logits, model(x).detach()) < 1e-12
        assert relative_error(explanation.relevance, gradient_x_input(model, x, 0)) < 1e-12

    def test_kinds(self) -> None:
        kinds = [s.operation.kind for s in trace(cnn([4, 4])) if isinstance(s.operation, Affine)]
        assert kinds == ["convolution", "convolution", "dense", "dense"]


def parts() -> dict[str, nn.Module | Tensor]:
    return {
        "norm": nn.BatchNorm1d(5),
        "same": nn.Identity(),
        "drop": nn.Dropout(),
        "inplace": nn.ReLU(inplace=True),
        "five": torch.linspace(-1, 1, 5, dtype=torch.float64),
        "one": torch.tensor(0.7, dtype=torch.float64),
        "rows": torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5),
        "column": torch.linspace(0.5, 1.5, 7, dtype=torch.float64).view(7, 1),
        "scale": nn.ParameterList([nn.Parameter(torch.linspace(0.5, 2, 5))]),
    }


def kept_alias(m: Any, x: Tensor) -> Tensor:
    """What is done to a view is done to what it is a view of."""
    h = m.a(x)
    h.view(-1, 5).relu_()
    return m.c(h)


def alias_of(passing: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        same = passing(m, h)
        same.relu_()
        return m.c(h + m.b(same))

    return forward


def older_value_kept(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    old = h.clone()
    h.relu_()
    return m.c(old + m.b(h))


def overwritten_later(m: Any, x: Tensor) -> Tensor:
    """The sum was taken before its summand was overwritten."""
    h = m.a(x)
    total = h + m.five
    h.relu_()
    return m.c(total - m.b(h))


def part_overwritten(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    h[:, :2].relu_()
    return m.c(h)


def part_added_to(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    part = h[:, :2]
    part += 1.0
    return m.c(h)


def input_overwritten(m: Any, x: Tensor) -> Tensor:
    x = x * 1.0
    F.leaky_relu_(x, 0.1)
    return m.c(m.a(x))


def broadcast_mean(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    return m.c(h - h.mean(1, keepdim=True))


def widened_by_a_constant(m: Any, x: Tensor) -> Tensor:
    return m.c((m.a(x).unsqueeze(1) * m.column).mean(1))


def widened_by_a_summand(m: Any, x: Tensor) -> Tensor:
    return m.c((m.a(x).unsqueeze(1) + m.column).mean(1))


RIGHT_OR_REFUSED: dict[str, Callable[[Any, Tensor], Any]] = {
    "a view overwritten": kept_alias,
    "an identity overwritten": alias_of(lambda m, h: m.same(h)),
    "a dropout overwritten": alias_of(lambda m, h: m.drop(h)),
    "a functional dropout overwritten": alias_of(lambda m, h: F.dropout(h, 0.5, m.training)),
    "contiguous overwritten": alias_of(lambda m, h: h.contiguous()),
    "detached overwritten": alias_of(lambda m, h: h.detach()),
    "flatten overwritten": alias_of(lambda m, h: torch.flatten(h, 1)),
    "a clone overwritten": alias_of(lambda m, h: h.clone()),
    "an older value kept": older_value_kept,
    "overwritten after it was read": overwritten_later,
    "part overwritten": part_overwritten,
    "part added to": part_added_to,
    "input overwritten": input_overwritten,
    "a sum that broadcasts": broadcast_mean,
    "a multiple that broadcasts": widened_by_a_constant,
    "a summand that broadcasts": widened_by_a_summand,
    "view by another axis than the batch": lambda m, x: m.c(m.a(x).view(x.size(1) - 1, -1).view(-1, 5)),
    "batch of half the size": lambda m, x: m.c(m.a(x).view(x.size(1), -1)[:, :5]),
    "batch multiplied": lambda m, x: m.c(m.a(x).view(x.size(0) * 5, 1).view(x.size(0), 5)),
    "all data": lambda m, x: m.c(m.a(x).data),
    "the transpose": lambda m, x: m.c(m.a(x).T.T),
    "transposed with the batch": lambda m, x: m.c(m.a(x).transpose(-2, -1).transpose(0, 1)),
    "flipped batch": lambda m, x: m.c(m.a(x).flip(-2)),
    "rolled": lambda m, x: m.c(m.a(x).roll(1, 0)),
    "mean over the batch": lambda m, x: m.c(m.a(x) - m.a(x).mean(-2, keepdim=True)),
    "padding of the batch": lambda m, x: m.c(F.pad(m.a(x), (0, 0, 1, -1))),
    "concatenation with a constant": lambda m, x: m.c(torch.cat([m.a(x), m.rows], 1)[:, 2:7]),
    "concatenation along the batch": lambda m, x: m.c(torch.cat([m.a(x), m.b(m.a(x))], -2)),
    "constant made of constants": lambda m, x: m.c(m.a(x) * (m.five * 2)),
    "weights made of constants": lambda m, x: F.linear(m.a(x), m.c.weight * 2, m.c.bias),
    "bias made of constants": lambda m, x: F.linear(m.a(x), m.c.weight, m.c.bias * 2),
    "slope made of constants": lambda m, x: m.c(F.leaky_relu(m.a(x), m.one.item())),
    "clamp": lambda m, x: m.c(m.a(x).clamp(min=0)),
    "gating": lambda m, x: m.c(m.a(x) * torch.sigmoid(m.b(m.a(x)))),
    "square": lambda m, x: m.c(m.a(x) ** 2),
    "negation": lambda m, x: m.c(-m.a(x)),
    "divided by a branch": lambda m, x: m.c(1 / (2 + m.a(x))),
    "constant over a branch": lambda m, x: m.c(m.five / (2 + torch.relu(m.a(x)))),
    "rounded division": lambda m, x: m.c(torch.div(m.a(x), 0.5, rounding_mode="floor")),
    "floor division": lambda m, x: m.c(m.a(x) // 0.5),
    "modulo": lambda m, x: m.c(m.a(x) % 0.5),
    "sum with alpha": lambda m, x: m.c(torch.add(m.a(x), m.b(m.a(x)), alpha=2)),
    "sum in place with alpha": lambda m, x: m.c(m.a(x).add_(m.five, alpha=2)),
    "sum by keyword": lambda m, x: m.c(torch.add(m.a(x), other=m.five)),
    "sum into another": lambda m, x: m.c(torch.add(m.a(x), m.five, out=m.b(m.a(x)))),
    "sum of numbers": lambda m, x: m.c(sum([m.a(x), m.b(m.a(x)), m.five])),
    "number minus": lambda m, x: m.c(1 - m.a(x)),
    "constant minus": lambda m, x: m.c(m.five - torch.relu(m.a(x))),
    "reverse subtraction": lambda m, x: m.c(torch.rsub(m.a(x), m.five)),
    "plus equals": lambda m, x: m.c(_plus_equals(m.a(x), m.five)),
    "itself in its sum": lambda m, x: m.c(_plus_equals(h := m.a(x), h)),
    "free parameter": lambda m, x: m.c(m.a(x) * m.scale[0]),
    "mean in another type": lambda m, x: m.c(m.a(x) - m.a(x).mean(1, keepdim=True, dtype=torch.float64)),
    "bilinear upsampling, positional": lambda m, x: m.c(
        F.interpolate(m.a(x)[:, :].unflatten(1, (1, 1, 5)), (1, 3), None, "bilinear").flatten(1).repeat(1, 2)[:, :5]
    ),
    "linear upsampling": lambda m, x: m.c(
        F.interpolate(m.a(x).unsqueeze(1), size=3, mode="linear").flatten(1).repeat(1, 2)[:, :5]
    ),
    "nearest-exact upsampling": lambda m, x: m.c(
        F.interpolate(m.a(x).unsqueeze(1), size=3, mode="nearest-exact").flatten(1).repeat(1, 2)[:, :5]
    ),
    "padding with ones": lambda m, x: m.c(F.pad(m.a(x), (1, 0), value=1.0)[:, :5]),
    "padding with ones, positional": lambda m, x: m.c(F.pad(m.a(x), (1, 0), "constant", 1.0)[:, :5]),
    "maximum over an axis": lambda m, x: m.c(m.a(x).unsqueeze(1).amax(1)),
    "picked by a list": lambda m, x: m.c(m.a(x)[:, [0, 2, 1, 3, 4]]),
    "picked by a mask": lambda m, x: m.c(m.a(x)[:, m.five > -2]),
    "a new axis": lambda m, x: m.c(m.a(x)[:, None]).flatten(1),
    "all of it": lambda m, x: m.c(m.a(x)[:]),
    "one image of it": lambda m, x: m.c(m.a(x)[0:1]),
    "chunks": lambda m, x: m.c(torch.cat(m.a(x).chunk(2, 1), 1)),
    "stacked": lambda m, x: m.c(torch.stack([m.a(x), m.a(x)], 1).mean(1)),
    "where": lambda m, x: m.c(torch.where(m.five > 0, m.a(x), m.b(m.a(x)))),
    "matmul": lambda m, x: m.a(x) @ m.c.weight.T,
    "addmm": lambda m, x: torch.addmm(m.c.bias, m.a(x), m.c.weight.T),
    "softmax inside": lambda m, x: m.c(m.a(x).softmax(1)),
    "normalised": lambda m, x: m.c(F.normalize(m.a(x))),
    "batch statistics": lambda m, x: m.c(F.batch_norm(m.a(x), None, None, training=True)),
    "zeroed": lambda m, x: m.c(m.a(x).zero_() + m.b(m.a(x))),
    "copied into": lambda m, x: m.c(m.a(x).copy_(m.b(m.a(x)))),
    "changed type": lambda m, x: m.c(m.a(x).float().double()),
    "to the same type": lambda m, x: m.c(m.a(x).to(torch.float64)),
    "squeeze of everything": lambda m, x: m.c(m.a(x).unsqueeze(1).squeeze()),
    "pooling over images": lambda m, x: m.c(F.max_pool1d(m.a(x), 1)),
    "a series of one pooled": lambda m, x: m.c(F.avg_pool1d(m.a(x).unsqueeze(1), 1).flatten(1)),
}


def _plus_equals(left: Any, right: Any) -> Any:
    left += right
    return left


class TestNeverWrongInSilence:
    @pytest.mark.parametrize("n", [1, 3, 5])
    @pytest.mark.parametrize("what", RIGHT_OR_REFUSED)
    def test_right_or_refused(self, what: str, n: int) -> None:
        """Either the logits are the model's and nothing of the relevance is lost track of, or it says so."""
        model, x = three(RIGHT_OR_REFUSED[what], **parts()), images((WIDTH,), n=n) + 0.1
        try:
            expected = model(x.clone()).detach()
        except (RuntimeError, IndexError, ValueError):
            pytest.skip("the model itself cannot do it for this number of images")
        for composite in ("lrp-0", "epsilon", "gamma"):
            try:
                explanation = Explainer(model, composite).explain(x.clone(), 1)
            except (UnsupportedLayer, InputError) as refused:
                assert_clear(refused)
                return
            assert relative_error(explanation.logits, expected) < 1e-12
            assert explanation.relevance.shape == x.shape
            lost = sum((b.absorbed for b in explanation.balance), torch.zeros(n, dtype=torch.float64))
            gap = explanation.relevance.flatten(1).sum(1) + lost - expected[:, 1]
            scale = max(float(r.abs().sum()) for r in explanation.layers.values())
            assert float(gap.abs().max()) < 1e-9 * scale

    @pytest.mark.parametrize(
        "what",
        [
            "a view overwritten",
            "an identity overwritten",
            "a clone overwritten",
            "an older value kept",
            "overwritten after it was read",
            "input overwritten",
            "a sum that broadcasts",
            "number minus",
            "a multiple that broadcasts",
            "constant minus",
            "plus equals",
            "itself in its sum",
            "all of it",
            "part overwritten",
            "contiguous overwritten",
            "a dropout overwritten",
        ],
    )
    def test_lrp_0_without_constants_is_gradient_x_input_or_refused(self, what: str) -> None:
        model, x = three(RIGHT_OR_REFUSED[what], **parts()), images((WIDTH,)) + 0.1
        try:
            relevance = attribute(model, x, target=1, composite="lrp-0")
        except (UnsupportedLayer, InputError) as refused:
            assert_clear(refused)
        else:
            assert relative_error(relevance, gradient_x_input(model, x, 1)) < 1e-9

    @pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
    def test_a_hook_is_not_ignored_in_silence(self, register: str) -> None:
        """torch.fx does not see hooks: one that changes a value would be left out of the explanation."""
        model, _x = randomise(mlp([6, 5, 3]), 0), images((6,))
        if register == "register_forward_hook":
            model[1].register_forward_hook(lambda module, inputs, output: 3 * output)
        else:
            model[1].register_forward_pre_hook(lambda module, inputs: 3 * inputs[0])
        with pytest.raises(UnsupportedLayer, match="hook") as refused:
            Explainer(model)
        assert_clear(refused.value, "'1'")

    def test_pruned_weights_are_the_effective_ones_or_refused(self) -> None:
        """torch's own pruning keeps the weight as a plain tensor, which a hook makes again before each call."""
        model, x = randomise(mlp([6, 5, 3]), 0), images((6,))
        prune.l1_unstructured(model[1], "weight", 0.5)
        with torch.no_grad():
            model[1].weight_orig.mul_(2)
        try:
            logits = Explainer(model).explain(x).logits
        except UnsupportedLayer as refused:
            assert_clear(refused, "'1'")
        else:
            assert relative_error(logits, model(x).detach()) < 1e-12

    @pytest.mark.parametrize(
        "flatten",
        [
            lambda x: x.view(x.size(1), -1),
            lambda x: x.view(x.size(2), -1),
            lambda x: x.view(-1, x.size(2)),
            lambda x: x.reshape(x.shape[1], -1),
            lambda x: x.reshape(x.size()),
            lambda x: x.view(x.size(0), x.size(1), -1),
            lambda x: x.transpose(-4, -3),
            lambda x: x.transpose(1, -4),
            lambda x: x.permute(-3, -4, 2, 3),
            lambda x: x.permute(1, 0, 2, 3),
            lambda x: x.movedim(-4, 1),
            lambda x: x.flip(-4),
            lambda x: x.flip((1, -4)),
            lambda x: x.flatten(-4),
            lambda x: x.select(-4, 0),
            lambda x: x.squeeze(-4),
            lambda x: x.mean(-4),
            lambda x: x.mean((-4, 1)),
            lambda x: x.unsqueeze(-5),
            lambda x: x[..., 0, :, :, :],
            lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 1, -1)),
            lambda x: torch.cat([x, x], -4)[:, :],
            lambda x: x.narrow(-4, 0, 1),
            lambda x: x.repeat(1, 1, 1, 1),
            lambda x: x.expand(x.size(0), -1, -1, -1),
            lambda x: torch.flatten(x, end_dim=1),
            torch.flatten,
            lambda x: torch.flatten(x)[None],
            lambda x: x.flatten(1, 2).flatten(1),
        ],
    )
    def test_a_view_that_mixes_images_is_refused(self, flatten: Callable[[Any], Tensor]) -> None:
        """Here the batch is as long as other axes are, so that no shape tells it."""
        part = nn.Conv2d(2, 3, 3, padding=1)
        model = randomise(Lambda(lambda m, x: flatten(torch.relu(m.conv(x))), conv=part), 0)
        x = images((2, 3, 3), n=3)
        expected = model(x).detach()
        try:
            explanation = Explainer(model, "lrp-0").explain(x, start=expected)
        except (UnsupportedLayer, InputError) as refused:
            assert_clear(refused)
            return
        assert relative_error(explanation.logits, expected) < 1e-12
        pixels = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(pixels).sum(), pixels)
        assert relative_error(explanation.relevance, x * gradient) < 1e-9
