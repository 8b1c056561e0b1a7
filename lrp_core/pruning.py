"""Which inputs are kept, and the smaller network that needs only those.

The small network takes the kept pixels alone, [n, k], and does not compute with the others at all: a dense
first layer keeps their columns only; a convolutional network runs on their bounding box.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeGuard, no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor, nn

from .errors import InputError, UnsupportedLayer, check_choice
from .layers import Frame, Scatter
from .models import ModelSpec, Network, build_from_spec
from .training import selects_pixels

Structure = Literal["sliced", "fresh"]
STRUCTURES: tuple[Structure, ...] = ("sliced", "fresh")


@dataclass(frozen=True, eq=False)
class PixelMask:
    """The inputs that are kept: `indices` [k] are flat positions in an input of `shape`, in increasing order.

    Reads like a scikit-learn feature selector: `get_support`, `apply` (transform), `scatter` (inverse).
    """

    indices: Int64[Tensor, " k"]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        n = self.n_inputs
        if self.indices.ndim != 1 or not 1 <= len(self.indices) <= n:
            raise InputError(f"a mask must keep between 1 and {n} inputs, not {self.indices.numel()}")
        ordered = bool((self.indices.diff() > 0).all())
        if not ordered or int(self.indices[0]) < 0 or int(self.indices[-1]) >= n:
            raise InputError(f"mask indices must be distinct, increasing and between 0 and {n - 1}")

    @classmethod
    def from_indices(cls, indices: Sequence[int] | Tensor | np.ndarray, shape: Sequence[int]) -> PixelMask:
        """Keep the inputs at these flat positions, whole numbers in any order."""
        found = torch.as_tensor(indices)
        if found.numel() and (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool):
            raise InputError(f"mask indices must be whole numbers, the positions of kept inputs, not {found.dtype}")
        return cls(found.to(torch.int64).flatten().sort().values, tuple(shape))

    @classmethod
    def full(cls, shape: Sequence[int]) -> PixelMask:
        """Keep everything."""
        return cls(torch.arange(math.prod(shape)), tuple(shape))

    @property
    def n_inputs(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        """Number of inputs kept."""
        return len(self.indices)

    @property
    def removed_share(self) -> float:
        """Share of the inputs that is removed, in [0, 1)."""
        return 1 - len(self) / self.n_inputs

    @property
    def keep(self) -> Bool[Tensor, "*shape"]:
        """True where an input is kept, in the shape of one input."""
        support = torch.zeros(self.n_inputs, dtype=torch.bool)
        support[self.indices] = True
        return support.view(self.shape)

    def get_support(self) -> np.ndarray:
        """bool array of shape [n_inputs], True where an input is kept, as scikit-learn's selectors give it."""
        return self.keep.flatten().numpy()

    @selects_pixels
    def apply(self, images: Shaped[Tensor, "n *shape"]) -> Shaped[Tensor, "n k"]:
        """The kept pixels of each image. Raises `InputError` for images of another shape."""
        self._check(images)
        return images.flatten(1).index_select(1, self.indices.to(images.device))

    def scatter(self, kept: Shaped[Tensor, "n k"], fill: float = 0.0) -> Shaped[Tensor, "n *shape"]:
        """Images with the kept pixels in their places and `fill` elsewhere: `scatter(apply(x)) == x * keep`."""
        if kept.ndim != 2 or kept.shape[1] != len(self):
            raise InputError(f"expected kept pixels of shape [n, {len(self)}], not {tuple(kept.shape)}")
        return Scatter(self.indices.to(kept.device), self.shape, fill).forward(kept)

    def remove(self, images: Shaped[Tensor, "n *shape"], fill: float = 0.0) -> Shaped[Tensor, "n *shape"]:
        """The images with every removed pixel set to `fill`, in their full shape."""
        self._check(images)
        return torch.where(self.keep.to(images.device), images, fill)

    def bounding_box(self) -> tuple[slice, slice]:
        """Rows and columns of the smallest rectangle that holds every kept pixel of a mask of images."""
        if len(self.shape) != 3:
            raise InputError(f"inputs of shape {self.shape} are no images and have no bounding box")
        grid = self.keep.any(0)
        rows, columns = (grid.any(axis).nonzero().flatten() for axis in (1, 0))
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def _check(self, images: Tensor) -> None:
        if tuple(images.shape[1:]) != self.shape:
            raise InputError(
                f"the mask is for inputs of shape {self.shape}; got a batch of shape {tuple(images.shape)} "
                f"(expected [n, {', '.join(map(str, self.shape))}])"
            )


class PrunedNetwork(nn.Module):
    """A network on the kept pixels alone: `forward` takes [n, k] and gives logits.

    `spec` is that of the full network, `structure` says how `body` came about: "sliced" out of a trained
    network, whose function on masked images it computes, or "fresh" for the kept pixels.
    """

    def __init__(
        self, body: nn.Sequential, spec: ModelSpec, mask: PixelMask, fill: float, structure: Structure
    ) -> None:
        super().__init__()
        if not math.isfinite(fill):
            raise InputError(f"removed pixels can be filled with a finite number only, not {fill}")
        self.body = body
        self.spec, self.mask, self.fill, self.structure = spec, mask, fill, structure

    @no_type_check  # torch.fx traces it with a proxy
    def forward(self, kept: Tensor) -> Tensor:
        logits: Tensor = self.body(kept)
        return logits

    @selects_pixels
    def encode(self, images: Shaped[Tensor, "n *shape"]) -> Shaped[Tensor, "n k"]:
        """What the network takes, out of full images."""
        return self.mask.apply(images)


def prune_inputs(network: Network, mask: PixelMask, *, fill: float = 0.0) -> PrunedNetwork:
    """The smaller network that computes on the kept pixels what `network` computes on the masked image.

    Removed pixels count as `fill`. The weights are copies; `network` is not changed. In evaluation mode
    `small(mask.apply(x)) == network(mask.remove(x, fill))` up to rounding. Raises `InputError` if the mask is
    for another input shape, `UnsupportedLayer` for a network that is not a sequence of known layers.
    """
    _check_mask(network.spec, mask)
    if len(mask.shape) == 3 and any(isinstance(layer, nn.Conv2d) for layer in network):
        body = _slice_convolutional(network, mask, fill)
    else:
        body = _slice_dense(network, mask, fill)
    return PrunedNetwork(body, network.spec, mask, fill, "sliced").train(network.training)


def build_pruned(
    spec: ModelSpec,
    mask: PixelMask,
    *,
    fill: float = 0.0,
    structure: Structure = "fresh",
    seed: int = 0,
    device: str = "cpu",
) -> PrunedNetwork:
    """An untrained network for the kept pixels of the architecture in `spec`, for training from scratch.

    "fresh": the architecture as it is built for k inputs, or, if it needs images, for the mask's bounding
    box with the removed pixels in it set to `fill`. "sliced": of the form that `prune_inputs` gives. On the
    device "meta" its weights take no memory.
    """
    _check_mask(spec, mask)
    check_choice("structure", structure, STRUCTURES)
    if structure == "sliced":
        return prune_inputs(build_from_spec(spec, seed=seed, device=device), mask, fill=fill)
    layers: list[tuple[str, nn.Module]] = []
    shape: tuple[int, ...] = (len(mask),)
    if _needs_images(spec):
        box = _crop_mask(mask, *mask.bounding_box())
        layers, shape = [("scatter", Scatter(box.indices, box.shape, fill))], box.shape
    inner = build_from_spec(replace(spec, shape=shape), seed=seed, device=device)
    return PrunedNetwork(_named([*layers, *inner.named_children()]), spec, mask, fill, "fresh")


def _check_mask(spec: ModelSpec, mask: PixelMask) -> None:
    if mask.shape != spec.shape:
        raise InputError(f"the mask is for inputs of shape {mask.shape}, the network for {spec.shape}")


def _needs_images(spec: ModelSpec) -> bool:
    return any(isinstance(layer, nn.Conv2d) for layer in build_from_spec(spec, device="meta"))


def _slice_dense(network: Network, mask: PixelMask, fill: float) -> nn.Sequential:
    """Keep the columns of the first layer that belong to kept pixels; removed ones become part of its bias."""
    layers = [(name, copy.deepcopy(layer)) for name, layer in _layers_of(network)]
    for i, (name, layer) in enumerate(layers):
        if isinstance(layer, nn.Linear):
            removed = torch.full((mask.n_inputs,), fill, dtype=torch.float64)
            layers[i] = (name, _take_columns(layer, mask.indices, removed))
            return _named(layers)
        if not (isinstance(layer, nn.Identity) or _flattens_all(layer)):
            break
    raise UnsupportedLayer(
        f"inputs can be cut off a network that starts with a dense layer, not off {type(layers[i][1]).__name__}"
    )


def _take_columns(layer: nn.Linear, columns: Tensor, constant: Tensor) -> nn.Linear:
    """`layer` on some of its inputs, the other ones holding `constant` [inputs] for ever."""
    old_bias: Tensor | None = layer.bias
    small = nn.Linear(
        len(columns), layer.out_features, bias=old_bias is not None or bool(constant.any()), device="meta"
    )
    rest = constant.to(layer.weight).index_fill(0, columns.to(layer.weight.device), 0)
    with torch.no_grad():
        small.weight = nn.Parameter(layer.weight[:, columns].clone())
        if small.bias is not None:
            shift = layer.weight @ rest
            small.bias = nn.Parameter(shift if old_bias is None else old_bias + shift)
    return small


@dataclass(frozen=True)
class _Window:
    """What depends on the kept pixels in a feature map: `top` to before `bottom`, `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int

    def through(self, layer: nn.Conv2d | nn.MaxPool2d, size: Sequence[int]) -> tuple[_Window, _Window]:
        """The window of the outputs of `layer` that depend on this one, and what they read of the padded input."""
        kernel, stride, padding, dilation = (
            _pair(v) for v in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        )
        outputs, reads = [], []
        for axis, (first, end) in enumerate(((self.top, self.bottom), (self.left, self.right))):
            k, s, p = dilation[axis] * (kernel[axis] - 1) + 1, stride[axis], padding[axis]
            n_out = (size[axis] + 2 * p - k) // s + 1
            low = max(0, -(-(first + p - k + 1) // s))
            low -= low * s > first + p  # a gap between kernels: start with the one before
            high = min(n_out, (end - 1 + p) // s + 1)
            outputs += [low, max(high, low)]
            reads += [low * s, max((high - 1) * s + k, end + p)]
        return _Window(*outputs), _Window(*reads)

    @property
    def is_empty(self) -> bool:
        return self.top >= self.bottom or self.left >= self.right


def _slice_convolutional(network: Network, mask: PixelMask, fill: float) -> nn.Sequential:
    """The network on the bounding box, exact: what the kept pixels cannot reach is constant and is kept as such.

    Layer by layer, only the window of the feature map that depends on kept pixels is computed. Around it the
    map is what the network gives for an image of nothing but `fill`; as much of that as the next kernel
    reads is set around the window (`Frame`), and all the rest goes into the bias of the first dense layer.
    """
    rows, columns = mask.bounding_box()
    box = _crop_mask(mask, rows, columns)
    window = _Window(rows.start, rows.stop, columns.start, columns.stop)
    layers: list[tuple[str, nn.Module]] = [("scatter", Scatter(box.indices, box.shape, fill))]
    reference = next(network.parameters())
    constant: Tensor | None = torch.full((1, *mask.shape), fill, dtype=reference.dtype, device=reference.device)
    reached: Tensor | None = None
    for name, original in _layers_of(network):
        layer = copy.deepcopy(original)
        if constant is None:
            layers.append((name, layer))
            continue
        if _slides(layer):
            after, reads = window.through(layer, constant.shape[2:])
            if after.is_empty:
                raise InputError(f"layer {name!r} reads none of the kept pixels: keep some nearer to the centre")
            if reads != window:
                layers.append((f"{name}_frame", _frame(layer, constant, window, reads)))
            layer.padding = (0, 0)
            window = after
        elif _flattens_all(layer):
            positions = torch.arange(constant[0].numel()).view(constant.shape[1:])
            reached = positions[:, window.top : window.bottom, window.left : window.right].flatten()
        elif isinstance(layer, nn.Linear) and reached is not None:
            layers.append((name, _take_columns(layer, reached, constant.flatten())))
            constant = None
            continue
        elif not isinstance(layer, nn.BatchNorm2d | nn.ReLU | nn.Dropout | nn.Identity):
            raise UnsupportedLayer(f"a convolutional network with {type(layer).__name__} ({name!r}) cannot be cropped")
        layers.append((name, layer))
        constant = _evaluate(original, constant)
    if constant is not None:
        raise UnsupportedLayer("a convolutional network without a dense layer after its feature maps cannot be cropped")
    return _named(layers)


def _layers_of(network: Network) -> list[tuple[str, nn.Module]]:
    """Every step of a sequence by name, also where one module stands in it twice."""
    return [(name, layer) for name, layer in network.named_modules(remove_duplicate=False) if name and "." not in name]


def _slides(layer: nn.Module) -> TypeGuard[nn.Conv2d | nn.MaxPool2d]:
    """Whether a layer moves a kernel over the image in the way that `_Window` follows."""
    match layer:
        case nn.Conv2d():
            return layer.padding_mode == "zeros"
        case nn.MaxPool2d():
            return not layer.ceil_mode and not layer.return_indices
    return False


def _flattens_all(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1)


def _frame(layer: nn.Conv2d | nn.MaxPool2d, constant: Tensor, window: _Window, reads: _Window) -> Frame:
    """What `layer` reads around the window: the constant map, and the layer's own padding around that."""
    top, left = _pair(layer.padding)
    outside = 0.0 if isinstance(layer, nn.Conv2d) else -torch.inf
    padded = nn.functional.pad(constant, (left, left, top, top), value=outside)[0]
    surround = padded[:, reads.top : reads.bottom, reads.left : reads.right]
    return Frame(surround, window.top + top - reads.top, window.left + left - reads.left)


@torch.no_grad()
def _evaluate(layer: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = copy.deepcopy(layer).eval()(x)
    return result


def _crop_mask(mask: PixelMask, rows: slice, columns: slice) -> PixelMask:
    inside = mask.keep[:, rows, columns]
    return PixelMask(inside.flatten().nonzero().flatten(), tuple(inside.shape))


def _pair(value: int | tuple[int, ...] | str) -> tuple[int, int]:
    if isinstance(value, str):
        raise UnsupportedLayer(f"padding={value!r} is not supported here: give it as numbers")
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _named(layers: Sequence[tuple[str, nn.Module]]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))
