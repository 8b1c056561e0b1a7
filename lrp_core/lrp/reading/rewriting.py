"""Layers of torch that hold several steps, rewritten as the steps that they are, so that each gets its own rule."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ...errors import UnsupportedLayer
from ..operations import Rearrangement
from ..recurrent import Cell, Recurrent
from .registry import register
from .tracer import KnownProxy, NeedsExample, masked


def rewritten(model: nn.Module) -> nn.Module:
    """The model with every attention and recurrent layer, and torch's own transformers, as the steps they are made of.

    A layer of a type derived from one of these is left alone if it has a forward of its own. The model itself is not
    changed: it is copied, and the copy shares its tensors.
    """
    if not any(isinstance(module, tuple(_REWRITES)) for module in model.modules()):
        return model
    shared: dict[int, Any] = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return _rewritten(copy.deepcopy(model, shared), "")


def _rewritten(module: nn.Module, path: str) -> nn.Module:
    for name, child in list(module.named_children()):
        inner = _rewritten(child, f"{path}.{name}" if path else name)
        if inner is not child:
            setattr(module, name, inner)
    rewrite = next((r for kind, r in _REWRITES.items() if isinstance(module, kind) and _is_plain(module, kind)), None)
    if rewrite is None:
        return module
    try:
        return rewrite(module).eval()
    except UnsupportedLayer as error:
        raise UnsupportedLayer(f"no relevance rule for layer {path!r} ({type(module).__name__}): {error}") from None


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    return type(module).forward is kind.forward and "forward" not in vars(module)


class Attention(nn.Module):
    """torch.nn.MultiheadAttention in single steps; `original` keeps its parameters."""

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.original = original
        width = (1, 1, original.embed_dim)
        zeros = [original.out_proj.weight.detach().new_zeros(width)] if original.add_zero_attn else []
        self.more_keys, self.more_values = (
            [*([] if row is None else [row.detach().view(width)]), *zeros] for row in (original.bias_k, original.bias_v)
        )
        joint: Tensor | None = original.in_proj_weight
        projections = (original.q_proj_weight, original.k_proj_weight, original.v_proj_weight)
        weights = tuple(p.detach() for p in (projections if joint is None else joint.chunk(3)))
        bias = original.in_proj_bias
        biases = (None,) * 3 if bias is None else bias.detach().chunk(3)
        self.q, self.k, self.v = (_linear(w, b) for w, b in zip(weights, biases, strict=True))
        self.out_proj = _linear(original.out_proj.weight.detach(), original.out_proj.bias)
        self.heads = (original.num_heads, original.head_dim)
        self.batch_first = original.batch_first

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """As in torch."""
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        rows = (self.q(query), _longer(self.k(key), self.more_keys), _longer(self.v(value), self.more_values))
        q, k, v = (x.unflatten(-1, self.heads).transpose(1, 2) for x in rows)
        weights = self.heads[1] ** -0.5 * q @ k.transpose(-2, -1)
        if attn_mask is not None:
            seen_by = attn_mask.unflatten(0, (-1, self.heads[0])) if attn_mask.ndim == 3 else attn_mask
            weights = masked(weights, _wider(seen_by, len(self.more_keys)))
        if key_padding_mask is not None:
            keys = _wider(key_padding_mask, len(self.more_keys))
            weights = masked(weights, keys.unsqueeze(1).unsqueeze(1))
        weights = weights.softmax(-1)
        out = self.out_proj((weights @ v).transpose(1, 2).flatten(-2))
        seen = (weights.mean(1) if average_attn_weights else weights) if need_weights else None
        return (out if self.batch_first else out.transpose(0, 1)), seen


def _longer(values: Any, more: list[Tensor]) -> Any:
    """Keys or values [n, tokens, width] with further ones that are the same for all images."""
    if not more:
        return values
    if isinstance(values, fx.Proxy) and not isinstance(values, KnownProxy):
        raise NeedsExample("attention with further keys is read with an example")
    return torch.cat([values, *(row.expand(values.shape[0], 1, -1) for row in more)], 1)


def _wider(mask: Any, more: int) -> Any:
    """A mask of keys, the last axis, for some more of them that are always seen."""
    return F.pad(mask, (0, more)) if more else mask


class EncoderLayer(nn.Module):
    """torch.nn.TransformerEncoderLayer without its fast path."""

    def __init__(self, original: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        self.self_attn, self.linear1, self.linear2 = original.self_attn, original.linear1, original.linear2
        self.norm1, self.norm2 = original.norm1, original.norm2
        self.activation, self.norm_first = original.activation, original.norm_first

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        """As in torch."""
        if self.norm_first:
            x = src + self._attend(self.norm1(src), src_mask, src_key_padding_mask)
            return x + self._feed(self.norm2(x))
        x = self.norm1(src + self._attend(src, src_mask, src_key_padding_mask))
        return self.norm2(x + self._feed(x))

    def _attend(self, x: Any, mask: Any, padding: Any) -> Any:
        return self.self_attn(x, x, x, attn_mask=mask, key_padding_mask=padding, need_weights=False)[0]

    def _feed(self, x: Any) -> Any:
        return self.linear2(self.activation(self.linear1(x)))


class Encoder(nn.Module):
    """torch.nn.TransformerEncoder without its fast path."""

    def __init__(self, original: nn.TransformerEncoder) -> None:
        super().__init__()
        self.layers, self.norm = original.layers, original.norm

    def forward(self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: Any = None) -> Any:
        """As in torch."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


class Bag(nn.Module):
    """torch.nn.EmbeddingBag of bags of equal size [n, tokens], as an embedding and the sum, mean or largest of it."""

    def __init__(self, original: nn.EmbeddingBag) -> None:
        super().__init__()
        if original.max_norm is not None or original.include_last_offset:
            raise UnsupportedLayer("max_norm and include_last_offset have none")
        if original.padding_idx is not None and original.mode == "max":
            raise UnsupportedLayer("the largest of a bag with a padding_idx has none: use the sum or the mean")
        self.words = nn.Embedding(1, 1, device="meta")
        self.words.weight = nn.Parameter(original.weight.detach(), requires_grad=False)
        self.mode, self.padding = original.mode, original.padding_idx

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        """As in torch."""
        if offsets is not None or per_sample_weights is not None:
            raise UnsupportedLayer("bags with offsets or weights of their own have no relevance rule: give [n, tokens]")
        vectors = self.words(input)
        if self.mode == "max":
            return vectors.amax(1)
        if self.padding is None:
            return vectors.mean(1) if self.mode == "mean" else vectors.sum(1)
        filled = (input != self.padding).unsqueeze(-1)
        total = vectors.masked_fill(~filled, 0.0).sum(1)
        return total / filled.sum(1).clamp(min=1) if self.mode == "mean" else total


class Packed(nn.Module):
    """A recurrent layer whose outputs and last states lie side by side [n, places]: see `Recurrent`."""

    def __init__(self, original: nn.RNNBase) -> None:
        super().__init__()
        self.original = original

    def operation(self) -> Recurrent:
        """The layer as one operation, with copies of its weights."""
        directions = ("", "_reverse") if self.original.bidirectional else ("",)
        numbers = range(self.original.num_layers)
        cells = tuple(tuple(self._cell(f"_l{i}{direction}") for direction in directions) for i in numbers)
        return Recurrent(self.original.mode, cells)

    def _cell(self, suffix: str) -> Cell:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        parameters = (getattr(self.original, name + suffix, None) for name in names)
        return Cell(*(None if p is None else p.detach().clone() for p in parameters))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Sequences [n, time, values] -> [n, places]."""
        return self.operation().run(x)[0]


class Part(nn.Module):
    """What is taken out of the packed output of a recurrent layer: 0 its outputs, 1 the last h, 2 the last c."""

    def __init__(self, packed: Packed, number: int) -> None:
        super().__init__()
        self.of, self.number = packed.operation(), number

    def forward(self, packed: Tensor) -> Tensor:
        """[n, places] -> [n, time or layers, values]."""
        return self.of.parts(packed)[self.number]


class Recurring(nn.Module):
    """torch.nn.LSTM, GRU or RNN: its steps as one operation, and its results taken apart."""

    def __init__(self, original: nn.RNNBase) -> None:
        super().__init__()
        self.cells = Packed(original)
        self.outputs, self.last_h, self.last_c = (Part(self.cells, number) for number in range(3))
        self.batch_first, self.mode = original.batch_first, original.mode

    def forward(self, x: Any, hx: Any = None) -> tuple[Any, Any]:
        """As in torch, from states of zero."""
        if hx is not None and not all(isinstance(s, Tensor) and not s.any() for s in _each(hx)):
            raise UnsupportedLayer("a recurrent layer that starts from a state other than zero has no relevance rule")
        packed = self.cells(x if self.batch_first else x.transpose(0, 1))
        outputs, h = self.outputs(packed), self.last_h(packed).transpose(0, 1)
        outputs = outputs if self.batch_first else outputs.transpose(0, 1)
        return outputs, (h, self.last_c(packed).transpose(0, 1)) if self.mode == "LSTM" else h


def _each(states: Any) -> tuple[Any, ...]:
    return tuple(states) if isinstance(states, list | tuple) else (states,)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer


_REWRITES: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.MultiheadAttention: Attention,
    nn.TransformerEncoderLayer: EncoderLayer,
    nn.TransformerEncoder: Encoder,
    nn.EmbeddingBag: Bag,
    nn.LSTM: Recurring,
    nn.GRU: Recurring,
    nn.RNN: Recurring,
}

register(Packed, Packed.operation)
register(Part, lambda part: Rearrangement(part.forward))
