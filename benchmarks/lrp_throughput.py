"""Relevance of a batch, side by side: this engine, zennit, captum, plain gradient x input, and the bare kernels.

python -m benchmarks.lrp_throughput [--networks cnn-32-64-128 ...] [--composites epsilon ...] [--inputs uniform]
        [--batches 1 100 1000] [--threads 2] [--json FILE]

All contenders explain the same images with the same network in one process, one after the other in every round; the
figures are medians over the rounds. Inputs are MNIST's, four fifths of them zero, or uniform in [0, 1], none of them
zero. "Bare kernels" are the matrix products and convolutions that this engine runs for the composite, replayed with
nothing between them: the floor. zennit and captum are given the same rules, and the relevance of all must agree.
gradient x input is that of plain autograd. Whichever zennit is installed is measured, and named: 1.0 needs
Python 3.11.11 (`pip install zennit==1.0.0`).
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import zennit.composites as zc
import zennit.rules as zr
from captum.attr import LRP
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm
from zennit.types import Convolution

from lrp_core.data import load_dataset
from lrp_core.lrp import Explainer
from lrp_core.models import build_model

EPS, GAMMA, STABILISER = 1e-6, 0.25, 1e-9
COMPOSITES = ("epsilon", "epsilon-plus", "epsilon-gamma-box", "epsilon-alpha2-beta1")


def mlp() -> nn.Sequential:
    """784-300-100-10, on vectors: captum knows no Flatten."""
    return nn.Sequential(*list(build_model("mlp-300-100", shape=(1, 28, 28), n_classes=10))[1:])


def lenet_5() -> nn.Sequential:
    return nn.Sequential(*build_model("lenet-5", shape=(1, 28, 28), n_classes=10))


def cnn() -> nn.Sequential:
    """Three convolutions of 3x3 with 32, 64 and 128 maps, each with ReLU and 2x2 max-pooling, and one dense layer."""
    layers: list[nn.Module] = []
    for channels, maps in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(channels, maps, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 9, 10))


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {"mlp-300-100": mlp, "lenet-5": lenet_5, "cnn-32-64-128": cnn}
INPUTS = ("mnist", "uniform")
BATCHES = (1, 100, 1000)
SECONDS = 20.0
"""A cell takes about so long, if five rounds are not more."""

Contender = Callable[[], Any]


def by_gradient(model: nn.Module, x: Tensor, target: Tensor) -> Contender:
    def run() -> Tensor:
        pixels = x.clone().requires_grad_()
        logits = model(pixels).gather(1, target[:, None])
        (gradient,) = torch.autograd.grad(logits.sum(), pixels)
        return (pixels * gradient).detach()

    return run


def by_zennit(model: nn.Module, x: Tensor, target: Tensor, name: str) -> Contender:
    composite = zennit_composite(name, x)

    def run() -> Tensor:
        pixels = x.clone().requires_grad_()
        with composite.context(model) as modified:
            logits = modified(pixels)
            start = torch.zeros_like(logits).scatter_(1, target[:, None], logits.detach().gather(1, target[:, None]))
            (relevance,) = torch.autograd.grad(logits, pixels, start)
        return relevance

    return run


def zennit_composite(name: str, x: Tensor) -> Any:
    """zennit's composite of the same rules: its biases and stabiliser set to what the formulas say."""
    low, high = torch.zeros_like(x[:1]), torch.ones_like(x[:1])
    own = {"epsilon": EPS, "stabilizer": STABILISER}
    no_bias = {"stabilizer": STABILISER, "zero_params": "bias"}
    if name == "epsilon":
        return zc.EpsilonPlus(layer_map=[(Convolution, zr.Epsilon(EPS))], **own)
    if name == "epsilon-plus":
        return zc.EpsilonPlus(layer_map=[(Convolution, zr.ZPlus(**no_bias))], **own)
    if name == "epsilon-gamma-box":
        first = [(nn.Linear, zr.ZBox(low, high, **no_bias)), (Convolution, zr.ZBox(low, high, **no_bias))]
        return zc.EpsilonGammaBox(low=low, high=high, gamma=GAMMA, first_map=first, **own)
    alpha_beta = zr.AlphaBeta(alpha=2, beta=1, **no_bias)
    return zc.EpsilonAlpha2Beta1(layer_map=[(Convolution, alpha_beta)], **own)


def by_captum(model: nn.Sequential, x: Tensor, target: Tensor, name: str) -> Contender | None:
    """captum has epsilon only among these rules, and none for Flatten."""
    if name != "epsilon" or any(isinstance(layer, nn.Flatten) for layer in model):
        return None
    theirs = copy.deepcopy(model)
    for layer in theirs:
        if isinstance(layer, nn.Linear):
            layer.rule = EpsilonRule(epsilon=EPS)
    explainer = LRP(theirs)
    return lambda: explainer.attribute(x.clone().requires_grad_(), target=target).detach()


KERNELS = {"mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward", "mkldnn_linear"}


class KernelRecorder(TorchDispatchMode):
    """Notes every matrix product and convolution, with its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket.__name__ in KERNELS:
            self.calls.append((function, args, kwargs or {}))
        return result


def bare_kernels(run: Contender) -> Contender:
    with KernelRecorder() as recorder:
        run()
    calls = recorder.calls

    @torch.no_grad()
    def replay() -> None:
        for function, args, kwargs in calls:
            function(*args, **kwargs)

    return replay


def measure(contenders: dict[str, Contender], rounds: int) -> dict[str, float]:
    """Median seconds of each, over rounds in which they take turns; at least five, though time is up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    begun = time.perf_counter()
    for i in range(rounds + 2):
        if i >= 7 and time.perf_counter() - begun > SECONDS:
            break
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            synchronise()
            if i >= 2:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compare(network: str, composite: str, inputs: str, images: Tensor, rounds: int) -> dict[str, Any]:
    """One line of the table."""
    batch = len(images)
    torch.manual_seed(0)
    model = NETWORKS[network]().eval().to(images.device)
    x = images
    x = x if isinstance(model[0], nn.Conv2d) else x.flatten(1)
    with torch.no_grad():
        target = model(x).argmax(1)
    explainer = Explainer(model, composite)
    contenders: dict[str, Contender] = {
        "ours": lambda: explainer.relevance(x, target),
        "zennit": by_zennit(model, x, target, composite),
        "gradient": by_gradient(model, x, target),
    }
    captum = by_captum(model, x, target, composite)
    if captum:
        contenders["captum"] = captum
    relevance = contenders["ours"]()
    contenders["kernels"] = bare_kernels(contenders["ours"])
    for name in {"zennit", "captum"} & set(contenders):
        expected = contenders[name]()
        if name == "captum":  # which starts at 1 and multiplies by no logit
            with torch.no_grad():
                scale = model(x).gather(1, target[:, None])
            expected = expected * scale if not torch.allclose(expected.sum(), relevance.sum(), rtol=0.05) else expected
        error = float((relevance - expected).abs().max() / expected.abs().max())
        assert error < 1e-3, f"{name} disagrees on {network} under {composite}: {error:.2g}"
    seconds = measure(contenders, rounds)
    ours = seconds["ours"]
    return {
        "network": network,
        "composite": composite,
        "inputs": inputs,
        "batch": batch,
        "images/s": batch / ours,
        "x zennit": seconds["zennit"] / ours,
        "x captum": seconds["captum"] / ours if captum else float("nan"),
        "/ gradient": ours / seconds["gradient"],
        "/ kernels": ours / seconds["kernels"],
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--composites", nargs="+", default=list(COMPOSITES), choices=list(COMPOSITES))
    parser.add_argument("--inputs", nargs="+", default=list(INPUTS), choices=list(INPUTS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES), metavar="N", help="at most 10000")
    parser.add_argument("--rounds", type=int, default=13, help="at least 5, and fewer where they take long")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", metavar="FILE", help="also write the table, with every median, there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    digits = load_dataset("mnist").test.images
    kinds = {"mnist": digits, "uniform": torch.rand(digits.shape, generator=torch.Generator().manual_seed(0))}
    cells = list(product(arguments.networks, arguments.composites, arguments.inputs, arguments.batches))
    rows = []
    for network, composite, inputs, batch in tqdm(cells, file=sys.stderr):
        images = kinds[inputs][:batch].to(arguments.device)
        rows.append(compare(network, composite, inputs, images, max(5, arguments.rounds)))
    table = pd.DataFrame(rows)
    print(table.drop(columns="seconds").to_string(index=False, float_format="{:.2f}".format))
    against = table["x zennit"]
    print(f"\ngeometric mean of x zennit: {statistics.geometric_mean(against):.2f}, least {against.min():.2f}")
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{arguments.threads} threads"
    machine = (
        f"{platform.machine()}, {device}, torch {torch.__version__}, zennit {version('zennit')}, "
        f"captum {version('captum')}, Python {platform.python_version()}"
    )
    print(machine)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
