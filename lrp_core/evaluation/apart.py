"""A measurement in a process of its own, away from the other threads of the one that asks for it.

A server's threads take turns with everything that Python does, so what is timed there waits for them, and writing files
for ONNX Runtime takes ten times as long.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import InputError, LrpError
from ..pruning import load_network, save_network
from .measuring import OnStep, measure_speed
from .speed import Speed

SMALL, FULL = "small.safetensors", "full.safetensors"


def measure_apart(
    small: nn.Module, full: nn.Module, shape: Sequence[int], *, on_step: OnStep | None = None, **how: Any
) -> Speed:
    """`measure_speed`, in a process of its own; `how` are its other arguments that are plain values.

    `on_step` ends the process by raising. Raises `InputError` as `measure_speed` does, and for a network that no file
    can describe or that another process does not know.
    """
    with tempfile.TemporaryDirectory() as folder:
        save_network(small, Path(folder) / SMALL)
        save_network(full, Path(folder) / FULL)
        asked = json.dumps({"folder": folder, "shape": list(shape), "how": how})
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, asked],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        answer: dict[str, Any] = {}
        try:
            for line in process.stdout:
                answer = json.loads(line)
                if on_step is not None and "step" in answer:
                    on_step(*answer["step"])
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    if "speed" in answer:
        return Speed.from_dict(answer["speed"])
    raise InputError(answer.get("refused", "the process that measures ended before it was done: try it again"))


def main(asked: str) -> None:
    """Measure what another process asked for, and say a line of JSON a step, and then the result."""
    words = json.loads(asked)
    folder = Path(words["folder"])
    try:
        small, full = (load_network(folder / name) for name in (SMALL, FULL))
        speed = measure_speed(
            small,
            full,
            words["shape"],
            **words["how"],
            on_step=lambda done, total, text: _say({"step": [done, total, text]}),
        )
    except LrpError as error:
        _say({"refused": str(error)})
    else:
        _say({"speed": speed.to_dict()})


def _say(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
