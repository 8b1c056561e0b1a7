"""Fit one network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Dataset, Split
from ..errors import InputError, LrpError
from .dense import DenseChain, find_dense_chain
from .distillation import Teacher
from .feeding import Encode, check_not_empty, encoded, loss_of, pick_device, to_floats
from .recipe import PRECISIONS, Recipe, recipe_for
from .stopping import Held

M = TypeVar("M", bound=nn.Module)


def fit(
    model: M,
    data: Dataset | Split,
    *,
    recipe: Recipe | None = None,
    seed: int = 0,
    device: str = "auto",
    encode: Encode | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    validation: Split | None = None,
    teacher: Teacher | None = None,
) -> M:
    """A trained copy of `model`, on the CPU and in evaluation mode; `model` itself is not changed.

    Trains on `data.train` (or the given split) with cross-entropy, or with the squared error where labels are numbers.
    `recipe` defaults to that of the model's architecture; `encode` prepares the images (default: none);
    `on_epoch(epoch, mean loss)` is called after each pass. The same seed, versions and thread count give the same
    weights.

    A recipe with `patience` stops early: the loss on `validation` (default: `data.validation`) is measured after every
    epoch, and the weights of the epoch in which it was lowest are given back. The test split is never read.

    With a `teacher`, the answers of a larger network for the same rows, the loss is that of distillation.

    Raises `LrpError` if the loss or the weights stop being finite, `InputError` for no images, or for `patience`
    without held-out rows.

    >>> import torch
    >>> import lrp_core as lc
    >>> split = lc.Split(torch.rand(60, 20), torch.arange(60) % 3)
    >>> net = lc.build_model("mlp-300-100", shape=(20,), n_classes=3)
    >>> trained = lc.fit(net, split, recipe=lc.Recipe(epochs=2), device="cpu")
    >>> torch.equal(trained.logits.bias, net.logits.bias)
    False
    """
    spec = getattr(model, "spec", None)
    recipe = recipe or recipe_for(spec.architecture if spec else "")
    split = data.train if isinstance(data, Dataset) else data
    check_not_empty(split)
    target = pick_device(device)
    network = copy.deepcopy(model).to(target).train()
    if any(parameter.ndim == 4 for parameter in network.parameters()):
        network = network.to(memory_format=torch.channels_last)
    inputs = encoded(split, encode).to(target)
    labels = split.labels.to(target)
    answers = None if teacher is None else teacher.for_rows(split).to(target)
    held = _held_out(data, validation, recipe, encode, target)
    starts = _batches(network, len(labels), recipe.batch_size)
    n_batches = len(starts)
    dense = None if split.has_numbers else find_dense_chain(network, inputs.ndim)
    dtype = PRECISIONS[recipe.precision]
    chain = DenseChain(dense, min(recipe.batch_size + 1, len(labels)), dtype) if dense else None
    gradient = chain.gradient if chain else partial(_gradient, network, dtype=dtype)
    trained = [chain.flat] if chain else [p for p in network.parameters() if p.requires_grad]
    if recipe.epochs and trained:
        optimizer = recipe.optimize(trained)
        schedule = recipe.schedule(optimizer, recipe.epochs * n_batches)
        random = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[target] if target.type == "cuda" else []):
            torch.manual_seed(seed)
            for epoch in range(1, recipe.epochs + 1):
                order = torch.randperm(len(labels), generator=random).to(target)
                total = torch.zeros((), device=target)
                for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
                    rows = order[start:stop]
                    x, y = to_floats(inputs.index_select(0, rows)), labels[rows]
                    total += gradient(x, y) if answers is None else gradient(x, y, teacher, answers[rows])
                    optimizer.step()
                    schedule.step()
                mean_loss = float(total) / n_batches
                if not np.isfinite(mean_loss):
                    raise LrpError(f"training diverged in epoch {epoch}: lower the learning rate ({recipe.lr:g})")
                if on_epoch:
                    on_epoch(epoch, mean_loss)
                if held and held.is_over(network, chain):
                    break
        if chain:
            chain.write_back()
        if held:
            held.restore(network)
        with torch.no_grad():
            if not bool(torch.isfinite(network.eval()(x)).all()):
                raise LrpError(f"training diverged in its last step: lower the learning rate ({recipe.lr:g})")
    return network.to(memory_format=torch.contiguous_format).cpu().eval()


def _batches(network: nn.Module, rows: int, size: int) -> list[int]:
    """Where batches start. Raises `InputError` for a single row and a network that cannot learn from it."""
    if rows == 1 and any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in network.modules()):
        raise InputError("batch-norm cannot learn from a single image: train on at least 2")
    starts = list(range(0, rows, size))
    if rows % size == 1 and len(starts) > 1:
        starts.pop()  # batch-norm cannot learn from one image: it joins the batch before
    return starts


def _held_out(
    data: Dataset | Split, validation: Split | None, recipe: Recipe, encode: Encode | None, target: torch.device
) -> Held | None:
    """The rows by which training stops, None if it does not stop early."""
    if recipe.patience is None:
        return None
    split = data.validation if validation is None and isinstance(data, Dataset) else validation
    if split is None or len(split) == 0:
        raise InputError(
            f"early stopping (patience={recipe.patience}) needs held-out rows: give data with a validation split, or "
            "fit(..., validation=a split)"
        )
    return Held(encoded(split, encode).to(target), split.labels.to(target), recipe.patience)


def _gradient(
    network: nn.Module,
    x: Tensor,
    labels: Tensor,
    teacher: Teacher | None = None,
    answers: Tensor | None = None,
    *,
    dtype: torch.dtype,
) -> Tensor:
    """The mean cross-entropy, squared error, or loss of a teacher; its gradient is then in the parameters."""
    network.zero_grad(set_to_none=True)
    with nullcontext() if dtype == torch.float32 else torch.autocast(x.device.type, dtype):
        outputs = network(x)
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    loss = loss_of(outputs, labels) if teacher is None or answers is None else teacher.loss(outputs, labels, answers)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()
