"""Export: a folder with the smaller network and a card that says what it is, checked before it is given away."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..cards import CARD, WEIGHTS, check_files, read_card, score_of
from ..data import DATASETS, Dataset, Target, open_data
from ..errors import InputError, StorageError, check_choice, storage_errors
from ..models import count_outputs, spec_of
from ..pruning import PrunedNetwork, load_network
from ..training import evaluate
from .exporting.card import check_margin, compare_with_full, encoding, make_card
from .exporting.deployed import Probe
from .exporting.formats import FORMATS, check_formats
from .exporting.making import Making, make_files
from .exporting.prediction import outputs_for
from .ledger import Ledger
from .results import MARGIN
from .run import full_network_of, trial_network
from .stages import base_data
from .trials import Trial

__all__ = [
    "CARD",
    "FORMATS",
    "WEIGHTS",
    "Export",
    "check_export",
    "export",
    "export_trial",
    "load_export",
    "predict",
    "predict_numbers",
    "read_card",
    "score_of",
]


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
    full: nn.Module | None = None,
    margin: float = MARGIN,
    speed: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Export:
    """Write `network` to `folder` as weights and a JSON card, read everything back, and check what was read.

    `formats` beside "safetensors", which is always written: "state-dict", "pt2", "onnx", "standalone", "c" and
    "c-int8"; `exporting.formats.FORMATS` says what each is for. Every file is run on up to 1,000 validation rows, and
    must answer as the network does, before it is given away; the card says what was measured.

    `network` may be any module that gives logits, full or pruned. One of this project's and a sequence of torch's own
    layers are described by the file; of any other one it holds the weights alone, and `load_export` asks for a network
    that was built in the same way. `full` is the network on all inputs that it is compared with: the card says whether
    its score on the validation split is kept within `margin`, a share, and gives the test scores of both.

    The accuracy on the test split of `data` (default: the data set that the network was built for) is
    measured before writing and again on what was read back; only if they agree does the folder appear.
    `provenance` and `speed` go into the card as they are. Raises `InputError` for an unknown format or for no data to
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
    formats = check_formats(formats)
    check_margin(margin)
    target = Path(folder).expanduser()
    _check_target(target, overwrite)
    data = data or _own_data(network)
    for one in (network, full):
        if one is not None:
            _check_fits(one, data)
    card = make_card(network, data, provenance or {})
    card |= compare_with_full(network, full, data, margin) if full is not None else {}
    card |= {"speed": speed} if speed is not None else {}
    with storage_errors("write the export next to", target):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        card["files"] = make_files(Making(network, data, Probe.of(network, data), card, scratch), formats)
        with storage_errors("write", scratch / CARD):
            (scratch / CARD).write_text(json.dumps(card, indent=2, allow_nan=False) + "\n")
        check_export(scratch, data, network)
        _put_in_place(scratch, target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    sizes = {str(file.relative_to(target).as_posix()): file.stat().st_size for file in _files_in(target)}
    return Export(target, card, sizes)


def export_trial(
    trial: Trial,
    folder: str | Path,
    ledger: Ledger,
    *,
    overwrite: bool = False,
    formats: Collection[str] = ("safetensors",),
    margin: float = MARGIN,
    speed: dict[str, Any] | None = None,
) -> Export:
    """Export the network of a trial, which is trained first if it is not there yet, beside the full one of its seed.

    Of a trial that keeps all inputs this is the full network itself, which goes on wherever a network is named.
    """
    check_formats(formats)
    check_margin(margin)
    _check_target(Path(folder).expanduser(), overwrite)
    data, base, ranking = base_data(trial.base), trial.base, trial.ranking
    full = full_network_of(trial, ledger)
    is_full = ranking is None or trial.keep == data.n_groups
    network = full if is_full else trial_network(trial, ledger)
    provenance: dict[str, Any] = {"mode": trial.mode, "seed": base.seed, "criterion": "none"}
    if ranking is not None and not is_full:
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
        **({} if base.split is None else {"split_seed": base.split}),
        "training": asdict(base.recipe),
        "retraining": asdict(trial.retrain),
    }
    return export(
        network,
        folder,
        data=data,
        full=None if is_full else full,
        margin=margin,
        speed=speed,
        provenance=provenance,
        overwrite=overwrite,
        formats=formats,
    )


def load_export(folder: str | Path, network: nn.Module | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The network of an export and its card.

    Nothing is unpickled: of a module of your own, other than a sequence of torch's layers, the folder holds the
    weights alone. `network` is then one that was built in the same way, before pruning; it is not changed. Raises
    `InputError` if it is missing, `StorageError` if any file that the card names is missing or has another checksum, or
    if card and weights do not belong together.
    """
    folder = Path(folder).expanduser()
    card = read_card(folder)
    check_files(folder, card)
    loaded = load_network(folder / WEIGHTS, network)
    shape = tuple(card["input"]["shape"])
    try:
        outputs = 1 if "target" in card else len(card["classes"])
        fits = _shape_of(loaded, shape) == shape and outputs == _classes_of(loaded, shape)
    except InputError:
        fits = False
    if not fits:
        raise StorageError(f"{folder / CARD} does not describe the network in {WEIGHTS}: one of them was exchanged")
    return loaded, card


def check_export(folder: Path, data: Dataset, built: nn.Module) -> None:
    """Read an export back and measure it again, `built` in the same way where the files cannot say how.

    Raises `StorageError` if it is not what its card says.
    """
    described = read_card(folder)["network"]
    network, card = load_export(folder, built) if "class" in described else load_export(folder)
    measured, said = evaluate(network, data.test, encode=encoding(network)).score, score_of(card)
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
    loaded, card = load_export(folder, network)
    outputs = outputs_for(loaded, card, images)
    if "target" in card:
        raise InputError(f"the export in {folder} predicts numbers, and no classes: use predict_numbers")
    best = outputs.softmax(1).max(1)
    return [card["classes"][i] for i in best.indices.tolist()], best.values.numpy()


def predict_numbers(folder: str | Path, inputs: Tensor, network: nn.Module | None = None) -> np.ndarray:
    """The numbers [n], float64 in their own unit, that an export of a regression gives for inputs [n, *shape].

    As `predict`. Raises `InputError` as that does, and for an export that predicts classes.
    """
    loaded, card = load_export(folder, network)
    outputs = outputs_for(loaded, card, inputs)
    if "target" not in card:
        raise InputError(f"the export in {folder} predicts classes, and no numbers: use predict")
    return np.asarray(Target(**card["target"]).restore(outputs[:, 0]).numpy())


def _own_data(network: nn.Module) -> Dataset:
    spec = spec_of(network)
    if spec is None or spec.dataset is None:
        raise InputError("the network was built for no named data set: give data= to measure the export on")
    return open_data(check_choice("data set", spec.dataset, DATASETS))


def _check_fits(network: nn.Module, data: Dataset) -> None:
    shape, n_classes = _shape_of(network, data.shape), _classes_of(network, data.shape)
    if data.shape != shape or data.n_outputs != n_classes:
        raise InputError(
            f"the network is for inputs {shape} and has {n_classes} outputs, {data.name} has inputs {data.shape} and "
            f"needs {data.n_outputs}"
        )


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


def _check_target(target: Path, overwrite: bool) -> None:
    if target.is_dir() and overwrite:
        names = {file.relative_to(target).as_posix() for file in _files_in(target)}
        is_taken = names or any(target.iterdir())
        if is_taken and (CARD not in names or names - {CARD} - set(read_card(target)["files"])):
            raise StorageError(f"{target} holds something else than an earlier export: choose another folder")
    elif target.exists() or target.is_symlink():
        raise StorageError(f"{target} exists already: choose another folder, or overwrite an earlier export explicitly")


def _files_in(folder: Path) -> list[Path]:
    """Everything below a folder that is no folder."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _put_in_place(scratch: Path, target: Path) -> None:
    """Make a finished folder appear under its name, in place of an earlier export, at once."""
    with storage_errors("put the export in place at", target):
        scratch.chmod(0o755)
        if target.exists():
            target.replace(retired := scratch.with_name(scratch.name + ".old"))
            scratch.replace(target)
            shutil.rmtree(retired, ignore_errors=True)
        else:
            scratch.replace(target)
