"""The rules of operations, each against a dense re-implementation in float64, and the layers of torch read as them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_core.errors import InputError, UnsupportedLayer
from lrp_core.lrp import At, Composite, Epsilon, Explainer, Pass, Zero, ZPlus, attribute
from lrp_core.lrp.attention import Product, Softmax
from lrp_core.lrp.gates import Gate, GatedHalves
from lrp_core.lrp.normalisation import over_groups, over_last_axes
from lrp_core.lrp.operations import Sum
from lrp_core.lrp.recurrent import Recurrent
from lrp_core.lrp.relevance import Relevance
from lrp_core.lrp.ruled import OPERATION_RULES, Constant, Magnitude, SignalTakesAll, Taylor, Uniform
from lrp_core.lrp.sums import under

from .networks import relative_error

Array = np.ndarray[Any, Any]


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def away(z: Array, eps: float) -> Array:
    return z + eps * np.where(z >= 0, 1.0, -1.0)


def linear(w: Array, x: Array, z: Array, r: Array, eps: float) -> Array:
    """LRP-epsilon for outputs z = w x + b of one image: w [k, j]."""
    return np.asarray(x * (w.T @ (r / away(z, eps))))


def dense_sum(rule: Any, a: Array, b: Array, c: float, r: Array) -> list[Array]:
    match rule:
        case ZPlus():
            whole = np.maximum(a, 0) + np.maximum(-b, 0)
            return [np.maximum(a, 0) / (whole + 1e-12) * r, np.maximum(-b, 0) / (whole + 1e-12) * r]
        case Magnitude():
            whole = abs(a) + abs(b) + abs(c)
            return [abs(a) / whole * r, abs(b) / whole * r]
    z = away(a - b + c, getattr(rule, "eps", 0.0))
    return [a / z * r, -b / z * r]


def dense_normalisation(rule: Any, x: Array, w: Array, b: Array, r: Array) -> list[Array]:
    """LayerNorm over one axis, from the explicit matrix of the layer that it is once its deviation is a constant."""
    if isinstance(rule, Pass):
        return [r]
    n = x.shape[1]
    found = []
    for row, arriving in zip(x, r, strict=True):
        matrix = w[:, None] * (np.eye(n) - 1 / n) / np.sqrt(row.var() + 1e-5)
        found.append(linear(matrix, row, matrix @ row + b, arriving, getattr(rule, "eps", 0.0)))
    return [np.stack(found)]


def dense_softmax(rule: Any, x: Array, r: Array) -> list[Array]:
    """From the Jacobian of softmax: x_i sum_j J_ji R_j / s_j, which is x_i (R_i - s_i sum_j R_j)."""
    if isinstance(rule, Constant):
        return [np.zeros_like(x)]
    found = []
    for row, arriving in zip(x, r, strict=True):
        s = np.exp(row) / np.exp(row).sum()
        jacobian = np.diag(s) - np.outer(s, s)
        found.append(row * (jacobian.T @ (arriving / s)))
    return [np.stack(found)]


def dense_product(rule: Any, a: Array, v: Array, r: Array, signal: int | None) -> list[Array]:
    """Every contribution A_ij V_jk of every output O_ik written out."""
    r_a, r_v = np.zeros_like(a), np.zeros_like(v)
    for n, i, k in np.ndindex(*r.shape):
        o = a[n, i] @ v[n, :, k]
        for j in range(a.shape[2]):
            part = a[n, i, j] * v[n, j, k]
            if isinstance(rule, Uniform) or signal is None:
                share = part / away(np.array(2 * o), rule.eps) * r[n, i, k]
                r_a[n, i, j] += share
                r_v[n, j, k] += share
            else:
                (r_v if signal == 1 else r_a)[(n, j, k) if signal == 1 else (n, i, j)] += (
                    part / away(np.array(o), rule.eps) * r[n, i, k]
                )
    return [r_a, r_v]


def dense_gate(rule: Any, r: Array, signal: int | None) -> list[Array]:
    if isinstance(rule, Uniform) or signal is None:
        return [r / 2, r / 2]
    return [r if signal == place else np.zeros_like(r) for place in (0, 1)]


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def dense_lstm(w: Any, x: Array, r: Array, eps: float) -> Array:
    """One image [time, values] through one LSTM layer, and relevance of its outputs [time, hidden] back."""
    hidden = w.of_state.shape[1]
    wx, wh, bias = w.of_input.numpy(), w.of_state.numpy(), (w.input_bias + w.state_bias).numpy()
    h, c, memory = np.zeros(hidden), np.zeros(hidden), []
    for x_t in x:
        z = wx @ x_t + wh @ h + bias
        i, f, g, o = z.reshape(4, hidden)
        new, kept = sigmoid(i) * np.tanh(g), sigmoid(f) * c
        memory.append((x_t, h, g, kept, new))
        c = kept + new
        h = sigmoid(o) * np.tanh(c)
    rows = slice(2 * hidden, 3 * hidden)
    r_x, r_h, r_c = np.zeros_like(x), np.zeros(hidden), np.zeros(hidden)
    for t in reversed(range(len(x))):
        x_t, before, g, kept, new = memory[t]
        r_c = r_c + r_h + r[t]
        r_g, r_c = new / away(kept + new, eps) * r_c, kept / away(kept + new, eps) * r_c
        r_x[t], r_h = linear(wx[rows], x_t, g, r_g, eps), linear(wh[rows], before, g, r_g, eps)
    return r_x


def dense_gru(w: Any, x: Array, r: Array, eps: float) -> Array:
    """The same for GRU: n = Wx x + reset (Wh h), h' = update h + (1 - update) tanh n."""
    hidden = w.of_state.shape[1]
    wx, wh, bx, bh = (t.numpy().reshape(3, hidden, *t.shape[1:]) for t in w[:4])
    h, memory = np.zeros(hidden), []
    for x_t in x:
        reset, update = (sigmoid(wx[i] @ x_t + bx[i] + wh[i] @ h + bh[i]) for i in (0, 1))
        n = wx[2] @ x_t + bx[2] + reset * (wh[2] @ h + bh[2])
        after = update * h + (1 - update) * np.tanh(n)
        memory.append((x_t, h, reset, update, n, after))
        h = after
    r_x, r_h = np.zeros_like(x), np.zeros(hidden)
    for t in reversed(range(len(x))):
        x_t, before, reset, update, n, after = memory[t]
        r_h = r_h + r[t]
        r_n = (1 - update) * np.tanh(n) / away(after, eps) * r_h
        r_x[t] = linear(wx[2], x_t, n, r_n, eps)
        r_h = update * before / away(after, eps) * r_h + linear(reset[:, None] * wh[2], before, n, r_n, eps)
    return r_x


def dense_rnn(activation: Any) -> Any:
    """The same for a plain layer: h' = activation(Wx x + Wh h)."""

    def twin(w: Any, x: Array, r: Array, eps: float) -> Array:
        wx, wh, bias = w.of_input.numpy(), w.of_state.numpy(), (w.input_bias + w.state_bias).numpy()
        h, memory = np.zeros(len(wh)), []
        for x_t in x:
            memory.append((x_t, h, wx @ x_t + wh @ h + bias))
            h = activation(memory[-1][2])
        r_x, r_h = np.zeros_like(x), np.zeros(len(wh))
        for t in reversed(range(len(x))):
            x_t, before, z = memory[t]
            r_h = r_h + r[t]
            r_x[t], r_h = linear(wx, x_t, z, r_h, eps), linear(wh, before, z, r_h, eps)
        return r_x

    return twin


def back(operation: Any, r: Tensor, *inputs: Tensor) -> list[Array]:
    z, towards = operation.run(*inputs)
    assert z.shape == r.shape
    return [found.dense().numpy() for found in towards(Relevance.of(z, r))]


def case_sum(rule: Any) -> tuple[list[Array], list[Array]]:
    a, b, r = randn(3, 5), randn(3, 5), randn(3, 5)
    found = back(under(Sum(constant=0.3, signs=(1, -1)), rule), r, a, b)
    return found, dense_sum(rule, a.numpy(), b.numpy(), 0.3, r.numpy())


def case_normalisation(rule: Any) -> tuple[list[Array], list[Array]]:
    x, w, b, r = randn(3, 6), randn(6), randn(6), randn(3, 6)
    found = back(over_last_axes(1, w, b, 1e-5).under(rule), r, x)
    return found, dense_normalisation(rule, *(t.numpy() for t in (x, w, b, r)))


def case_softmax(rule: Any) -> tuple[list[Array], list[Array]]:
    x, r = randn(3, 6), randn(3, 6)
    return back(Softmax(-1).under(rule), r, x), dense_softmax(rule, x.numpy(), r.numpy())


def case_product(rule: Any, signal: int | None = 1) -> tuple[list[Array], list[Array]]:
    a, v, r = randn(2, 3, 4), randn(2, 4, 5), randn(2, 3, 5)
    found = back(Product(signal).under(rule), r, a, v)
    return found, dense_product(rule, a.numpy(), v.numpy(), r.numpy(), signal)


def case_gate(rule: Any, signal: int | None = 0) -> tuple[list[Array], list[Array]]:
    a, b, r = randn(3, 5), randn(3, 5), randn(3, 5)
    return back(Gate(signal).under(rule), r, a, b), dense_gate(rule, r.numpy(), signal)


def lstm(**options: Any) -> Recurrent:
    layer = nn.LSTM(3, 4, batch_first=True, **options).double()
    return next(s.operation for s in Explainer(_Last(layer)).steps if isinstance(s.operation, Recurrent))


def case_recurrent(rule: Any) -> tuple[list[Array], list[Array]]:
    operation, x, r = lstm().under(rule), randn(2, 5, 3), randn(2, 5, 4)
    packed = torch.cat([r.flatten(1), torch.zeros(2, 8, dtype=torch.float64)], 1)
    eps = getattr(rule, "eps", 0.0)
    twins = [dense_lstm(operation.cells[0][0], *pair, eps) for pair in zip(x.numpy(), r.numpy(), strict=True)]
    return back(operation, packed, x), [np.stack(twins)]


RECURRENT: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "LSTM": (nn.LSTM, dense_lstm, {}),
    "GRU": (nn.GRU, dense_gru, {}),
    "RNN, tanh": (nn.RNN, dense_rnn(np.tanh), {}),
    "RNN, ReLU": (nn.RNN, dense_rnn(lambda z: np.maximum(z, 0)), {"nonlinearity": "relu"}),
}


@pytest.mark.parametrize("eps", [1e-6, 0.1])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_are_their_dense_twins(name: str, directions: int, eps: float) -> None:
    """Two layers, in one direction or both: the second twin's relevance is what arrives at the first."""
    torch.manual_seed(0)
    kind, twin, options = RECURRENT[name]
    layer = kind(3, 4, num_layers=2, batch_first=True, bidirectional=directions == 2, **options).double()
    steps = Explainer(_Last(layer)).steps
    operation = next(s.operation for s in steps if isinstance(s.operation, Recurrent)).under(Epsilon(eps))
    x, r = randn(2, 5, 3), randn(2, 5, 4 * directions)
    states = 2 * directions * 4 * (2 if kind is nn.LSTM else 1)
    (found,) = back(operation, torch.cat([r.flatten(1), torch.zeros(2, states, dtype=torch.float64)], 1), x)
    first = kind(3, 4, batch_first=True, bidirectional=directions == 2, **options).double()
    first.load_state_dict({key: value for key, value in layer.state_dict().items() if "_l0" in key})
    inner = first(x)[0].detach()
    for image, ours in enumerate(found):
        arriving = r[image].numpy()
        for cells, a in ((operation.cells[1], inner[image].numpy()), (operation.cells[0], x[image].numpy())):
            left = np.zeros_like(a)
            for i, cell in enumerate(cells):
                way = slice(None, None, -1 if i else 1)
                left += twin(cell, a[way], arriving[:, 4 * i : 4 * i + 4][way], eps)[way]
            arriving = left
        np.testing.assert_allclose(ours, arriving, rtol=1e-7, atol=1e-10)


def dense_blocks(rule: Any, x: Array, blocks: list[Array], w: Array, b: Array, r: Array, *, centred: bool) -> Array:
    """Any normalisation of one image's values x [values], each of the blocks of places by its own statistics."""
    matrix = np.zeros((len(x), len(x)))
    for places in blocks:
        n = len(places)
        spread = np.mean((x[places] - (x[places].mean() if centred else 0)) ** 2)
        own = (np.eye(n) - (1 / n if centred else 0)) / np.sqrt(spread + 1e-5)
        matrix[np.ix_(places, places)] = w[places, None] * own
    return linear(matrix, x, matrix @ x + b, r, getattr(rule, "eps", 0.0))


@pytest.mark.parametrize("rule", [Zero(), Epsilon(0.1)], ids=str)
@pytest.mark.parametrize("kind", ["layer-norm", "RMS-norm", "group-norm", "instance-norm"])
def test_normalisations_are_their_dense_twins(kind: str, rule: Any) -> None:
    """Maps of 4 channels and 2 x 3 places; RMSNorm and LayerNorm run over the places of a channel."""
    torch.manual_seed(0)
    x, r = randn(3, 4, 2, 3), randn(3, 4, 2, 3)
    channelwise = kind in ("group-norm", "instance-norm")
    w, b = (randn(4) if channelwise else randn(2, 3) for _ in range(2))
    if kind == "RMS-norm":
        b = torch.zeros_like(b)
    operation = {
        "layer-norm": over_last_axes(2, w, b, 1e-5),
        "RMS-norm": over_last_axes(2, w, None, 1e-5, centred=False),
        "group-norm": over_groups(2, w, b, 1e-5),
        "instance-norm": over_groups(None, w, b, 1e-5),
    }[kind]
    (found,) = back(operation.under(rule), r, x)
    places = np.arange(24)
    blocks = np.split(places, 2 if kind == "group-norm" else 4)
    each_w, each_b = (np.repeat(t.numpy(), 6) if channelwise else np.tile(t.numpy().ravel(), 4) for t in (w, b))
    for image in range(3):
        twin = dense_blocks(
            rule, x[image].numpy().ravel(), blocks, each_w, each_b, r[image].numpy().ravel(), centred=kind != "RMS-norm"
        )
        np.testing.assert_allclose(found[image].ravel(), twin, rtol=1e-8, atol=1e-10)


class _Last(nn.Module):
    """Logits of the last output of a recurrent layer."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        self.out = nn.Linear(layer.hidden_size * (1 + layer.bidirectional), 2).double()

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.layer(x)
        return self.out(outputs[:, -1])


TWINS: dict[str, Callable[[Any], tuple[list[Array], list[Array]]]] = {
    "sum": case_sum,
    "normalisation": case_normalisation,
    "softmax": case_softmax,
    "product": case_product,
    "gate": case_gate,
    "recurrent": case_recurrent,
}

EXAMPLES: dict[str, list[Any]] = {
    "sum": [Zero(), Epsilon(0.1), ZPlus(), Magnitude()],
    "normalisation": [Zero(), Epsilon(0.1), Pass()],
    "softmax": [Constant(), Taylor()],
    "product": [SignalTakesAll(), SignalTakesAll(0.1), Uniform(), Uniform(0.1)],
    "gate": [SignalTakesAll(), Uniform()],
    "recurrent": [Zero(), Epsilon(0.1)],
}


def test_every_rule_of_an_operation_has_a_twin() -> None:
    assert set(TWINS) == set(EXAMPLES) == set(OPERATION_RULES)
    for kind, rules in OPERATION_RULES.items():
        assert {type(rule) for rule in EXAMPLES[kind]} == set(rules.values())


@pytest.mark.parametrize(("kind", "rule"), [(k, r) for k, rules in EXAMPLES.items() for r in rules], ids=str)
def test_a_rule_is_its_dense_twin(kind: str, rule: Any) -> None:
    torch.manual_seed(0)
    found, expected = TWINS[kind](rule)
    for ours, twin in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, twin, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("signal", [0, None])
@pytest.mark.parametrize("rule", [SignalTakesAll(0.1), Uniform(0.1)], ids=str)
def test_products_with_another_signal_or_none(rule: Any, signal: int | None) -> None:
    for case in (case_product, case_gate):
        for ours, twin in zip(*case(rule, signal), strict=True):
            np.testing.assert_allclose(ours, twin, rtol=1e-9, atol=1e-11)


def test_einsum_is_the_same_product() -> None:
    a, v, r = randn(2, 3, 4), randn(2, 4, 5), randn(2, 3, 5)
    plain, spelled = (back(Product(1, e), r, a, v) for e in (None, ("nij", "njk", "nik")))
    for one, other in zip(plain, spelled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize(
    ("operation", "function", "shape"),
    [
        (over_last_axes(2, None, None, 1e-5), lambda x: F.layer_norm(x, (3, 4)), (2, 3, 4)),
        (over_last_axes(1, None, None, 1e-6, centred=False), lambda x: F.rms_norm(x, (4,), eps=1e-6), (2, 3, 4)),
        (over_groups(2, None, None, 1e-5), lambda x: F.group_norm(x, 2), (2, 4, 3, 3)),
        (over_groups(None, None, None, 1e-5), F.instance_norm, (2, 4, 3, 3)),
        (GatedHalves(1), lambda x: F.glu(x, 1), (2, 4, 3)),
    ],
)
def test_an_operation_computes_what_torch_does(operation: Any, function: Any, shape: tuple[int, ...]) -> None:
    x = randn(*shape)
    torch.testing.assert_close(operation.run(x)[0], function(x))


def test_what_is_masked_out_of_softmax_gets_nothing() -> None:
    x = randn(2, 4)
    x[:, 1] = -torch.inf
    (found,) = back(Softmax(-1, Taylor()), randn(2, 4), x)
    assert np.isfinite(found).all()
    assert (found[:, 1] == 0).all()


class Net(nn.Module):
    """A network of parts and a function of them."""

    def __init__(self, function: Any, **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(self, x)
        return result


def detached(function: Any, model: nn.Module, x: Tensor) -> Tensor:
    """Gradient x input of another reading of the model, with its gates, attention and deviations detached."""
    g = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(model, g)[:, 0].sum(), g)
    return (g * gradient).detach()


def gated(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    out: Tensor = m.o(h * torch.sigmoid(m.b(h)))
    return out


def gated_detached(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    out: Tensor = m.o(h * torch.sigmoid(m.b(h)).detach())
    return out


def attended(m: Any, x: Tensor) -> Tensor:
    out: Tensor = m.o(m.attention(x, x, x)[0].mean(1))
    return out


def attended_detached(m: Any, x: Tensor) -> Tensor:
    layer = m.attention
    weights = layer(x, x, x, average_attn_weights=False)[1].detach()
    w, b = layer.in_proj_weight.chunk(3)[2], layer.in_proj_bias.chunk(3)[2]
    v = F.linear(x, w, b).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
    out: Tensor = m.o(layer.out_proj((weights @ v).transpose(1, 2).flatten(-2)).mean(1))
    return out


def spelled_out(m: Any, x: Tensor) -> Tensor:
    out: Tensor = m.o(F.scaled_dot_product_attention(m.q(x), m.k(x), m.v(x), is_causal=True).mean(1))
    return out


def spelled_out_detached(m: Any, x: Tensor) -> Tensor:
    scores = m.q(x) @ m.k(x).transpose(1, 2) / 2
    weights = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(-1).detach()
    out: Tensor = m.o((weights @ m.v(x)).mean(1))
    return out


def lines(*sizes: tuple[str, int, int]) -> dict[str, nn.Module]:
    return {name: nn.Linear(i, o) for name, i, o in sizes}


@pytest.mark.parametrize(
    ("function", "oracle", "parts", "shape"),
    [
        (gated, gated_detached, lines(("a", 6, 4), ("b", 4, 4), ("o", 4, 3)), (3, 6)),
        (
            attended,
            attended_detached,
            {"attention": nn.MultiheadAttention(4, 2, batch_first=True), "o": nn.Linear(4, 3)},
            (3, 5, 4),
        ),
        (spelled_out, spelled_out_detached, lines(*((n, 4, 4) for n in "qkv"), ("o", 4, 3)), (3, 5, 4)),
    ],
    ids=["gate", "nn.MultiheadAttention", "scaled_dot_product_attention"],
)
def test_lrp_0_is_gradient_x_input_with_the_gates_detached(
    function: Any, oracle: Any, parts: dict[str, nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    model, x = Net(function, **parts).double().eval(), randn(*shape)
    explanation = Explainer(model, "lrp-0").explain(x, 0)
    assert relative_error(explanation.logits, model(x).detach()) < 1e-12
    assert relative_error(explanation.relevance, detached(oracle, model, x)) < 1e-10


@pytest.mark.parametrize("composite", ["cp-lrp", "attn-lrp"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_of_torch_balances(composite: str, norm_first: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=norm_first)
    parts = {"body": nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), "o": nn.Linear(8, 3)}
    model, x = Net(lambda m, x: m.o(m.body(x).mean(1)), **parts).double().eval(), randn(2, 5, 8)
    explanation = Explainer(model, composite).explain(x, 0)
    assert relative_error(explanation.logits, model(x).detach()) < 1e-12
    lost = sum((entry.absorbed for entry in explanation.balance), torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(explanation.relevance.flatten(1).sum(1) + lost, explanation.logits[:, 0])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_layers_compute_what_torch_does(kind: Any, bidirectional: bool) -> None:
    torch.manual_seed(0)
    layer = kind(3, 4, num_layers=2, bidirectional=bidirectional, batch_first=True)
    model, x = _Last(layer).double().eval(), randn(2, 5, 3)
    explanation = Explainer(model, "lrp-0").explain(x, 0)
    assert relative_error(explanation.logits, model(x).detach()) < 1e-12
    lost = sum((entry.absorbed for entry in explanation.balance), torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(explanation.relevance.flatten(1).sum(1) + lost, explanation.logits[:, 0])


def test_last_states_of_a_layer_with_time_first() -> None:
    torch.manual_seed(0)
    parts = {"layer": nn.LSTM(3, 4, num_layers=2), "o": nn.Linear(8, 2)}

    def function(m: Any, x: Tensor) -> Tensor:
        _, (h, c) = m.layer(x.transpose(0, 1))
        out: Tensor = m.o(torch.cat([h[-1], c[-1]], 1))
        return out

    model, x = Net(function, **parts).double().eval(), randn(2, 5, 3)
    explanation = Explainer(model, "epsilon").explain(x, 0)
    assert relative_error(explanation.logits, model(x).detach()) < 1e-12
    assert explanation.relevance.abs().sum() > 0


def test_relevance_of_tokens() -> None:
    torch.manual_seed(0)
    parts = {"words": nn.Embedding(11, 6), "o": nn.Linear(6, 3)}
    model = Net(lambda m, x: m.o(m.words(x).mean(1)), **parts).double().eval()
    tokens = torch.randint(0, 11, (4, 7))
    relevance = attribute(model, tokens, target=0, composite="lrp-0")
    vectors: Tensor = model.words(tokens).detach()  # type: ignore[operator]
    expected = (vectors * model.o.weight[0] / 7).sum(-1).detach()  # type: ignore[index, operator]
    assert relative_error(relevance, expected) < 1e-12


def test_a_sum_under_z_plus_does_not_multiply_what_nearly_cancels() -> None:
    parts = lines(("a", 1, 1), ("b", 1, 1), ("o", 1, 1))
    for (name, part), weight in zip(parts.items(), (1.00001, -1.0, 1.0), strict=True):
        nn.init.constant_(part.weight, weight)  # type: ignore[arg-type]
        nn.init.zeros_(part.bias)  # type: ignore[arg-type]
        assert name
    model = Net(lambda m, x: m.o(torch.relu(m.a(x) + m.b(x))), **parts).double()
    x = torch.ones(1, 1, dtype=torch.float64)
    calm = attribute(model, x, start="one-hot", composite=Composite(At(ZPlus(), kind="sum"), At(ZPlus())))
    assert calm.item() == pytest.approx(1, abs=1e-6)
    assert attribute(model, x, start="one-hot", composite=Composite(At(ZPlus()))).item() > 1e4


def test_a_rule_that_does_not_fit_a_kind_is_refused() -> None:
    with pytest.raises(InputError, match="choose among 'constant', 'taylor'"):
        At(ZPlus(), kind="softmax")
    with pytest.raises(InputError, match="not for a dense layer"):
        At(Uniform(), kind="dense")


def test_a_state_to_start_from_is_refused() -> None:
    parts = {"layer": nn.GRU(3, 4, batch_first=True), "o": nn.Linear(4, 2)}
    model = Net(lambda m, x: m.o(m.layer(x, torch.ones(1, 2, 4))[0][:, -1]), **parts)
    with pytest.raises(UnsupportedLayer, match="starts from a state other than zero"):
        attribute(model, torch.rand(2, 5, 3))
