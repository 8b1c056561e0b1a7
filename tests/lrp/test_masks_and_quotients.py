"""Values divided by others, powers, masks that are computed, further keys of attention, and bags of embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.errors import UnsupportedLayer
from lrp_core.lrp import At, Composite, Epsilon, Explainer, Uniform, Zero, attribute

from .networks import Lambda, relative_error

UNIFORM = Composite(At(Uniform(), kind="gate"), At(Zero()))


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def network(function: Callable[[Any, Tensor], Tensor], **parts: Any) -> nn.Module:
    torch.manual_seed(0)
    return Lambda(function, **parts).double().eval()


def detached(function: Callable[[Any, Tensor], Tensor], model: nn.Module, x: Tensor) -> Tensor:
    """Gradient x input of class 0 of another reading of the model, with what LRP takes for constant detached."""
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(model, leaf)[:, 0].sum(), leaf)
    return (x * gradient).detach()


def check(
    function: Callable[[Any, Tensor], Tensor],
    oracle: Callable[[Any, Tensor], Tensor],
    x: Tensor,
    **parts: Any,
) -> None:
    """LRP-0 is gradient x input of the oracle, the logits are the model's, and the balance accounts for the rest."""
    model = network(function, **parts)
    explanation = Explainer(model, "lrp-0").explain(x, 0)
    assert relative_error(explanation.logits, model(x).detach()) < 1e-12
    assert relative_error(explanation.relevance, detached(oracle, model, x)) < 1e-10
    lost = sum((b.absorbed for b in explanation.balance), torch.zeros(len(x), dtype=torch.float64))
    torch.testing.assert_close(explanation.relevance.flatten(1).sum(1) + lost, explanation.logits[:, 0])


def lines(**sizes: tuple[int, int]) -> dict[str, nn.Module]:
    return {name: nn.Linear(*size) for name, size in sizes.items()}


QUOTIENTS: dict[str, tuple[Callable[[Any, Tensor], Tensor], Callable[[Any, Tensor], Tensor]]] = {
    "of two branches": (
        lambda m, x: m.o(m.a(x) / (m.b(x).exp() + 1)),
        lambda m, x: m.o(m.a(x) / (m.b(x).exp() + 1).detach()),
    ),
    "torch.div": (
        lambda m, x: m.o(torch.div(m.a(x), m.b(x).relu() + 2)),
        lambda m, x: m.o(m.a(x) / (m.b(x).relu() + 2).detach()),
    ),
    "by a product with one over": (
        lambda m, x: m.o(1 / (m.b(x).exp() + 1) * m.a(x)),
        lambda m, x: m.o(m.a(x) / (m.b(x).exp() + 1).detach()),
    ),
    "root mean square, spelled out": (
        lambda m, x: m.o(m.a(x) * torch.rsqrt(m.a(x).pow(2).mean(-1, keepdim=True) + 1e-5)),
        lambda m, x: m.o(m.a(x) * torch.rsqrt(m.a(x).pow(2).mean(-1, keepdim=True) + 1e-5).detach()),
    ),
    "by the sum": (
        lambda m, x: m.o(m.a(x) / m.a(x).sum(1, keepdim=True)),
        lambda m, x: m.o(m.a(x) / m.a(x).sum(1, keepdim=True).detach()),
    ),
    "by the length": (
        lambda m, x: m.o(m.a(x) / (m.a(x) ** 2).sum(1, keepdim=True).sqrt()),
        lambda m, x: m.o(m.a(x) / m.a(x).norm(dim=1, keepdim=True).detach()),
    ),
}


@pytest.mark.parametrize("name", QUOTIENTS)
def test_what_is_divided_takes_all(name: str) -> None:
    check(*QUOTIENTS[name], randn(3, 6), **lines(a=(6, 4), b=(6, 4), o=(4, 3)))


def test_quotients_share_out_in_halves_where_a_composite_says_so() -> None:
    """By hand: half of R goes to a, and through a / b half to b, both linear layers without bias."""
    torch.manual_seed(0)
    model = network(lambda m, x: m.a(x) / m.b(x), a=nn.Linear(2, 1, bias=False), b=nn.Linear(2, 1, bias=False))
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    a, b = (x * model.get_submodule(name).weight.detach() for name in "ab")  # type: ignore[operator, union-attr]
    z = a.sum() / b.sum()
    expected = z / 2 * (a / a.sum() + b / b.sum())
    torch.testing.assert_close(attribute(model, x, target=1, composite=UNIFORM), expected)


@pytest.mark.parametrize("power", [lambda x: x**2, lambda x: x.pow(2), torch.square, lambda x: torch.pow(x, 2.0)])
def test_a_square_is_the_product_with_itself(power: Callable[[Tensor], Tensor]) -> None:
    x, parts = randn(3, 6), lines(a=(6, 4), o=(4, 3))
    model = network(lambda m, x: m.o(power(m.a(x))), **parts)
    spelled = network(lambda m, x: m.o(m.a(x) * m.a(x)), **parts)
    for composite in ("lrp-0", "epsilon-plus", "attn-lrp"):
        ours, twin = (Explainer(net, composite).explain(x, 0) for net in (model, spelled))
        assert relative_error(ours.logits, model(x).detach()) < 1e-12
        assert relative_error(ours.relevance, twin.relevance) < 1e-12
    a = model.get_submodule("a")(x).detach()
    arriving = a**2 * model.get_submodule("o").weight[0].detach()  # type: ignore[index, operator]
    expected = (arriving / a @ model.get_submodule("a").weight.detach()) * x  # type: ignore[operator]
    assert relative_error(attribute(model, x, target=0, composite="lrp-0"), expected) < 1e-10


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.o(torch.addcmul(m.shift, m.scale, m.a(x))),
        lambda m, x: m.o(torch.addcmul(m.shift, m.a(x), m.scale, value=0.5)),
        lambda m, x: m.o(torch.addcmul(m.a(x), m.b(x), m.scale)),
        lambda m, x: m.o(m.a(x).addcdiv(m.b(x), m.scale, value=2)),
    ],
)
def test_addcmul_is_the_sum_and_the_product_that_it_is(function: Callable[[Any, Tensor], Tensor]) -> None:
    parts = {**lines(a=(6, 4), b=(6, 4), o=(4, 3)), "shift": torch.rand(4), "scale": torch.rand(4) + 0.5}
    check(function, function, randn(3, 6), **parts)


# Masks that are computed


def padded(m: Any, tokens: Tensor) -> Tensor:
    filled = tokens != 0
    vectors = m.words(tokens) * filled.unsqueeze(-1)
    out: Tensor = m.o(vectors.sum(1) / filled.sum(1, keepdim=True).clamp(min=1))
    return out


def test_a_mean_over_what_is_no_padding() -> None:
    model = network(padded, words=nn.Embedding(9, 5), o=nn.Linear(5, 3))
    tokens = torch.tensor([[3, 1, 0, 0], [2, 0, 0, 0], [4, 5, 6, 7]])
    for composite in ("lrp-0", UNIFORM):
        explanation = Explainer(model, composite).explain(tokens, 0)
        assert relative_error(explanation.logits, model(tokens).detach()) < 1e-12
        vectors = model.get_submodule("words")(tokens).detach()
        shares = (vectors * model.get_submodule("o").weight[0].detach()).sum(-1)  # type: ignore[index, operator]
        expected = shares * (tokens != 0) / (tokens != 0).sum(1, keepdim=True)
        assert relative_error(explanation.relevance, expected) < 1e-12


def test_values_chosen_by_a_mask_that_is_computed() -> None:
    def chosen(m: Any, x: Tensor) -> Tensor:
        a, b = m.a(x), m.b(x)
        out: Tensor = m.o(torch.where((a > b) & ~(b > 1), a, torch.where(b < 0, b * 2, 0.5)))
        return out

    check(chosen, chosen, randn(8, 6), **lines(a=(6, 4), b=(6, 4), o=(4, 3)))


# Attention by masks that are computed, and with further keys


def attending(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    out: Tensor = m.o(m.attention(y, y, y, key_padding_mask=x[..., 0] < -0.5, need_weights=False)[0].mean(1))
    return out


def attending_detached(m: Any, x: Tensor) -> Tensor:
    y, layer = m.a(x), m.attention
    weights = layer(y, y, y, key_padding_mask=x[..., 0] < -0.5, average_attn_weights=False)[1].detach()
    w, b = layer.in_proj_weight.chunk(3)[2], layer.in_proj_bias.chunk(3)[2]
    v = F.linear(y, w, b)
    if layer.bias_v is not None:
        v = torch.cat([v, layer.bias_v.expand(len(v), -1, -1)], 1)
    if layer.add_zero_attn:
        v = torch.cat([v, torch.zeros_like(v[:, :1])], 1)
    v = v.unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
    out: Tensor = m.o(layer.out_proj((weights @ v).transpose(1, 2).flatten(-2)).mean(1))
    return out


@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}])
def test_attention_with_a_padding_mask_that_is_computed_and_further_keys(options: dict[str, bool]) -> None:
    x = randn(4, 5, 4)
    x[:, 0, 0] = 1.0  # a key that is always seen
    attention = nn.MultiheadAttention(4, 2, batch_first=True, **options)
    check(attending, attending_detached, x, a=nn.Linear(4, 4), attention=attention, o=nn.Linear(4, 3))


@pytest.mark.parametrize(
    "mask", [torch.tensor([False, False, True, False, True]), torch.tensor([0.0, 0.5, -1, 0, 2]).double()]
)
def test_a_padding_mask_that_is_the_same_for_all(mask: Tensor) -> None:
    def function(m: Any, x: Tensor) -> Tensor:
        out: Tensor = m.o(m.attention(x, x, x, key_padding_mask=mask.expand(len(x), -1))[0].mean(1))
        return out

    def oracle(m: Any, x: Tensor) -> Tensor:
        layer = m.attention
        weights = layer(x, x, x, key_padding_mask=mask.expand(len(x), -1), average_attn_weights=False)[1].detach()
        w, b = layer.in_proj_weight.chunk(3)[2], layer.in_proj_bias.chunk(3)[2]
        v = F.linear(x, w, b).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
        out: Tensor = m.o(layer.out_proj((weights @ v).transpose(1, 2).flatten(-2)).mean(1))
        return out

    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    check(function, oracle, randn(3, 5, 4), attention=attention, o=nn.Linear(4, 3))


@pytest.mark.parametrize("mask", [lambda x: x[:, None, :, 0] > -0.5, lambda x: x[:, None, :, 0].relu() - 1])
def test_scaled_attention_with_a_mask_that_is_computed(mask: Callable[[Tensor], Tensor]) -> None:
    def function(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        out: Tensor = m.o(F.scaled_dot_product_attention(y, y, m.v(x), attn_mask=mask(x)).mean(1))
        return out

    def oracle(m: Any, x: Tensor) -> Tensor:
        y, allowed = m.a(x), mask(x)
        bias = allowed.log() if allowed.dtype == torch.bool else allowed
        weights = (y @ y.mT / 2 + bias).softmax(-1).detach()
        out: Tensor = m.o((weights @ m.v(x)).mean(1))
        return out

    x = randn(4, 5, 4)
    x[:, 0, 0] = 1.0  # a key that is always seen
    check(function, oracle, x, **lines(a=(4, 4), v=(4, 4), o=(4, 3)))


def test_modules_may_be_called_like_functions() -> None:
    names = ("div", "masked_fill", "size", "addcmul", "max")
    layers = {name: nn.Linear(4, 4) for name in names}
    check(
        lambda m, x: m.o(m.max(m.addcmul(m.size(m.masked_fill(m.div(x))))).view(x.shape[0], -1)),
        lambda m, x: m.o(m.max(m.addcmul(m.size(m.masked_fill(m.div(x)))))),
        randn(3, 4),
        o=nn.Linear(4, 3),
        **layers,
    )


def test_a_transformer_of_torch_with_padded_tokens() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)

    def function(m: Any, tokens: Tensor) -> Tensor:
        out: Tensor = m.o(m.body(m.words(tokens), src_key_padding_mask=tokens == 0).mean(1))
        return out

    parts = {"words": nn.Embedding(9, 8), "body": nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)}
    model = network(function, o=nn.Linear(8, 3), **parts)
    tokens = torch.tensor([[3, 1, 0, 0], [2, 8, 5, 0], [4, 5, 6, 7]])
    for composite in ("cp-lrp", "attn-lrp"):
        explanation = Explainer(model, composite).explain(tokens, 0)
        assert relative_error(explanation.logits, model(tokens).detach()) < 1e-12
        lost = sum((b.absorbed for b in explanation.balance), torch.zeros(3, dtype=torch.float64))
        torch.testing.assert_close(explanation.relevance.sum(1) + lost, explanation.logits[:, 0])


# Bags


@pytest.mark.parametrize("padding", [None, 0])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_a_bag_is_the_embeddings_in_it(mode: str, padding: int | None) -> None:
    bag = nn.EmbeddingBag(9, 5, mode=mode, padding_idx=padding)
    model = network(lambda m, tokens: m.o(m.bag(tokens)), bag=bag, o=nn.Linear(5, 3))
    tokens = torch.tensor([[3, 1, 0, 0], [2, 8, 5, 0], [4, 5, 6, 7]])
    if mode == "max" and padding is not None:
        with pytest.raises(UnsupportedLayer, match="use the sum or the mean"):
            attribute(model, tokens)
        return
    explanation = Explainer(model, "lrp-0").explain(tokens, 0)
    assert relative_error(explanation.logits, model(tokens).detach()) < 1e-12
    filled = (tokens != padding) if padding is not None else torch.ones_like(tokens, dtype=torch.bool)
    shares = bag.weight.detach()[tokens] * model.get_submodule("o").weight[0].detach()  # type: ignore[index, operator]
    if mode == "max":
        winner = bag.weight.detach()[tokens].argmax(1, keepdim=True)
        expected = torch.zeros_like(shares).scatter(1, winner, shares.gather(1, winner)).sum(-1)
    else:
        expected = shares.sum(-1) * filled / (filled.sum(1, keepdim=True) if mode == "mean" else 1)
    assert relative_error(explanation.relevance, expected) < 1e-12


def test_a_bag_with_offsets_is_refused() -> None:
    model = network(lambda m, x: m.o(m.bag(x, torch.tensor([0, 2]))), bag=nn.EmbeddingBag(9, 5), o=nn.Linear(5, 3))
    with pytest.raises(UnsupportedLayer, match="offsets"):
        attribute(model, torch.tensor([1, 2, 3]), composite=Composite(At(Epsilon())))
