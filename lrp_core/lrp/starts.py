"""Where relevance starts: how much of it each output has, for the class that is explained."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, check_choice
from .relevance import Relevance

STARTS: tuple[str, ...] = ("logit", "contrast", "log-odds", "one-hot")

Target: TypeAlias = int | Tensor | Sequence[int] | np.ndarray | None
"""The explained class: one for all images, one for each of them [n], or None for the predicted one."""

Start: TypeAlias = str | Tensor
"""One of `STARTS`, or the relevance of every output itself, in the shape of the network's output."""


def start_relevance(output: Tensor, target: Target, start: Start) -> tuple[Tensor, Relevance]:
    """The explained class [n] and the relevance of every output; the class is -1 for a start given as a tensor.

    Each named start but the last is a function f of the logits, and the relevance of logit k is z_k df/dz_k: the
    logit itself for f = z_c; z_c and minus the best other for their difference; for the log-odds
    f = z_c - log sum_{k != c} exp z_k the others share -z_k in proportion to their softmax. "one-hot" gives the
    explained class relevance 1, whatever its logit is. A network with a single logit tells class 1 from class 0: for
    class 0 relevance starts with minus the logit, and without a target the logit itself is explained. Raises
    `InputError`.
    """
    if isinstance(start, Tensor):
        return _given(output, target, start)
    check_choice("start", start, STARTS)
    if output.ndim == 1:
        chosen, r = start_relevance(output[:, None], target, start)
        return chosen, Relevance(output, r.tensor[:, 0], is_factor=r.is_factor)
    if output.ndim != 2:
        raise InputError(
            f"the network returns shape {tuple(output.shape)}, not logits [n, classes]: give the start as a tensor"
        )
    if output.shape[1] == 1 and target is not None and start in ("logit", "one-hot"):
        return _of_two_classes(output, target, start)
    if start in ("contrast", "log-odds") and output.shape[1] < 2:
        raise InputError(f"start {start!r} compares classes, and the network has a single output: use 'logit'")
    chosen = check_target(output, target)[:, None]
    gradient = torch.zeros_like(output).scatter_(1, chosen, 1.0)
    others = output.scatter(1, chosen, -torch.inf)
    if start == "contrast":
        gradient.scatter_(1, others.argmax(1, keepdim=True), -1.0)
    elif start == "log-odds":
        gradient -= others.softmax(1)
    relevance = Relevance.of(output, gradient) if start == "one-hot" else Relevance.product(output, gradient)
    return chosen[:, 0], relevance


def channel_relevance(output: Tensor, axis: int, target: Target, start: str) -> tuple[Tensor, Relevance]:
    """The explained channel [n] of a layer inside the network, and the relevance of its every output.

    Channels (or units) lie along `axis`; relevance starts with all values of the channel, or with ones for "one-hot".
    Without a target it is the channel with the largest sum. Raises `InputError`.
    """
    if check_choice("start", start, STARTS) not in ("logit", "one-hot"):
        raise InputError(f"start {start!r} compares classes, and a layer inside the network has none: use 'logit'")
    if output.ndim < 2:
        raise InputError(f"the layer gives shape {tuple(output.shape)}, without channels: give the start as a tensor")
    moved = output.movedim(axis, 1)
    chosen = check_target(moved if output.ndim == 2 else moved.flatten(2).sum(2), target)
    gradient = torch.zeros_like(output)
    gradient.movedim(axis, 1)[torch.arange(len(output), device=output.device), chosen] = 1.0
    return chosen, Relevance.of(output, gradient) if start == "one-hot" else Relevance.product(output, gradient)


def _of_two_classes(output: Tensor, target: Target, start: str) -> tuple[Tensor, Relevance]:
    """A single logit z stands for two classes: z speaks for class 1, and -z for class 0."""
    chosen = check_target(output.expand(-1, 2), target)
    sign = (2 * chosen[:, None] - 1).to(output.dtype)
    return chosen, Relevance.of(output, sign) if start == "one-hot" else Relevance.product(output, sign)


def _given(output: Tensor, target: Target, start: Tensor) -> tuple[Tensor, Relevance]:
    if target is not None:
        raise InputError("a start given as a tensor says itself what is explained: leave the target out")
    if start.shape != output.shape:
        raise InputError(
            f"the start must have the shape of the network's output, {tuple(output.shape)}, not {tuple(start.shape)}"
        )
    if not start.is_floating_point() or not bool(torch.isfinite(start).all()):
        raise InputError(f"the start must be finite floating-point numbers, not {start.dtype} with NaN or infinity")
    chosen = torch.full((len(output),), -1, device=output.device)
    return chosen, Relevance.of(output, start.detach().to(output).clone())


def check_target(logits: Tensor, target: Any) -> Tensor:
    """The explained class of every image [n]. Raises `InputError` for what is no class of the network."""
    n, n_classes = logits.shape
    if target is None:
        return logits.argmax(1)
    try:
        chosen = torch.full((n,), operator.index(target), device=logits.device)
    except OverflowError as error:
        raise InputError(f"target must be a class between 0 and {n_classes - 1}, not {target}") from error
    except (TypeError, ValueError, RuntimeError):
        try:
            chosen = torch.as_tensor(target, device=logits.device)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise InputError(f"target must be one class or {n} classes (integers), not {target!r:.60}") from error
    if chosen.shape != (n,) or chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise InputError(
            f"target must be one class or {n} classes (integers), not {chosen.dtype} of shape {tuple(chosen.shape)}"
        )
    if n and not 0 <= int(chosen.min()) <= int(chosen.max()) < n_classes:
        raise InputError(
            f"target must be a class between 0 and {n_classes - 1}, not {int(chosen.min())}..{int(chosen.max())}"
        )
    return chosen.long()
