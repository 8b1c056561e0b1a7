"""Ranking streams: what it holds does not grow with the number of images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..support import PATIENCE

RANK = """
import sys
from pathlib import Path
import torch
from lrp_core.data import Split
from lrp_core.models import build_model
from lrp_core.ranking import measure_relevance

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

torch.set_num_threads(1)
random = torch.Generator().manual_seed(0)
pixels = torch.randint(0, 256, (60_000, 1, 28, 28), dtype=torch.uint8, generator=random)
labels = torch.randint(0, 10, (60_000,), generator=random)
split = Split(pixels, labels, torch.arange(60_000))
model = build_model("mlp-300-100", shape=(1, 28, 28), n_classes=10)
first = Split(pixels[:6_000], labels[:6_000], split.indices[:6_000])
peaks = []
for part in (first, first, split):  # the first time also loads libraries and makes buffers
    Path("/proc/self/clear_refs").write_text("5")
    measured = measure_relevance(model, part)
    assert int(measured.counts.sum()) == len(part)
    peaks.append(peak())
print(peaks[2] - peaks[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks can be reset on Linux only")
def test_ten_times_the_images_take_no_more_memory() -> None:
    """All images at once would take 60,000 x 784 x 4 bytes, 188 MB, for each copy of them."""
    found = subprocess.run([sys.executable, "-c", RANK], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert float(found.stdout) < 64, "MB from 6,000 to 60,000 images"
