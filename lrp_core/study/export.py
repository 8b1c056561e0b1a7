"""Export: a folder with the smaller network and a card that says what it is, read back before it is given away."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import DATASETS, Dataset, Scaler, Target, open_data
from ..errors import InputError, StorageError, check_choice, storage_errors
from ..evaluation import measure_cost, r2_interval, wilson_interval
from ..models import count_outputs, spec_of
from ..pruning import PrunedNetwork
from ..pruning.files import describe, load_network, save_network
from ..training import evaluate, predict_logits
from .formats import FORMATS as formats_beside
from .formats import check_packages, write_format
from .ledger import Ledger
from .results import FULL_COST, INPUT_COST
from .run import trial_network
from .stages import base_data
from .trials import Trial

FORMATS: tuple[str, ...] = ("safetensors", *formats_beside)
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
    network: nn.Module,
    folder: str | Path,
    *,
    formats: Collection[str] = ("safetensors",),
    data: Dataset | None = None,
    provenance: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Export:
    """Write `network` to `folder` as weights and a JSON card, read both back, and check what was read.

    `formats` beside "safetensors", which is always written: "pt2", a program that torch alone runs, and "onnx", which
    needs onnx, onnxscript and onnxruntime here. Both take batches of any size, and are run on test images before they
    are given away.

    `network` may be any module that gives logits, full or pruned. One of this project's and a sequence of torch's own
    layers are described by the file; of any other one it holds the weights alone, and `load_export` asks for a network
    that was built in the same way.

    The accuracy on the test split of `data` (default: the data set that the network was built for) is
    measured before writing and again on what was read back; only if they agree does the folder appear.
    `provenance` goes into the card as it is. Raises `InputError` for an unknown format or for no data to
    measure on, `StorageError` for a folder that exists (unless `overwrite`) or cannot be written.

    >>> import torch
    >>> import lrp_core as lc
    >>> from tempfile import mkdtemp
    >>> parts = (lc.Split(torch.rand(n, 20), torch.arange(n) % 3) for n in (90, 30, 30))
    >>> data = lc.Dataset("mine", ("a", "b", "c"), *parts)
    >>> folder = lc.export(lc.build_model("softmax", data), mkdtemp() + "/small", data=data).folder
    >>> sorted(file.name for file in folder.iterdir())
    ['card.json', 'weights.safetensors']
    """
    for name in formats:
        check_choice("export format", name, FORMATS)
        if name in formats_beside:
            check_packages(name)
    if not formats:
        raise InputError(f"an export needs at least one format: choose from {', '.join(FORMATS)}")
    target = Path(folder).expanduser()
    _check_target(target, overwrite)
    data = data or _own_data(network)
    shape, n_classes = _shape_of(network, data.shape), _classes_of(network, data.shape)
    if data.shape != shape or data.n_outputs != n_classes:
        raise InputError(
            f"the network is for inputs {shape} and has {n_classes} outputs, {data.name} has inputs {data.shape} and "
            f"needs {data.n_outputs}"
        )
    with storage_errors("write the export next to", target):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        save_network(network, scratch / WEIGHTS)
        card = make_card(network, data, _sha256(scratch / WEIGHTS), provenance or {})
        for name in dict.fromkeys(formats):
            if name in formats_beside:
                path = write_format(name, network, _example(network, data), scratch)
                card["files"][path.name] = {"sha256": _sha256(path), "format": name}
        with storage_errors("write", scratch / CARD):
            (scratch / CARD).write_text(json.dumps(card, indent=2, allow_nan=False) + "\n")
        check_export(scratch, data, network)
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


def export_trial(
    trial: Trial,
    folder: str | Path,
    ledger: Ledger,
    *,
    overwrite: bool = False,
    formats: Collection[str] = ("safetensors",),
) -> Export:
    """Export the network of a trial, which is trained first if it is not there yet."""
    _check_target(Path(folder).expanduser(), overwrite)
    network = trial_network(trial, ledger)
    base, ranking = trial.base, trial.ranking
    provenance: dict[str, Any] = {"mode": trial.mode, "seed": base.seed, "criterion": "none"}
    if ranking is not None:
        provenance |= {
            "criterion": ranking.method.criterion,
            "strategy": ranking.method.strategy,
            "statistic": ranking.statistic,
            "start": ranking.start,
            "relevance_images": ranking.rank_images or base.n_train or "all",
            "mask_seed": ranking.base.seed,
        }
    provenance |= {
        "training_images": base.n_train or "all",
        "training": asdict(base.recipe),
        "retraining": asdict(trial.retrain),
    }
    return export(network, folder, data=base_data(base), provenance=provenance, overwrite=overwrite, formats=formats)


def make_card(network: nn.Module, data: Dataset, checksum: str, provenance: dict[str, Any]) -> dict[str, Any]:
    """What a reader needs to use the weights, and to judge them: plain values for JSON."""
    pruned = network if isinstance(network, PrunedNetwork) else None
    cost = measure_cost(network, (len(pruned.mask),) if pruned else data.shape)
    kept = pruned.mask.indices.tolist() if pruned else list(range(data.n_inputs))
    return {
        "card_version": CARD_VERSION,
        "network": describe(network),
        **({"note": pruned.note} if pruned and pruned.note else {}),
        "classes": list(data.classes),
        **({} if data.target is None else {"target": asdict(data.target)}),
        "input": {
            "shape": list(data.shape),
            **({"names": list(data.input_names)} if data.input_names is not None else {}),
            "kept_pixels": kept,
            "order": "positions in the flattened image, row by row; the network takes these pixels, in this order",
            "normalisation": _normalisation(data),
            **({"groups": [asdict(group) for group in data.groups]} if data.groups else {}),
            **({"kept_groups": _kept_groups(data, kept)} if data.groups else {}),
            **({"word_columns": [asdict(column) for column in data.word_columns]} if data.word_columns else {}),
            **({"imputed": {str(position): value for position, value in data.imputed}} if data.imputed else {}),
        },
        **({"data": {"name": data.name, "notes": list(data.notes)}} if data.notes else {}),
        **_measured(network, data),
        "cost": {
            "macs": cost.macs,
            "flops": cost.flops,
            "parameters": cost.parameters,
            "bytes": cost.bytes,
            "input_bytes": cost.input_bytes,
            **({} if data.costs is None else {INPUT_COST: data.cost_of(kept), FULL_COST: float(data.costs.sum())}),
            "layers": [asdict(layer) for layer in cost.layers],
        },
        "provenance": provenance,
        "versions": {name: version(name) for name in ("torch", "numpy", "safetensors")}
        | {"python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {WEIGHTS: {"sha256": checksum}},
    }


def _measured(network: nn.Module, data: Dataset) -> dict[str, Any]:
    """How good a network is on the test split: "accuracy", or "score" for one that predicts numbers."""
    evaluation = evaluate(network, data.test, encode=_encode(network))
    where = {"dataset": data.name, "split": "test", "images": evaluation.n, "value": evaluation.score}
    if data.target is not None:
        interval = r2_interval(evaluation.errors, data.test.labels.double().numpy())
        return {
            "score": {
                "name": "R²",
                **where,
                "interval_95": [interval.low, interval.high],
                "method": "bootstrap over rows",
                "mean_absolute_error": evaluation.mae * data.target.scale,
            }
        }
    interval = wilson_interval(int(evaluation.correct.sum()), evaluation.n)
    return {
        "accuracy": {
            **where,
            "interval_95": [interval.low, interval.high],
            "method": "Wilson score",
            "confidence": evaluation.confidence,
            "per_class": [None if math.isnan(share) else share for share in evaluation.per_class],
            "loss": evaluation.loss,
        }
    }


def score_of(card: dict[str, Any]) -> dict[str, Any]:
    """What a card says of how good the network is: its name, value, 95 % interval, data set and number of rows."""
    return {"name": "accuracy", **card["accuracy"]} if "accuracy" in card else dict(card["score"])


def _kept_groups(data: Dataset, kept: Sequence[int]) -> list[str]:
    """The names of the groups that have an input among those that are kept."""
    return [data.group_names[i] for i in data.grouping.groups_of(kept).tolist()]


def _normalisation(data: Dataset) -> dict[str, Any]:
    """How raw values become what the network takes: (raw - mean) / scale, by input, or one scale for all."""
    if data.scaler is not None:
        return {"mean": list(data.scaler.mean), "scale": list(data.scaler.scale)}
    if data.train.is_bytes:
        return {"scale": 1 / 255, "offset": 0.0, "range": [0.0, 1.0]}
    return {"scale": 1.0, "offset": 0.0}


def load_export(folder: str | Path, network: nn.Module | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The network of an export and its card.

    Nothing is unpickled: of a module of your own, other than a sequence of torch's layers, the folder holds the
    weights alone. `network` is then one that was built in the same way, before pruning; it is not changed. Raises
    `InputError` if it is missing, `StorageError` if a file is missing or damaged, if the checksum is not the card's, or
    if card and weights do not belong together.
    """
    folder = Path(folder).expanduser()
    card, weights = read_card(folder), folder / WEIGHTS
    with storage_errors("read", weights):
        if _sha256(weights) != card["files"][WEIGHTS]["sha256"]:
            raise StorageError(f"{weights} is damaged: its checksum is not the one in {CARD}")
    loaded = load_network(weights, network)
    shape = tuple(card["input"]["shape"])
    try:
        outputs = 1 if "target" in card else len(card["classes"])
        fits = _shape_of(loaded, shape) == shape and outputs == _classes_of(loaded, shape)
    except InputError:
        fits = False
    if not fits:
        raise StorageError(f"{folder / CARD} does not describe the network in {WEIGHTS}: one of them was exchanged")
    return loaded, card


def read_card(folder: Path) -> dict[str, Any]:
    """The card of an export, checked for what the program reads of it. Raises `StorageError`."""
    path = folder / CARD
    with storage_errors("read", path):
        content = path.read_bytes()
    try:
        card: dict[str, Any] = json.loads(content)
        version = card["card_version"]
        if version > CARD_VERSION:
            raise StorageError(f"{path} is of version {version}, newer than this program's: update it")
        texts = [card["files"][WEIGHTS]["sha256"], *card["classes"]]
        normalisation = card["input"]["normalisation"]
        numbers = [*card["input"]["shape"], score_of(card)["value"]]
        if "target" in card:
            Target(**card["target"])
        scaler = _scaler_of(normalisation)
        if not (
            type(version) is int
            and version >= 1
            and all(isinstance(text, str) for text in texts)
            and all(isinstance(number, int | float) for number in numbers)
            and (scaler is None or scaler.fits(tuple(card["input"]["shape"])))
        ):
            raise TypeError
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, InputError) as error:
        raise StorageError(f"{path} is truncated or no card of this project") from error
    return card


def _scaler_of(normalisation: dict[str, Any]) -> Scaler | None:
    """What a card says that was taken off the inputs, if anything."""
    if "mean" not in normalisation:
        return None
    return Scaler(tuple(map(float, normalisation["mean"])), tuple(map(float, normalisation["scale"])))


def check_export(folder: Path, data: Dataset, built: nn.Module) -> None:
    """Read an export back and measure it again, `built` in the same way where the files cannot say how.

    Raises `StorageError` if it is not what its card says.
    """
    described = read_card(folder)["network"]
    network, card = load_export(folder, built) if "class" in described else load_export(folder)
    measured, said = evaluate(network, data.test, encode=_encode(network)).score, score_of(card)
    if measured != said["value"]:
        raise StorageError(
            f"the export in {folder} was read back with {said['name']} {measured:.4f} instead of "
            f"{said['value']:.4f}: it is not offered"
        )


def predict(folder: str | Path, images: Tensor, network: nn.Module | None = None) -> tuple[list[str], np.ndarray]:
    """Classes and their probabilities [n] that an export gives for images [n, c, h, w], or for one [c, h, w].

    Pixels are numbers in [0, 1], or bytes. Other inputs [n, *shape] are the numbers that the data held, before anything
    was taken off them. `network` is as for `load_export`. Raises `InputError` for images of the wrong size or kind, or
    with values that are not finite or, for pixels, outside [0, 1], and for an export that predicts numbers.
    """
    outputs, card = _outputs(folder, images, network)
    if "target" in card:
        raise InputError(f"the export in {folder} predicts numbers, and no classes: use predict_numbers")
    best = outputs.softmax(1).max(1)
    return [card["classes"][i] for i in best.indices.tolist()], best.values.numpy()


def predict_numbers(folder: str | Path, inputs: Tensor, network: nn.Module | None = None) -> np.ndarray:
    """The numbers [n], float64 in their own unit, that an export of a regression gives for inputs [n, *shape].

    As `predict`. Raises `InputError` as that does, and for an export that predicts classes.
    """
    outputs, card = _outputs(folder, inputs, network)
    if "target" not in card:
        raise InputError(f"the export in {folder} predicts classes, and no numbers: use predict")
    return np.asarray(Target(**card["target"]).restore(outputs[:, 0]).numpy())


def _outputs(folder: str | Path, images: Tensor, network: nn.Module | None) -> tuple[Tensor, dict[str, Any]]:
    """What an export gives for images, [n, outputs], and its card."""
    network, card = load_export(folder, network)
    shape = tuple(card["input"]["shape"])
    normalisation = card["input"]["normalisation"]
    are_pixels = "range" in normalisation
    if not are_pixels:
        images = images if images.is_floating_point() or images.is_complex() else images.float()
    elif images.dtype == torch.uint8:
        images = images.float() / 255
    if not images.is_floating_point():
        raise InputError(f"pixels must be bytes or numbers in [0, 1], not {images.dtype}")
    if images.ndim == len(shape):
        images = images[None]
    if tuple(images.shape[1:]) != shape:
        raise InputError(f"the network takes images of shape {shape}, not {tuple(images.shape[1:])}")
    if len(images) == 0:
        return torch.zeros(0, max(1, len(card["classes"]))), card
    if not bool(torch.isfinite(images).all()):
        raise InputError("the images hold NaN or infinity: clean them first")
    low, high = float(images.min()), float(images.max())
    if scaler := _scaler_of(normalisation):
        images = scaler.apply(images)
    elif are_pixels and not 0 <= low <= high <= 1:
        raise InputError(f"pixels must lie in [0, 1], not in [{low:g}, {high:g}]: divide bytes by 255")
    images = images.to(next(network.parameters(), images).dtype)
    encode = _encode(network)
    return predict_logits(network, encode(images) if encode else images), card


def _encode(network: nn.Module) -> Any:
    return network.encode if isinstance(network, PrunedNetwork) else None


def _own_data(network: nn.Module) -> Dataset:
    spec = spec_of(network)
    if spec is None or spec.dataset is None:
        raise InputError("the network was built for no named data set: give data= to measure the export on")
    return open_data(check_choice("data set", spec.dataset, DATASETS))


def _shape_of(network: nn.Module, given: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one full input of a network, as far as it says it; else the given one."""
    spec = spec_of(network)
    if isinstance(network, PrunedNetwork):
        return network.mask.shape
    return given if spec is None else spec.shape


def _classes_of(network: nn.Module, shape: tuple[int, ...]) -> int:
    spec = spec_of(network)
    if spec is not None:
        return spec.n_classes
    return count_outputs(network, (len(network.mask),) if isinstance(network, PrunedNetwork) else shape)


def _example(network: nn.Module, data: Dataset) -> Tensor:
    """A few test inputs as the network takes them."""
    images = data.test.take(torch.arange(min(5, len(data.test)))).images
    encode = _encode(network)
    images = images.to(next(network.parameters(), images).dtype)
    return encode(images).contiguous() if encode else images


def _check_target(target: Path, overwrite: bool) -> None:
    if target.is_dir() and overwrite:
        names = {file.name for file in target.iterdir()}
        if names:
            if names - {WEIGHTS, CARD, *(form.file for form in formats_beside.values())} or CARD not in names:
                raise StorageError(f"{target} holds something else than an earlier export: choose another folder")
            read_card(target)
    elif target.exists() or target.is_symlink():
        raise StorageError(f"{target} exists already: choose another folder, or overwrite an earlier export explicitly")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
