"""attn-lrp and cp-lrp on a small vision transformer, against two other implementations: lxt, by the authors of AttnLRP,
and autolrp, which works on the autograd graph.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrp_core.lrp import At, Composite, Constant, Epsilon, Explainer, Magnitude, Pass, SignalTakesAll, Taylor, Uniform

from .networks import relative_error


class Block(nn.Module):
    """Tokens [n, tokens, width] -> logits: one block with layer-norms before attention and before the dense layers.

    With biases, the logits are those of the mean of the tokens, without those of the first one.
    """

    def __init__(self, width: int = 8, heads: int = 2, *, bias: bool = True) -> None:
        super().__init__()
        self.heads, self.pooled = heads, bias
        self.norm1, self.norm2 = (nn.LayerNorm(width, bias=bias) for _ in range(2))
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=bias) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width, bias=bias), nn.Linear(2 * width, width, bias=bias)
        self.head = nn.Linear(width, 3, bias=bias)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        q, k, v = (self.split(part(y)) for part in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(-2))
        x = x + self.down(torch.nn.functional.gelu(self.up(self.norm2(x))))
        logits: Tensor = self.head(x.mean(1) if self.pooled else x[:, 0])
        return logits


def block(*, bias: bool) -> tuple[Block, Tensor]:
    torch.manual_seed(0)
    model = Block(bias=bias).double().eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter, 1.0 if name.endswith("weight") else 0.0, 0.2)
    return model, torch.randn(2, 5, 8, dtype=torch.float64)


def by_lxt(model: Block, x: Tensor, target: int) -> Tensor:
    """AttnLRP by the functions of lxt.explicit, whose gradients are relevance; the scale of the scores is in q."""
    lf = pytest.importorskip("lxt.explicit.functional", reason="lxt is not installed: pip install --no-deps lxt")
    identity = pytest.importorskip("lxt.explicit.rules").identity

    def linear(layer: nn.Linear, a: Tensor, factor: float = 1.0) -> Any:
        bias = None if layer.bias is None else layer.bias * factor
        return lf.linear_epsilon(a, layer.weight * factor, bias, 1e-6)

    def norm(layer: nn.LayerNorm, a: Tensor) -> Any:
        return lf.layer_norm(a, layer.weight, layer.bias, layer.eps)

    leaf = x.clone().requires_grad_()
    y = norm(model.norm1, leaf)
    q = model.split(linear(model.q, y, (x.shape[-1] / model.heads) ** -0.5))
    k, v = (model.split(linear(part, y)) for part in (model.k, model.v))
    weights = lf.softmax(lf.matmul(q, k.transpose(-2, -1), False, 1e-6), -1)
    attended = lf.matmul(weights, v, False, 1e-6).transpose(1, 2).flatten(-2)
    h = lf.add2(leaf, linear(model.out, attended), False, 1e-6)
    inner = identity(torch.nn.functional.gelu, linear(model.up, norm(model.norm2, h)))
    h = lf.add2(h, linear(model.down, inner), False, 1e-6)
    logits = linear(model.head, lf.mean(h, 1, False))
    torch.testing.assert_close(logits, model(x))
    (relevance,) = torch.autograd.grad(logits[:, target].sum(), leaf)
    return relevance.detach()


def test_attn_lrp_is_that_of_its_authors() -> None:
    """Up to their stabiliser, which is added whatever the sign."""
    model, x = block(bias=True)
    wanted = by_lxt(model, x, 1)
    found = Explainer(model, "attn-lrp").relevance(x, 1, "one-hot")
    assert relative_error(found, wanted) < 1e-3
    assert relative_error(Explainer(model, "cp-lrp").relevance(x, 1, "one-hot"), wanted) > 1e-2


ATTENTION: dict[str, list[At]] = {
    "attnlrp": [At(Taylor(), kind="softmax"), At(Uniform(1e-11), kind="product")],
    "cplrp": [At(Constant(), kind="softmax"), At(SignalTakesAll(1e-11), kind="product")],
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_is_that_of_autolrp(name: str) -> None:
    """Without biases and means, with sums by magnitude and layer-norms passed over, as autolrp does these."""
    autolrp = pytest.importorskip("autolrp", reason="autolrp is not installed: pip install -r requirements-dev.txt")
    model, x = block(bias=False)
    rest = [At(Magnitude(), kind="sum"), At(Pass(), kind="normalisation"), At(Epsilon(1e-11))]
    found = Explainer(model, Composite(*ATTENTION[name], *rest)).relevance(x, 1, "one-hot")
    rule = {**autolrp.BASE, **(autolrp.ATTNLRP if name == "attnlrp" else autolrp.CPLRP)}
    for image, ours in zip(x.split(1), found.split(1), strict=True):
        given = autolrp.tensor(image)
        model(given)[0, 1].lrp(config=autolrp.LRPConfig(rule=rule))
        assert relative_error(ours, given.relevance.as_subclass(Tensor)) < 1e-6
