"""Export: a folder with the smaller network and a card that says what it is, read back before it is given away."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .data import Dataset, load_dataset
from .errors import InputError, StorageError, check_choice, storage_errors
from .evaluation import measure_cost, wilson_interval
from .ledger import Ledger
from .models import Network
from .pruning import PrunedNetwork
from .stages import base_data
from .study import Trial, trial_network
from .training import evaluate, predict_logits
from .weights import describe, load_network, save_network

FORMATS: tuple[str, ...] = ("safetensors",)
CARD_VERSION = 1
WEIGHTS = "weights.safetensors"
CARD = "card.json"


@dataclass(frozen=True)
class Export:
    """A finished export: its `folder`, the `card` in it, and the sizes of its `files` in bytes."""

    folder: Path
    card: dict[str, Any]
    files: dict[str, int]


def export(
    network: Network | PrunedNetwork,
    folder: str | Path,
    *,
    formats: Collection[str] = ("safetensors",),
    data: Dataset | None = None,
    provenance: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Export:
    """Write `network` to `folder` as weights and a JSON card, read both back, and check what was read.

    The accuracy on the test split of `data` (default: the data set that the network was built for) is
    measured before writing and again on what was read back; only if they agree does the folder appear.
    `provenance` goes into the card as it is. Raises `InputError` for an unknown format or for no data to
    measure on, `StorageError` for a folder that exists (unless `overwrite`) or cannot be written.
    """
    for name in formats:
        check_choice("export format", name, FORMATS)
    if not formats:
        raise InputError(f"an export needs at least one format: choose of {', '.join(FORMATS)}")
    target = Path(folder).expanduser()
    _check_target(target, overwrite)
    data = data or _own_data(network)
    with storage_errors("write the export next to", target):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        save_network(network, scratch / WEIGHTS)
        card = make_card(network, data, _sha256(scratch / WEIGHTS), provenance or {})
        with storage_errors("write", scratch / CARD):
            (scratch / CARD).write_text(json.dumps(card, indent=2) + "\n")
        check_export(scratch, data)
        with storage_errors("put the export in place at", target):
            scratch.chmod(0o755)
            if target.exists():
                target.replace(retired := scratch.with_name(scratch.name + ".old"))
                scratch.replace(target)
                shutil.rmtree(retired, ignore_errors=True)
            else:
                scratch.replace(target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return Export(target, card, {file.name: file.stat().st_size for file in sorted(target.iterdir())})


def export_trial(trial: Trial, folder: str | Path, ledger: Ledger, *, overwrite: bool = False) -> Export:
    """Export the network of a trial, which is trained first if it is not there yet."""
    _check_target(Path(folder).expanduser(), overwrite)
    network = trial_network(trial, ledger)
    base = trial.base
    provenance = {
        "criterion": trial.criterion,
        "statistic": trial.statistic,
        "start": trial.start,
        "relevance_images": trial.rank_images or base.n_train or "all",
        "mode": trial.mode,
        "seed": base.seed,
        "training_images": base.n_train or "all",
        "training": asdict(base.recipe),
        "retraining": asdict(trial.retrain),
    }
    return export(network, folder, data=base_data(base), provenance=provenance, overwrite=overwrite)


def make_card(
    network: Network | PrunedNetwork, data: Dataset, checksum: str, provenance: dict[str, Any]
) -> dict[str, Any]:
    """What a reader needs to use the weights, and to judge them: plain values for JSON."""
    found = evaluate(network, data.test, encode=_encode(network))
    interval = wilson_interval(int(found.correct.sum()), found.n)
    cost = measure_cost(network)
    kept = network.mask.indices.tolist() if isinstance(network, PrunedNetwork) else list(range(data.n_inputs))
    return {
        "card_version": CARD_VERSION,
        "network": describe(network),
        "classes": list(data.classes),
        "input": {
            "shape": list(network.spec.shape),
            "kept_pixels": kept,
            "order": "positions in the flattened image, row by row; the network takes these pixels, in this order",
            "normalisation": {"scale": 1 / 255, "offset": 0.0, "range": [0.0, 1.0]},
        },
        "accuracy": {
            "dataset": data.name,
            "split": "test",
            "images": found.n,
            "value": found.accuracy,
            "interval_95": [interval.low, interval.high],
            "method": "Wilson score",
            "confidence": found.confidence,
            "per_class": list(found.per_class),
            "loss": found.loss,
        },
        "cost": {
            "macs": cost.macs,
            "flops": cost.flops,
            "parameters": cost.parameters,
            "bytes": cost.bytes,
            "input_bytes": cost.input_bytes,
            "layers": [asdict(layer) for layer in cost.layers],
        },
        "provenance": provenance,
        "versions": {name: version(name) for name in ("torch", "numpy", "safetensors")}
        | {"python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {WEIGHTS: {"sha256": checksum}},
    }


def load_export(folder: str | Path) -> tuple[Network | PrunedNetwork, dict[str, Any]]:
    """The network of an export and its card.

    Raises `StorageError` if a file is missing, damaged, or its checksum is not the card's.
    """
    folder = Path(folder).expanduser()
    card_path, weights = folder / CARD, folder / WEIGHTS
    with storage_errors("read", card_path):
        text = card_path.read_text()
    try:
        card = json.loads(text)
        if card["card_version"] > CARD_VERSION:
            raise StorageError(
                f"{card_path} is of version {card['card_version']}, newer than this program's: update it"
            )
        expected = card["files"][WEIGHTS]["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{card_path} is truncated or no card of this project") from error
    with storage_errors("read", weights):
        if _sha256(weights) != expected:
            raise StorageError(f"{weights} is damaged: its checksum is not the one in {CARD}")
    return load_network(weights), card


def check_export(folder: Path, data: Dataset) -> None:
    """Read an export back and measure it again. Raises `StorageError` if it is not what its card says."""
    network, card = load_export(folder)
    found = evaluate(network, data.test, encode=_encode(network)).accuracy
    if found != card["accuracy"]["value"]:
        raise StorageError(
            f"the export in {folder} was read back with accuracy {found:.4f} instead of "
            f"{card['accuracy']['value']:.4f}: it is not offered"
        )


def predict(folder: str | Path, images: Tensor) -> tuple[list[str], np.ndarray]:
    """Classes and their probabilities [n] that an export gives for images [n, c, h, w] with pixels in [0, 1].

    Raises `InputError` for images of the wrong size or with values that are not finite or outside [0, 1].
    """
    network, card = load_export(folder)
    shape = tuple(card["input"]["shape"])
    if images.ndim == len(shape):
        images = images[None]
    if tuple(images.shape[1:]) != shape:
        raise InputError(f"the network takes images of shape {shape}, not {tuple(images.shape[1:])}")
    if not bool(torch.isfinite(images).all()):
        raise InputError("the images hold NaN or infinity: clean them first")
    if len(images) and not 0 <= float(images.min()) <= float(images.max()) <= 1:
        raise InputError(
            f"pixels must lie in [0, 1], not in [{float(images.min()):g}, {float(images.max()):g}]: divide bytes by 255"
        )
    encode = _encode(network)
    probabilities = predict_logits(network, encode(images) if encode else images).softmax(1)
    best = probabilities.max(1)
    return [card["classes"][i] for i in best.indices.tolist()], best.values.numpy()


def _encode(network: Network | PrunedNetwork) -> Any:
    return network.encode if isinstance(network, PrunedNetwork) else None


def _own_data(network: Network | PrunedNetwork) -> Dataset:
    if network.spec.dataset is None:
        raise InputError("the network was built for no named data set: give data= to measure the export on")
    return load_dataset(network.spec.dataset)


def _check_target(target: Path, overwrite: bool) -> None:
    if target.is_dir() and overwrite:
        foreign = [f.name for f in target.iterdir() if f.name not in (WEIGHTS, CARD)]
        if foreign:
            raise StorageError(f"{target} holds other things ({', '.join(sorted(foreign)[:3])}): choose another folder")
    elif target.exists() or target.is_symlink():
        raise StorageError(f"{target} exists already: choose another folder, or overwrite an earlier export explicitly")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
