"""What a mask of MNIST's pixels saves in networks that convolve, way by way: counts, measured time and accuracy.

python -m benchmarks.conv_savings [--networks lenet-5 cnn-32-64] [--keep 157] [--train-images 6000] [--epochs N]
        [--seeds 0 1] [--seconds 40] [--time-only] [--json FILE]

The mask keeps the pixels that lrp-0 ranks first for a network trained on all of them (first seed). Every way is trained
from fresh weights in the same short recipe (8 epochs of lenet-5, 4 of cnn-32-64), so accuracies compare with each other
and not with those of whole studies; they are of the validation split. One thread, a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

import lrp_core as lc
from lrp_core.evaluation import ConvSaving
from lrp_core.evaluation.speed import this_machine
from lrp_core.training import recipe_for

EPOCHS = {"lenet-5": 8}
"""Of the other networks, four: what finishes in some minutes on one core."""


def table_of(network: str, found: tuple[ConvSaving, ...], batches: tuple[int, ...]) -> pd.DataFrame:
    """One row a way; what is closed has its reason in the place of numbers."""
    rows = []
    full = found[0]
    for one in found:
        row: dict[str, object] = {"network": network, "way": one.name}
        if not one.is_open:
            rows.append(row | {"closed": one.why_not})
            continue
        row |= {"MACs": f"{one.macs:,}", "of full": f"{one.macs / full.macs:.0%}", "parameters": f"{one.parameters:,}"}
        row |= {"input bytes": f"{one.input_bytes:,}"}
        for batch in batches:
            milliseconds, before = one.milliseconds_at(batch), full.milliseconds_at(batch)
            if milliseconds is not None and before is not None:
                row[f"ms at {batch}"], row[f"x at {batch}"] = f"{milliseconds:.3g}", f"{before / milliseconds:.2f}"
        row["accuracy"] = ", ".join(f"{score:.2%}" for score in one.scores)
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def main() -> None:
    parser = argparse.ArgumentParser(description="What a mask saves in networks that convolve, way by way.")
    parser.add_argument("--networks", nargs="+", default=["lenet-5", "cnn-32-64"])
    parser.add_argument("--keep", type=int, default=157, help="pixels that stay")
    parser.add_argument("--train-images", type=int, default=6000)
    parser.add_argument("--epochs", type=int, help="default: 8 for lenet-5, 4 for others")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--seconds", type=float, default=40.0, help="of measuring time, for each network")
    parser.add_argument("--time-only", action="store_true", help="train no way: counts and times alone")
    parser.add_argument("--json", metavar="FILE", help="also write every number there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    whole = lc.load_dataset("mnist")
    data = lc.Dataset("mnist", whole.classes, whole.train.sample(arguments.train_images), whole.validation, whole.test)
    batches, results = (1, 1000), {}
    for name in arguments.networks:
        recipe = recipe_for(name, epochs=arguments.epochs or EPOCHS.get(name, 4))
        network = lc.build_model(name, data, seed=arguments.seeds[0])
        trained = lc.fit(network, data, recipe=recipe, seed=arguments.seeds[0], device="cpu")
        mask = lc.rank(trained, data.train, criterion="lrp-0").mask(keep=arguments.keep)
        found = lc.conv_savings(
            network,
            mask,
            data=None if arguments.time_only else data,
            train=None if arguments.time_only else recipe,
            seeds=arguments.seeds,
            batches=batches,
            seconds=arguments.seconds,
            on_step=lambda done, total, text: print(f"\r{done} of {total}: {text:<60}", end="", file=sys.stderr),
        )
        print("\r" + " " * 80 + "\r", end="", file=sys.stderr)
        results[name] = [asdict(one) for one in found]
        box = " x ".join(str(stretch.stop - stretch.start) for stretch in mask.bounding_box())
        print(f"{name}: {len(mask)} of {mask.n_inputs} pixels kept, bounding box {box}; {recipe.epochs} epochs")
        print(table_of(name, found, batches).to_string(index=False), flush=True)
    print(
        f"validation accuracy after training on {arguments.train_images:,} images, seeds "
        f"{', '.join(map(str, arguments.seeds))}; one thread; {this_machine()}; torch {torch.__version__}; "
        f"{time.monotonic() - began:.0f} s in all"
    )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
