"""Fit one network, and evaluate one network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import Dataset, Split, to_images
from ..errors import InputError, LrpError, check_choice
from .dense import DenseChain, find_dense_chain

Encode = Callable[[Tensor], Tensor]
"""Turns images [n, c, h, w] into what a network takes; the kept pixels [n, k] for a pruned one."""


PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What the products of training are computed in."""

WARM_UP = 0.21
"""Share of the steps in which the learning rate rises; OneCycleLR divides by WARM_UP * steps - 1, never zero here."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: Adam with decoupled weight decay and a one-cycle learning rate.

    `epochs` passes over the data, `batch_size` images a step, `lr` the highest learning rate. With `precision`
    "bfloat16", products are rounded to 8 significant bits, while loss, weights and optimizer stay in float32; it is
    faster on processors that have such products (AVX512-BF16, AMX; most GPUs) and slower on all others.
    """

    epochs: int = 16
    batch_size: int = 256
    lr: float = 3e-3
    weight_decay: float = 0.1
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, PRECISIONS)
        finite = math.isfinite(self.lr) and math.isfinite(self.weight_decay)
        if self.epochs < 0 or self.batch_size < 1 or self.lr <= 0 or self.weight_decay < 0 or not finite:
            raise InputError(
                f"cannot train with {self}: epochs and weight_decay must be 0 or more, batch_size at least 1, "
                "lr above 0"
            )


M = TypeVar("M", bound=nn.Module)
E = TypeVar("E", bound=Callable[..., Tensor])

RECIPES: dict[str, Recipe] = {
    "lenet-5": Recipe(epochs=14, lr=4e-3, weight_decay=0.05),
    "cnn-32-64": Recipe(epochs=8, batch_size=128, weight_decay=0.05),
}
"""Recipes of the architectures for which the default is not the best found on validation data."""


def recipe_for(architecture: str, **changes: Any) -> Recipe:
    """The default recipe of an architecture, with every change that is not None."""
    return replace(RECIPES.get(architecture, Recipe()), **{k: v for k, v in changes.items() if v is not None})


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
) -> M:
    """A trained copy of `model`, on the CPU and in evaluation mode; `model` itself is not changed.

    Trains on `data.train` (or the given split) with cross-entropy, or with the squared error where labels are numbers.
    `recipe` defaults to that of the model's architecture; `encode` prepares the images (default: none);
    `on_epoch(epoch, mean loss)` is called after each pass. The same seed, versions and thread count give the same
    weights.

    Raises `LrpError` if the loss or the weights stop being finite, `InputError` for no images.

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
    starts = list(range(0, len(labels), recipe.batch_size))
    if len(labels) % recipe.batch_size == 1 and len(starts) > 1:
        starts.pop()  # batch-norm cannot learn from one image: it joins the batch before
    n_batches = len(starts)
    dense = None if split.has_numbers else find_dense_chain(network, inputs.ndim)
    dtype = PRECISIONS[recipe.precision]
    chain = DenseChain(dense, min(recipe.batch_size + 1, len(labels)), dtype) if dense else None
    gradient = chain.gradient if chain else partial(_gradient, network, dtype=dtype)
    trained = [chain.flat] if chain else [p for p in network.parameters() if p.requires_grad]
    if recipe.epochs and trained:
        optimizer = torch.optim.AdamW(trained, recipe.lr, weight_decay=recipe.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.lr, total_steps=recipe.epochs * n_batches, pct_start=WARM_UP
        )
        random = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[target] if target.type == "cuda" else []):
            torch.manual_seed(seed)
            for epoch in range(1, recipe.epochs + 1):
                order = torch.randperm(len(labels), generator=random).to(target)
                total = torch.zeros((), device=target)
                for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
                    rows = order[start:stop]
                    x, y = _floats(inputs.index_select(0, rows)), labels[rows]
                    total += gradient(x, y)
                    optimizer.step()
                    schedule.step()
                mean_loss = float(total) / n_batches
                if not np.isfinite(mean_loss):
                    raise LrpError(f"training diverged in epoch {epoch}: lower the learning rate ({recipe.lr:g})")
                if on_epoch:
                    on_epoch(epoch, mean_loss)
        if chain:
            chain.write_back()
        with torch.no_grad():
            if not bool(torch.isfinite(network.eval()(x)).all()):
                raise LrpError(f"training diverged in its last step: lower the learning rate ({recipe.lr:g})")
    return network.to(memory_format=torch.contiguous_format).cpu().eval()


def _gradient(network: nn.Module, x: Tensor, labels: Tensor, *, dtype: torch.dtype) -> Tensor:
    """The mean cross-entropy, or squared error, of a batch; its gradient is then in the parameters."""
    network.zero_grad(set_to_none=True)
    with nullcontext() if dtype == torch.float32 else torch.autocast(x.device.type, dtype):
        outputs = network(x)
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    loss = (
        F.mse_loss(outputs[:, 0], labels.to(outputs))
        if labels.is_floating_point()
        else F.cross_entropy(outputs, labels)
    )
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


def _floats(inputs: Tensor) -> Tensor:
    return to_images(inputs) if inputs.dtype == torch.uint8 else inputs


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
class NumberEvaluation:
    """How well a network predicts numbers on one split.

    `r2` is the coefficient of determination, 1 - sum of squared errors / sum of squares around the split's own mean
    (NaN where all numbers are alike), `mae` the mean absolute error and `loss` the mean squared one, both of the
    numbers as the split has them; `errors` [n] is prediction minus number.
    """

    n: int
    r2: float
    mae: float
    loss: float
    errors: np.ndarray

    @property
    def score(self) -> float:
        """What networks are judged by: R^2."""
        return self.r2

    @classmethod
    def of(cls, outputs: Float[Tensor, "n outputs"], labels: Tensor) -> NumberEvaluation:
        """What outputs are worth. Raises `InputError` for a network with several outputs."""
        if outputs.shape[1] != 1:
            raise InputError(f"a number is predicted by one output, and the network has {outputs.shape[1]}")
        numbers = labels.double()
        errors = outputs[:, 0].double() - numbers
        around = float((numbers - numbers.mean()).square().sum())
        r2 = 1 - float(errors.square().sum()) / around if around else math.nan
        return cls(len(labels), r2, float(errors.abs().mean()), float(errors.square().mean()), errors.numpy())


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

    @property
    def score(self) -> float:
        """What networks are judged by: the accuracy."""
        return self.accuracy


def evaluate(
    model: nn.Module, split: Split, *, device: str = "auto", encode: Encode | None = None, batch_size: int = 1000
) -> Any:
    """Accuracy, cross-entropy, confidence and per-class accuracy of `model` on `split`; changes nothing.

    Gives an `Evaluation`, or a `NumberEvaluation` for a split whose labels are numbers; both have a `score`.

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
    if split.has_numbers:
        return NumberEvaluation.of(logits, split.labels)
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
        logits = [network(_floats(batch.to(target))).cpu() for batch in torch.split(inputs, batch_size)]
    return torch.cat(logits).clone()  # out of inference mode, so that the result is a tensor like any other


def _check_not_empty(split: Split) -> None:
    if len(split) == 0:
        raise InputError("there are no images to work with: the split is empty")
