"""Which of the everyday image classifiers can be explained: one of each family of torchvision, and 48 of timm.

    python -m benchmarks.coverage [--markdown] [--json FILE] [MODEL ...]

Weights are random (nothing is downloaded), numbers float64. For each network: whether it runs, how far its own logits
are from the model's, how far LRP-0 is from gradient x input where the network is piecewise linear, and how much of the
relevance the balance cannot account for, each relative to the largest value. timm's models are left out where
timm is not installed (`pip install --no-deps timm`).
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules import activation

from lrp_core.errors import LrpError
from lrp_core.lrp import Explainer

TORCHVISION = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3"),
    *("maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18"),
    *("resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn"),
    *("vit_b_16", "wide_resnet50_2"),
)
TIMM = (
    *("resnet18", "resnet26d", "resnet10t", "legacy_seresnet18", "mobilenetv2_050", "mobilenetv4_conv_small"),
    *("repvgg_a0", "darknet53", "vgg11", "densenet121", "dla34", "hrnet_w18_small", "res2net50_26w_4s"),
    *("cspresnet50", "selecsls42", "ghostnet_050", "mobileone_s0", "repghostnet_050", "efficientnet_lite0"),
    *("tf_efficientnet_lite0", "dpn48b", "xception41", "inception_v4", "resnetv2_50", "nfnet_l0", "convnext_atto"),
    *("vit_tiny_patch16_224", "mixer_s32_224", "resmlp_12_224", "edgenext_xx_small", "fastvit_t8", "regnetz_005"),
    *("gernet_s", "rexnet_100", "levit_128s", "deit_tiny_patch16_224", "hardcorenas_a", "skresnet18", "resnest14d"),
    *("ese_vovnet19b_dw", "tresnet_m", "bat_resnext26ts", "tinynet_e", "lcnet_050", "mnasnet_small"),
    *("semnasnet_075", "spnasnet_100", "fbnetc_100"),
)
FIXED_SIZE = {
    *("maxvit_t", "vit_b_16"),
    *("vit_tiny_patch16_224", "mixer_s32_224", "resmlp_12_224", "levit_128s", "deit_tiny_patch16_224"),
}
"""Those that take images of 224 pixels only; the others are given 128, which is quicker (one needs 256)."""
PIECEWISE_LINEAR = {
    *("Affine", "Dense", "Convolution", "Scale", "Identity", "Rectifier", "Rearrangement", "MaxPool", "Average", "Sum"),
    *("Multiple", "Concatenation", "Extreme", "PadSum"),
}
"""Operations through which LRP-0 is gradient x input; an activation is one where it is a ReLU with slopes."""


@dataclass(frozen=True)
class Verdict:
    """What became of one network; distances are relative to the largest value, -1 where there is none."""

    model: str
    runs: bool
    logits: float = -1.0
    gradient: float = -1.0
    unaccounted: float = -1.0
    seconds: float = 0.0
    says: str = ""


def networks(names: list[str]) -> Iterator[tuple[str, int, Callable[[], nn.Module]]]:
    """The name of each network, the side of its images, and what builds it."""
    import torchvision.models as tv

    chosen = [name.removeprefix("torchvision.") for name in names if not name.startswith("timm.")]
    for name in TORCHVISION:
        if not names or name in chosen:
            options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
            yield (
                f"torchvision.{name}",
                _side(name),
                lambda name=name, options=options: tv.get_model(name, weights=None, **options),
            )
    try:
        import timm
    except ImportError:
        return
    for name in TIMM:
        if not names or f"timm.{name}" in names:
            yield f"timm.{name}", _side(name), lambda name=name: timm.create_model(name, pretrained=False)


def _side(name: str) -> int:
    return 224 if name in FIXED_SIZE else 256 if name == "bat_resnext26ts" else 128


def judge(name: str, side: int, build: Callable[[], nn.Module]) -> Verdict:
    """Explain two random images by LRP-0 and compare."""
    started = time.perf_counter()
    torch.manual_seed(0)
    model = build().double().eval().requires_grad_(False)
    randomise(model)
    x = torch.rand(2, 3, side, side, dtype=torch.float64) - 0.3
    try:
        explainer = Explainer(model, "lrp-0", example=x)
        explanation = explainer.explain(x, 0)
    except LrpError as error:
        return Verdict(name, False, seconds=time.perf_counter() - started, says=str(error))
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    logits[:, 0].sum().backward()
    linear = all(_is_piecewise_linear(step.operation) for step in explainer.steps)
    assert leaf.grad is not None
    gap = _distance(explanation.relevance, x * leaf.grad) if linear else -1.0
    arrived = explanation.logits[:, 0]
    lost = sum((b.bias + b.epsilon for b in explanation.balance), torch.zeros_like(arrived))
    sizes = [float(b.arrived.abs().max()) for b in explanation.balance]
    left = explanation.relevance.flatten(1).sum(1)
    unaccounted = float((arrived - left - lost).abs().max()) / max(*sizes, 1e-300)
    seconds = time.perf_counter() - started
    return Verdict(name, True, _distance(explanation.logits, logits.detach()), gap, unaccounted, seconds)


def randomise(model: nn.Module) -> None:
    """Random numbers for all that starts as a constant, so that nothing is trivially right.

    These are heads, biases and position embeddings of zero, layer scales next to zero, normalisations of one, and the
    statistics of batch-norms.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    for name, parameter in model.named_parameters():
        if not parameter.numel() or float(parameter.min()) != float(parameter.max()):
            continue
        inputs = parameter.numel() // len(parameter) if parameter.ndim else 1
        if name.endswith("bias") or (parameter.ndim > 1 and len(parameter) == 1):
            parameter.normal_(0, 0.1)
        elif inputs > 1:
            parameter.normal_(0, inputs**-0.5)
        else:
            parameter.uniform_(0.5, 1.5)


def _is_piecewise_linear(operation: object) -> bool:
    kind = type(operation).__name__
    if kind == "Activation":
        return getattr(getattr(operation, "function", None), "__self__", None).__class__ in (
            nn.LeakyReLU,
            activation.PReLU,
        )
    return kind in PIECEWISE_LINEAR


def _distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max()) / max(float(theirs.abs().max()), 1e-300)


def as_markdown(verdicts: list[Verdict]) -> str:
    lines = ["| network | runs | logits | LRP-0 and gradient x input | unaccounted |", "|---|---|---|---|---|"]
    for v in verdicts:
        cells = ["" if value < 0 else f"{value:.0e}" for value in (v.logits, v.gradient, v.unaccounted)]
        lines.append(f"| {v.model} | {'yes' if v.runs else 'no: ' + v.says} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="torchvision's name, or timm.NAME; all if none")
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/lrp.md")
    parser.add_argument("--json", type=Path, help="write the verdicts to this file")
    given = parser.parse_args()
    verdicts = []
    for name, side, build in networks(given.models):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            verdict = judge(name, side, build)
        verdicts.append(verdict)
        if not given.markdown:
            distances = " ".join(f"{v:8.0e}" for v in (verdict.logits, verdict.gradient, verdict.unaccounted))
            became = "runs" if verdict.runs else f"refused: {verdict.says[:150]}"
            print(f"{verdict.model:36s} {distances} {verdict.seconds:6.1f} s  {became}", flush=True)
        if given.json:
            given.json.write_text(json.dumps([asdict(v) for v in verdicts], indent=1) + "\n")
    runs = sum(v.runs for v in verdicts)
    print(as_markdown(verdicts) if given.markdown else f"{runs} of {len(verdicts)} run")


if __name__ == "__main__":
    main()
