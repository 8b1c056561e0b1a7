"""Composites: which rule which layer gets, in which order, and your own rules."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrp_core.errors import InputError, UnsupportedLayer
from lrp_core.lrp import (
    COMPOSITES,
    AlphaBeta,
    At,
    Composite,
    Epsilon,
    Explainer,
    Flat,
    Gamma,
    Pass,
    Rule,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
    attribute,
    find_composite,
)
from lrp_core.lrp.affine import Affine
from lrp_core.lrp.contributions import ByWeight, Contributions, OfLayer, Weighted, propagate
from lrp_core.lrp.relevance import Relevance
from lrp_core.lrp.starts import start_relevance

from .networks import IMAGE, Lambda, assert_clear, cnn, images, mlp, randomise, relative_error

PUBLISHED: dict[str, tuple[Rule, Rule, Rule]] = {
    # first layer, convolutions, dense layers: REFERENCES section 2 and the issue
    "lrp-0": (Zero(), Zero(), Zero()),
    "epsilon": (Epsilon(1e-6), Epsilon(1e-6), Epsilon(1e-6)),
    "epsilon-plus": (ZPlus(), ZPlus(), Epsilon(1e-6)),
    "epsilon-plus-flat": (Flat(), ZPlus(), Epsilon(1e-6)),
    "epsilon-gamma-box": (ZBox(0.0, 1.0), Gamma(0.25), Epsilon(1e-6)),
    "epsilon-alpha2-beta1": (AlphaBeta(2.0, 1.0), AlphaBeta(2.0, 1.0), Epsilon(1e-6)),
    "epsilon-alpha2-beta1-flat": (Flat(), AlphaBeta(2.0, 1.0), Epsilon(1e-6)),
    "gamma": (Gamma(0.25), Gamma(0.25), Gamma(0.25)),
    "w2": (WSquare(), ZPlus(), Epsilon(1e-6)),
}


def rules_of(model: nn.Module, composite: str | Composite) -> list[Rule]:
    """The rules of the layers with weights, from the first to the last."""
    explainer = Explainer(model, composite)
    return [explainer.rules[i] for i in sorted(explainer.rules)]


class TestPublished:
    def test_none_is_missing(self) -> None:
        """Two more differ from *epsilon* only where there is attention."""
        assert set(COMPOSITES) == {*PUBLISHED, "attn-lrp", "cp-lrp"}

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_rules_of_a_convolutional_network(self, name: str) -> None:
        first, convolution, dense = PUBLISHED[name]
        assert rules_of(cnn([4, 4, 4]), name) == [first, convolution, convolution, dense, dense]

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_rules_of_a_dense_network(self, name: str) -> None:
        """One layer that is first goes by its place, if the composite has a rule for that, and else by its kind."""
        first, _, dense = PUBLISHED[name]
        special = isinstance(first, Flat | WSquare | ZBox | Gamma)
        assert rules_of(mlp([5, 4, 3]), name) == [first if special else dense, dense]

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_a_lone_batch_norm_and_a_transposed_convolution(self, name: str) -> None:
        model = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.ReLU(), nn.ConvTranspose2d(3, 2, 2), nn.ReLU(), nn.BatchNorm2d(2), nn.ReLU()
        )
        first, convolution, dense = PUBLISHED[name]
        assert rules_of(model.eval(), name) == [first, convolution, dense]

    @pytest.mark.parametrize("name", COMPOSITES)
    def test_a_name_and_its_composite_are_the_same(self, name: str) -> None:
        model, x = randomise(cnn([4]), 0), images(IMAGE)
        assert find_composite(name) is COMPOSITES[name]
        assert torch.equal(attribute(model, x, composite=name), attribute(model, x, composite=COMPOSITES[name]))

    def test_all_of_them_differ(self) -> None:
        model, x = randomise(cnn([4, 4]), 0), images(IMAGE)
        results = [attribute(model, x, composite=name) for name in PUBLISHED if name != "lrp-0"]
        assert all(relative_error(a, b) > 1e-3 for a, b in itertools.combinations(results, 2))


class TestAssignments:
    def test_the_first_that_fits_wins(self) -> None:
        both = Composite(At(Gamma(0.1)), At(Epsilon()))
        assert rules_of(mlp([5, 4, 3]), both) == [Gamma(0.1), Gamma(0.1)]

    def test_by_kind(self) -> None:
        composite = Composite(At(Flat(), kind="scale"), At(Gamma(), kind="convolution"), At(Epsilon(), kind="dense"))
        model = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(192, 3))
        assert rules_of(model.eval(), composite) == [Flat(), Gamma(), Epsilon()]

    def test_by_name(self) -> None:
        model = Lambda(
            lambda m, x: m.head(m.body(x)), body=mlp([5, 4, 4]), head=nn.Sequential(nn.ReLU(), nn.Linear(4, 3))
        )
        composite = Composite(At(Gamma(), name="body.1"), At(ZPlus(), name="body*"), At(Zero(), name="h??d.[0-9]"))
        assert rules_of(model, composite) == [Gamma(), ZPlus(), Zero()]
        with pytest.raises(UnsupportedLayer, match=r"'head\.1'"):
            Explainer(model, Composite(At(Gamma(), name="body*")))
        with pytest.raises(InputError, match="BODY"):
            Explainer(model, Composite(At(Gamma(), name="BODY*"), At(Gamma())))

    @pytest.mark.parametrize(("position", "place"), [(0, 0), (1, 1), (-1, 3), (-4, 0)])
    def test_by_position_among_layers_with_weights(self, position: int, place: int) -> None:
        expected: list[Rule] = [Epsilon()] * 4
        expected[place] = Flat()
        assert rules_of(cnn([4, 4]), Composite(At(Flat(), position=position), At(Epsilon()))) == expected

    @pytest.mark.parametrize("position", [4, 17, -5])
    def test_a_position_beyond_the_network_is_refused(self, position: int) -> None:
        """A fifth layer of four is not the first one again."""
        with pytest.raises(InputError) as refused:
            rules_of(cnn([4, 4]), Composite(At(Flat(), position=position), At(Epsilon())))
        assert_clear(refused.value, "4 layers", str(position))

    def test_a_name_that_no_layer_has_is_refused_with_the_names_there_are(self) -> None:
        with pytest.raises(InputError) as refused:
            rules_of(cnn([4, 4]), Composite(At(Flat(), name="stem.*"), At(Epsilon())))
        assert_clear(refused.value, "'stem.*'", "'0'", "'6'")

    @pytest.mark.usefixtures("unchecked")
    def test_a_kind_that_there_is_not_is_refused(self) -> None:
        with pytest.raises(InputError) as refused:
            At(Flat(), kind="conv")  # type: ignore[arg-type]
        assert_clear(refused.value, "'conv'", "convolution", "dense")

    def test_every_layer_that_reads_the_input(self) -> None:
        """Kernels of three sizes side by side, after a move of the input: as in networks for text."""

        def forward(m: Any, x: Tensor) -> Tensor:
            series = x.transpose(1, 2)
            found = [torch.relu(conv(series)).amax(2) for conv in (m.two, m.three, m.four)]
            return m.head(m.hidden(torch.cat(found, 1)))

        sizes = {"two": 2, "three": 3, "four": 4}
        kernels = {name: nn.Conv1d(5, 4, size) for name, size in sizes.items()}
        model = Lambda(forward, **kernels, hidden=nn.Linear(12, 6), head=nn.Linear(6, 3))
        composite = Composite(At(WSquare(), input=True), At(Epsilon()))
        assert rules_of(model, composite) == [WSquare()] * 3 + [Epsilon()] * 2
        assert rules_of(model, Composite(At(WSquare(), position=0), At(Epsilon()))).count(WSquare()) == 1
        for name in ("epsilon-plus-flat", "epsilon-gamma-box", "w2", "epsilon-alpha2-beta1-flat"):
            first, *rest = (
                {"flat": Flat(), "box": ZBox(0.0, 1.0), "w2": WSquare()}[name.split("-")[-1]],
                *rules_of(model, name),
            )
            assert rest[:3] == [first] * 3
            assert first not in rest[3:]

    def test_a_layer_after_another_does_not_read_the_input(self) -> None:
        """Not even beside a shortcut that does."""
        model = Lambda(lambda m, x: m.b(x + m.a(x)), a=nn.Linear(5, 5), b=nn.Linear(5, 3))
        assert rules_of(model, Composite(At(Flat(), input=True), At(Epsilon()))) == [Flat(), Epsilon()]

    def test_all_conditions_must_hold(self) -> None:
        composite = Composite(
            At(Flat(), kind="dense", position=0), At(Gamma(), kind="scale", name="[0-9]"), At(Epsilon())
        )
        assert rules_of(cnn([4, 4], pool=False), composite).count(Flat()) == 0
        assert rules_of(mlp([5, 4, 3]), composite)[0] == Flat()

    def test_a_layer_without_a_rule_is_refused_by_name(self) -> None:
        with pytest.raises(UnsupportedLayer) as refused:
            Explainer(cnn([4, 4]), Composite(At(Gamma(), kind="convolution")))
        assert_clear(refused.value, "'6'", "dense", "At(")
        with pytest.raises(UnsupportedLayer, match="'1'"):
            Explainer(mlp([4, 3]), Composite())

    @pytest.mark.usefixtures("unchecked")
    def test_what_is_no_assignment_is_refused(self) -> None:
        for wrong in (Epsilon(), "epsilon", None):
            with pytest.raises(InputError, match=r"At\(rule") as refused:
                Composite(wrong)  # type: ignore[arg-type]
            assert_clear(refused.value)

    @pytest.mark.usefixtures("unchecked")
    def test_what_is_no_rule_is_refused(self) -> None:
        """A class in place of its instance is the likeliest slip."""
        for wrong in (Epsilon, "epsilon"):
            with pytest.raises(InputError) as refused:
                Explainer(mlp([4, 3]), Composite(At(wrong)))  # type: ignore[arg-type]
            assert_clear(refused.value)

    def test_says_what_it_is(self) -> None:
        text = repr(Composite(At(ZBox(0, 1), position=0), At(Epsilon())))
        assert text.startswith("Composite(At(rule=ZBox(low=0.0, high=1.0)")
        assert "position=0" in text
        told = str(Composite(At(ZBox(), position=0), At(Gamma(), kind="convolution"), At(Epsilon(), name="head.*")))
        for words in ("ZBox(low=0.0, high=1.0) at the first layer", "every convolution layer", "'head.*'"):
            assert words in told

    def test_the_walk_is_the_rules_one_after_the_other(self) -> None:
        """Written out with the parts of the rules, and without any of the engine's short ways."""
        model, x = randomise(cnn([4, 4]), 0), images(IMAGE)
        rules = [ZBox(0.0, 1.0), Gamma(0.4), AlphaBeta(), Epsilon(0.05)]
        explainer = Explainer(model, Composite(*(At(rule, position=i) for i, rule in enumerate(rules))))
        values, backs = [x], []
        for i, step in enumerate(explainer.steps):
            a = values[-1]
            if isinstance(step.operation, Affine):
                layer, rule = step.operation, explainer.rules[i]
                values.append(layer(a))
                backs.append(lambda r, a=a, layer=layer, rule=rule: [propagate(rule.prepare(layer), a, r)])
            else:
                z, back = step.operation.run(a.clone())
                values.append(z)
                backs.append(lambda r, back=back, a=a: [Relevance.of(a, part.dense()) for part in back(r)])
        r = start_relevance(values[-1], 2, "logit")[1]
        for z, back in zip(reversed(values[1:]), reversed(backs), strict=True):
            (r,) = back(Relevance.of(z, r.dense()))
        assert relative_error(explainer.relevance(x, 2), r.dense()) < 1e-9


@dataclass(frozen=True)
class Absolute(Rule):
    """A rule of your own: in proportion to a_j |w_jk|."""

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        return [Weighted(layer.without_bias().map(torch.abs))]


class Halves(Rule):
    """Of two parts: one half as LRP-0 has it, one half by the weights' size."""

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        return [OfLayer(layer, eps=0.0, weight=0.5), ByWeight(layer.without_bias().map(torch.square), weight=0.5)]


class Forgetful(Rule):
    """Like flat, by somebody who does not know of the flag that says that zeros get a share."""

    def prepare(self, layer: Affine) -> Sequence[Contributions]:
        return [ByWeight(layer.without_bias().map(torch.ones_like))]


class TestOnesOwnRule:
    def test_a_few_lines_are_enough(self) -> None:
        model, x = randomise(nn.Sequential(nn.Linear(6, 4)), 0), images((6,))
        relevance = attribute(model, x, target=1, composite=Composite(At(Absolute())))
        w, z = model[0].weight[1].detach(), model(x)[:, 1:2].detach()
        parts = x * w.abs()
        assert relative_error(relevance, parts / parts.sum(1, keepdim=True) * z) < 1e-7

    def test_parts_are_added_up(self) -> None:
        model, x = randomise(cnn([4, 4]), 0), images(IMAGE)
        whole = Explainer(model, Composite(At(Halves(), position=0), At(Epsilon()))).relevance(x, 1)
        one = Explainer(model, Composite(At(Zero(), position=0), At(Epsilon()))).relevance(x, 1)
        other = Explainer(model, Composite(At(WSquare(), position=0), At(Epsilon()))).relevance(x, 1)
        assert relative_error(whole, (one + other) / 2) < 1e-9

    def test_it_appears_in_the_report(self) -> None:
        model, x = randomise(cnn([4, 4]), 0), images(IMAGE)
        balance = Explainer(model, Composite(At(Absolute()))).explain(x, 1).balance
        assert all(b.rule == "Absolute()" for b in balance)
        for b in balance:
            torch.testing.assert_close(b.arrived, b.left + b.bias + b.epsilon)

    @pytest.mark.parametrize("position", [0, 1, 2])
    def test_one_that_gives_to_zeros_need_not_say_so(self, position: int) -> None:
        """Whether a ReLU may overwrite its input must not hang on a flag that a subclass can forget."""
        model, x = randomise(cnn([4, 4]), 0), images(IMAGE)
        ours, expected = (
            Explainer(model, Composite(At(rule, position=position), At(Epsilon()))).relevance(x, 1)
            for rule in (Forgetful(), Flat())
        )
        assert relative_error(ours, expected) < 1e-9

    @pytest.mark.parametrize("rule", [Flat(), WSquare(), ZBox(-1.0, 9.0), Halves()], ids=lambda r: type(r).__name__)
    def test_rules_that_give_to_zeros_are_right_after_a_relu(self, rule: Rule) -> None:
        """Hidden behind a flip there and back, the ReLU cannot be made to overwrite its input."""
        shown = randomise(cnn([4, 4]), 0)
        hidden = nn.Sequential(*(Flipped() if isinstance(layer, nn.ReLU) else layer for layer in shown))
        for composite in (Composite(At(rule, kind="convolution"), At(Epsilon())), Composite(At(rule))):
            ours, expected = (Explainer(m, composite).relevance(images(IMAGE), 1) for m in (shown, hidden.eval()))
            assert relative_error(ours, expected) < 1e-9

    def test_pass_on_a_residual_block(self) -> None:
        model = randomise(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)), 0)
        x = images((6,))
        explanation = Explainer(model, Composite(At(Epsilon(), position=-1), At(Pass()))).explain(x, 1)
        assert torch.equal(explanation.relevance, explanation.layers["3"])


class Flipped(nn.Module):
    """A ReLU between two flips."""

    def forward(self, x: Any) -> Any:
        return torch.relu(x.flip(1)).flip(1)
