"""What networks are given, where they run, and what their answers cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from ..data import Split, to_images
from ..errors import InputError

Encode = Callable[[Tensor], Tensor]
"""Turns images [n, c, h, w] into what a network takes; the kept pixels [n, k] for a pruned one."""

E = TypeVar("E", bound=Callable[..., Tensor])


def pick_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA, else Apple's MPS, else the CPU. Raises `InputError` for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError(device.type)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not available here: use auto or cpu") from error
    return device


def selects_pixels(encode: E) -> E:
    """Mark an encoding that only picks or rearranges pixels, so that it may be given their bytes.

    `fit` and `evaluate` then keep a quarter of the memory, and make floats of one batch at a time.
    """
    encode.selects_pixels = True  # type: ignore[attr-defined]
    return encode


def encoded(split: Split, encode: Encode | None) -> Tensor:
    """What a network is given of every image of `split`: as bytes if no more than bytes were picked, else as floats."""
    raw = split.raw if split.is_bytes else split.inputs
    if encode is None:
        return raw
    return encode(raw if getattr(encode, "selects_pixels", False) else split.inputs)


def to_floats(inputs: Tensor) -> Tensor:
    """Bytes as pixels in [0, 1]; numbers as they are."""
    return to_images(inputs) if inputs.dtype == torch.uint8 else inputs


def loss_of(
    outputs: Float[Tensor, "n outputs"], labels: Shaped[Tensor, " n"], reduction: str = "mean"
) -> Float[Tensor, "*n"]:
    """Cross-entropy of classes, or the squared error of numbers, of which there is one output."""
    if labels.is_floating_point():
        return F.mse_loss(outputs[:, 0], labels.to(outputs), reduction=reduction)
    return F.cross_entropy(outputs, labels, reduction=reduction)


def check_not_empty(split: Split) -> None:
    if len(split) == 0:
        raise InputError("there are no images to work with: the split is empty")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread inside: the last bits of a sum depend on how many threads share it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
