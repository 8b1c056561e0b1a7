"""Fit one network, and evaluate one network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import Dataset, Split
from ..errors import InputError, LrpError
from .dense import DenseChain, find_dense_chain
from .recipe import PRECISIONS, Recipe, recipe_for
from .stopping import Held, to_floats

Encode = Callable[[Tensor], Tensor]
"""Turns images [n, c, h, w] into what a network takes; the kept pixels [n, k] for a pruned one."""

M = TypeVar("M", bound=nn.Module)
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
) -> M:
    """A trained copy of `model`, on the CPU and in evaluation mode; `model` itself is not changed.

    Trains on `data.train` (or the given split) with cross-entropy. `recipe` defaults to that of the model's
    architecture; `encode` prepares the images (default: none); `on_epoch(epoch, mean loss)` is called after
    each pass. The same seed, versions and thread count give the same weights.

    A recipe with `patience` stops early: the loss on `validation` (default: `data.validation`) is measured after every
    epoch, and the weights of the epoch in which it was lowest are given back. The test split is never read.

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
    _check_not_empty(split)
    target = pick_device(device)
    network = copy.deepcopy(model).to(target).train()
    if any(parameter.ndim == 4 for parameter in network.parameters()):
        network = network.to(memory_format=torch.channels_last)
    inputs = _encoded(split, encode).to(target)
    labels = split.labels.to(target)
    if len(labels) == 1 and any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in network.modules()):
        raise InputError("batch-norm cannot learn from a single image: train on at least 2")
    held = _held_out(data, validation, recipe, encode, target)
    starts = list(range(0, len(labels), recipe.batch_size))
    if len(labels) % recipe.batch_size == 1 and len(starts) > 1:
        starts.pop()  # batch-norm cannot learn from one image: it joins the batch before
    n_batches = len(starts)
    dense = find_dense_chain(network, inputs.ndim)
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
                    total += gradient(x, y)
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
    return Held(_encoded(split, encode).to(target), split.labels.to(target), recipe.patience)


def _gradient(network: nn.Module, x: Tensor, labels: Tensor, *, dtype: torch.dtype) -> Tensor:
    """The mean cross-entropy of a batch; its gradient is then in the parameters."""
    network.zero_grad(set_to_none=True)
    with nullcontext() if dtype == torch.float32 else torch.autocast(x.device.type, dtype):
        logits = network(x)
    loss = F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def selects_pixels(encode: E) -> E:
    """Mark an encoding that only picks or rearranges pixels, so that it may be given their bytes.

    `fit` and `evaluate` then keep a quarter of the memory, and make floats of one batch at a time.
    """
    encode.selects_pixels = True  # type: ignore[attr-defined]
    return encode


def _encoded(split: Split, encode: Encode | None) -> Tensor:
    """What a network is given of every image of `split`: as bytes if no more than bytes were picked, else as floats."""
    raw = split.raw if split.is_bytes else split.inputs
    if encode is None:
        return raw
    return encode(raw if getattr(encode, "selects_pixels", False) else split.inputs)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread inside: the last bits of a sum depend on how many threads share it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Evaluation:
    """How a network does on one split: all shares in [0, 1].

    `confidence` is the mean softmax probability of the predicted class, `per_class` the accuracy of each
    class (NaN where the split has none of it), `correct` whether each image was classified right.
    """

    n: int
    accuracy: float
    loss: float
    confidence: float
    per_class: tuple[float, ...]
    correct: np.ndarray


def evaluate(
    model: nn.Module, split: Split, *, device: str = "auto", encode: Encode | None = None, batch_size: int = 1000
) -> Evaluation:
    """Accuracy, cross-entropy, confidence and per-class accuracy of `model` on `split`; changes nothing.

    >>> import torch
    >>> import lrp_core as lc
    >>> split = lc.Split(torch.rand(60, 20), torch.arange(60) % 3)
    >>> net = lc.build_model("softmax", shape=(20,), n_classes=3)
    >>> evaluation = lc.evaluate(net, split, device="cpu")
    >>> evaluation.n, 0 <= evaluation.accuracy <= 1
    (60, True)
    """
    _check_not_empty(split)
    logits = predict_logits(model, _encoded(split, encode), device=device, batch_size=batch_size)
    log_p = logits.double().log_softmax(1)
    correct = logits.argmax(1) == split.labels
    hits, counts = (
        torch.bincount(labels, minlength=logits.shape[1]).double() for labels in (split.labels[correct], split.labels)
    )
    return Evaluation(
        n=len(split),
        accuracy=float(correct.double().mean()),
        loss=float(F.nll_loss(log_p, split.labels)),
        confidence=float(log_p.amax(1).exp().mean()),
        per_class=tuple((hits / counts).tolist()),
        correct=correct.numpy(),
    )


def predict_logits(
    model: nn.Module, inputs: Shaped[Tensor, "n *shape"], *, device: str = "auto", batch_size: int = 1000
) -> Float[Tensor, "n classes"]:
    """Logits of `inputs`, on the CPU, computed in batches in evaluation mode; the model is left as it was.

    Bytes are taken as pixels, and become floats in [0, 1].
    """
    target = pick_device(device)
    network = copy.deepcopy(model).to(target).eval()
    with torch.inference_mode():
        logits = [network(to_floats(batch.to(target))).cpu() for batch in torch.split(inputs, batch_size)]
    return torch.cat(logits).clone()  # out of inference mode, so that the result is a tensor like any other


def _check_not_empty(split: Split) -> None:
    if len(split) == 0:
        raise InputError("there are no images to work with: the split is empty")
