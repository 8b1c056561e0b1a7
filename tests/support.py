"""Helpers of several test modules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lrp_core.data import Dataset, Split
from lrp_core.models import Network, build_model
from lrp_core.ranking import CRITERIA

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parent.parent

IMAGE_NETWORKS = ("softmax", "mlp-300-100", "mlp-1000", "lenet-5", "cnn-32-64")
SERIES_NETWORKS = ("cnn-1d", "transformer-1d")
"""The project's networks: those that take images (the first three any input), and those for series alone."""

PATIENCE = 600
"""Seconds after which a test gives up on what it waits for. It ends a hang; nothing is measured by it."""


def wait_until(is_so: Callable[[], Any], what: str = "what was waited for") -> None:
    """Return as soon as `is_so()` is true."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"{what} is not so after {PATIENCE} s"
        time.sleep(0.02)


def rerun_until(app: AppTest, is_so: Callable[[], Any], what: str = "what was waited for") -> AppTest:
    """Run a page again and again until `is_so()` is true."""

    def look() -> bool:
        if is_so():
            return True
        app.run()
        return False

    wait_until(look, what)
    return app


def readme_blocks(language: str, file: str = "README.md") -> list[str]:
    """The code blocks of that language in a Markdown file of the project, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / file).read_text(), re.MULTILINE | re.DOTALL)


def toy_split(n: int, *, size: int = 6, classes: int = 3, seed: int = 0) -> Split:
    """`n` noisy square images, class c bright in its own band of rows; classes take turns."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    pixels = torch.randint(0, 90, (n, 1, size, size), generator=random)
    band = size // classes
    for i, label in enumerate(labels.tolist()):
        pixels[i, 0, label * band : (label + 1) * band] += 120
    return Split(pixels.to(torch.uint8), labels, torch.arange(n))


def toy_dataset() -> Dataset:
    return Dataset(
        "toy", ("top", "middle", "bottom"), toy_split(240, seed=1), toy_split(60, seed=2), toy_split(60, seed=3)
    )


def livened(architecture: str, shape: Sequence[int], n_classes: int, seed: int = 0) -> Network:
    """A float64 network in evaluation mode whose batch-norms have non-trivial statistics, weights and biases."""
    model = build_model(architecture, shape=shape, n_classes=n_classes, seed=seed).double()
    return stir(model, seed).eval()


def stir(model: nn.Module, seed: int) -> nn.Module:
    """Give every batch-norm of `model` running statistics, weights and biases that do not cancel out."""
    random = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low in ((layer.running_mean, -0.5), (layer.running_var, 0.2)):
                tensor.copy_(torch.rand(tensor.shape, generator=random) + low)
            with torch.no_grad():
                for tensor in (layer.weight, layer.bias):
                    tensor.copy_(torch.rand(tensor.shape, generator=random) - 0.3)
    return model


def frozen(model: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that a model stores, for `unchanged`."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    """Whether every tensor of `model` is bitwise what it was."""
    after = model.state_dict()
    return after.keys() == before.keys() and all(
        after[name].dtype == tensor.dtype and torch.equal(after[name], tensor) for name, tensor in before.items()
    )


def is_one_sentence(error: BaseException) -> bool:
    """Whether an error's text is one line that a person can read."""
    text = str(error)
    return bool(text) and "\n" not in text and len(text) < 1000 and "Traceback" not in text


def check_sentence(error: BaseException) -> None:
    """Fail unless an error's text is one line that a person can read."""
    assert is_one_sentence(error), repr(error)


def python(code: str, *args: object, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter without the type checks, with `args` in sys.argv."""
    return subprocess.run([*python_command(code, *args)], **python_options(cache), timeout=PATIENCE, check=False)


def python_command(code: str, *args: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, args)]


def python_options(cache: Path | None = None) -> dict:
    env = os.environ | ({"LRP_CACHE": str(cache)} if cache else {})
    return {"cwd": ROOT, "env": env, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


CONTROLS = tuple(name for name, criterion in CRITERIA.items() if criterion.is_control)
MEASURED = tuple(name for name, criterion in CRITERIA.items() if criterion.is_measured)
NEED_NETWORK = tuple(name for name, one in CRITERIA.items() if one.is_measured or one.needs_network)
GRADIENTS = tuple(name for name in CONTROLS if name in MEASURED)
EXPLAIN = tuple(name for name, criterion in CRITERIA.items() if criterion.explain)
