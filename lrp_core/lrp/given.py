"""What is asked of an explainer: inputs, targets and starts, brought to tensors or refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError


def is_finite(values: Tensor) -> bool:
    """Whether there is no NaN and no infinity. The sum is quick and tells, but for one that overflows itself."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


@contextmanager
def refusing_misfits(inputs: Tensor) -> Iterator[None]:
    """Turn what torch says of inputs that do not fit a network into an `InputError` of one sentence."""
    try:
        yield
    except (RuntimeError, IndexError, AssertionError) as error:
        reason = (str(error).splitlines() or ["it asserts something else of them"])[0]
        raise InputError(
            f"inputs of shape {tuple(inputs.shape)} and type {inputs.dtype} do not fit the network ({reason})"
        ) from error


def as_inputs(inputs: Any) -> Tensor:
    """The inputs as a tensor of finite numbers. Raises `InputError` for anything else."""
    if isinstance(inputs, np.ndarray):
        inputs = torch.as_tensor(inputs)
    if not isinstance(inputs, Tensor):
        raise InputError(f"inputs must be a tensor [n, ...] of images, not {type(inputs).__name__}")
    if inputs.layout is not torch.strided:
        raise InputError(f"inputs must be a dense tensor, not one of layout {inputs.layout}: use to_dense()")
    if inputs.ndim < 1:
        raise InputError("inputs must be a batch of images [n, ...], not a single number")
    _check_inputs(inputs)
    return inputs


def as_target(target: Any) -> Any:
    """The target as it is, or as a tensor where it lists classes; one of a single element is one class for all."""
    if isinstance(target, list | tuple | range | np.ndarray):
        try:
            target = torch.as_tensor(np.asarray(target))
        except (TypeError, ValueError) as error:
            raise InputError(f"target must be one class or one for each image, not {target!r:.60}") from error
    return target.reshape(()) if isinstance(target, Tensor) and target.numel() == 1 else target


def as_start(start: Any) -> Any:
    if isinstance(start, np.ndarray):
        return torch.as_tensor(start)
    return start


def _check_inputs(inputs: Tensor) -> None:
    if inputs.dtype in (torch.int32, torch.int64):
        return
    if not inputs.is_floating_point():
        raise InputError(f"inputs must be floating point (pixels / 255), not {inputs.dtype}")
    if not is_finite(inputs):
        bad = (~torch.isfinite(inputs)).flatten(1).any(1).nonzero().flatten().tolist()
        raise InputError(f"image {bad[0]} of the batch holds NaN or infinity ({len(bad)} such images): clean it first")
