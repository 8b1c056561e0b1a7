"""Memory and seconds that reading and ranking a large table takes: python -m benchmarks.reading [--rows N] [--json]

A process of its own reads each file, and its peak is counted from where it stood before. The limit is twice the memory
of the inputs as float32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

LIMIT = 2.0
"""Times the memory of the inputs that it may take at its peak, the data themselves included."""

READ = """
import json, resource, sys, time
import pandas, sklearn.model_selection, torch
import lrp_core as lc
from lrp_core.data.files import assemble

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

before, start = peak(), time.perf_counter()
data = lc.read_data(sys.argv[1])
read = {"peak": peak() - before, "seconds": time.perf_counter() - start}
lc.rank(lc.build_model("mlp-300-100", data), data, criterion="lrp-0")
lc.rank(None, data, criterion="variance")
ranked = {"ranked_peak": peak() - before, "ranked_seconds": time.perf_counter() - start - read["seconds"]}
print(json.dumps(read | ranked))
"""


def write(folder: Path, rows: int, columns: int) -> list[Path]:
    """The same table of random numbers and three classes as text and as Parquet."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.standard_normal((rows, columns), dtype=np.float32).round(4))
    frame.columns = pd.Index([f"c{i}" for i in range(columns)])
    frame["label"] = random.integers(0, 3, rows)
    paths = [folder / "table.csv", folder / "table.parquet"]
    frame.to_csv(paths[0], index=False)
    frame.to_parquet(paths[1])
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and seconds that reading and ranking a large table takes.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=1_000)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    size = 4 * arguments.rows * arguments.columns
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in write(Path(folder), arguments.rows, arguments.columns):
            done = subprocess.run(
                [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True, cwd=Path.cwd()
            )
            peaks[path.suffix] = json.loads(done.stdout)
            for peak, times in (("peak", "times"), ("ranked_peak", "ranked_times")):
                peaks[path.suffix][times] = peaks[path.suffix][peak] / size
    if arguments.json:
        print(json.dumps(peaks, indent=2))
        return
    for suffix, one in peaks.items():
        print(
            f"{suffix:<9} {one['seconds']:6.1f} s   {one['peak'] / 1e6:8,.0f} MB at the peak, {one['times']:.2f} times "
            f"the {size / 1e6:,.0f} MB of the inputs; after ranking by relevance and by variance "
            f"({one['ranked_seconds']:.1f} s) {one['ranked_times']:.2f} times   (limit: {LIMIT:g})"
        )


if __name__ == "__main__":
    main()
