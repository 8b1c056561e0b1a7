"""mlp-300-100 beside a network with a tenth of its multiply-accumulates: python -m benchmarks.speed [--json FILE]

        [--kept 218] [--hidden 84 87] [--seconds 60] [--threads 1] [--int8]

The smaller one reads 218 of the 784 pixels and has 84 and 87 hidden units; weights are fresh, since time goes by the
shape alone. The goals: 5 times the throughput in batches of 1,000 with the picking, and 3 times at batch 1 in ONNX
Runtime.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import nn

import lrp_core as lc
from lrp_core.evaluation import Speed
from lrp_core.views.savings import speed_text

GOALS = (
    ("throughput in batches of 1,000 with the picking, torch", 5.0, 1000, "torch", True),
    ("throughput in batches of 1,000 with the picking, ONNX Runtime", 5.0, 1000, "onnxruntime", True),
    ("batch 1, ONNX Runtime, kept inputs", 3.0, 1, "onnxruntime", False),
    ("batch 1, ONNX Runtime, with the picking", 3.0, 1, "onnxruntime", True),
)


def smaller(kept: int, hidden: list[int]) -> nn.Sequential:
    """A dense network with ReLU between its layers."""
    layers: list[nn.Module] = []
    width = kept
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()]
        width = units
    return nn.Sequential(*layers, nn.Linear(width, 10))


def judged(speed: Speed) -> list[str]:
    """The goals, and what was measured of each."""
    lines = []
    for says, goal, batch, runtime, picks in GOALS:
        timing = speed.of(batch, runtime=runtime, picks=picks)
        if timing is None or timing.ratio is None:
            lines.append(f"{says}: not measured (goal: {goal:g} times)")
            continue
        verdict = "reached" if timing.ratio >= goal else "not reached"
        lines.append(
            f"{says}: {timing.ratio:.2f} times, {timing.ratio_low:.2f} to {timing.ratio_high:.2f} over rounds "
            f"(goal: {goal:g} times, {verdict})"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="A network with a tenth of the multiply-accumulates, measured.")
    parser.add_argument("--kept", type=int, default=218)
    parser.add_argument("--hidden", nargs="+", type=int, default=[84, 87])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--json", metavar="FILE", help="also write every number there")
    arguments = parser.parse_args()
    shape = (1, 28, 28)
    order = torch.randperm(784, generator=torch.Generator().manual_seed(0))
    speed = lc.measure_speed(
        smaller(arguments.kept, arguments.hidden),
        lc.build_model("mlp-300-100", shape=shape, n_classes=10),
        shape,
        mask=lc.PixelMask.from_indices(order[: arguments.kept], shape),
        rounds=arguments.rounds,
        threads=arguments.threads,
        seconds=arguments.seconds,
        int8=arguments.int8,
        on_step=lambda done, total, text: print(f"\r{done} of {total}: {text:<70}", end="", file=sys.stderr),
    )
    print("\r" + " " * 90 + "\r", end="", file=sys.stderr)
    print(speed_text(speed))
    print("\n".join(judged(speed)))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(speed.to_dict(), indent=1))


if __name__ == "__main__":
    main()
