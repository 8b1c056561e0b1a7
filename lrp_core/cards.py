"""The card of an export, read and checked, with the files that it vouches for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from .data import Scaler, Target
from .errors import InputError, StorageError, storage_errors

CARD_VERSION = 1
WEIGHTS = "weights.safetensors"
CARD = "card.json"


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
        files = card["files"]
        texts = [*(file["sha256"] for file in files.values()), files[WEIGHTS]["sha256"], *card["classes"]]
        numbers = [*card["input"]["shape"], score_of(card)["value"]]
        if "target" in card:
            Target(**card["target"])
        scaler = scaler_of(card["input"]["normalisation"])
        comparison_of(card)  # it reads all that it says
        if not (
            type(version) is int
            and version >= 1
            and all(map(_is_inside, files))
            and all(isinstance(text, str) for text in texts)
            and all(isinstance(number, int | float) for number in numbers)
            and (scaler is None or scaler.fits(tuple(card["input"]["shape"])))
        ):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, InputError) as error:
        raise StorageError(f"{path} is truncated or no card of this project") from error
    return card


def check_files(folder: Path, card: dict[str, Any]) -> None:
    """Raise `StorageError` unless every file that a card names is there and has the card's checksum."""
    for name, file in card["files"].items():
        path = folder / name
        with storage_errors("read", path):
            if sha256_of(path) != file["sha256"]:
                raise StorageError(f"{path} is damaged: its checksum is not the one in {CARD}")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def score_of(card: dict[str, Any]) -> dict[str, Any]:
    """What a card says of how good the network is: its name, value, 95 % interval, data set and number of rows."""
    return {"name": "accuracy", **card["accuracy"]} if "accuracy" in card else dict(card["score"])


def scaler_of(normalisation: dict[str, Any]) -> Scaler | None:
    """What a card says that was taken off the inputs, if anything."""
    if "mean" not in normalisation:
        return None
    return Scaler(tuple(map(float, normalisation["mean"])), tuple(map(float, normalisation["scale"])))


def stand_for_shares(normalisation: dict[str, Any], shape: tuple[int, ...]) -> bool:
    """Whether bytes given to the network stand for numbers in [0, 1], as pixels do.

    Bytes that were standardised, too: their shares had a mean in [0, 1], and a deviation of at most a half.
    """
    pairs = zip(normalisation.get("mean", ()), normalisation["scale"], strict=True) if "mean" in normalisation else ()
    return "range" in normalisation or (
        len(shape) == 3 and all(0 <= mean <= 1 and (scale <= 0.5 or scale == 1) for mean, scale in pairs)
    )


def _is_inside(name: str) -> bool:
    """Whether a file that a card names lies in the folder of the card."""
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and not name.startswith("/") and not {"\\", ":", "\0"} & set(name)


def comparison_of(card: dict[str, Any]) -> tuple[str, ...]:
    """What a card says of the full network beside the smaller one, in plain sentences; empty if it says nothing."""
    if "full_network" not in card:
        return ()
    score, margin = card["full_network"]["score"], card["margin"]
    low, high = score["interval_95"]
    side = "within" if margin["kept"] else "outside"
    return (
        f"the network on all inputs: test {score['name']} {score['value']:.2%} ({low:.2%} to {high:.2%}), "
        f"{card['full_network']['macs']:,} MACs, {card['full_network']['parameters']:,} parameters",
        f"{side} your margin of {100 * margin['value']:g} points: on the validation split the smaller network is "
        f"{_points(margin['difference'])} (on the test split, {_points(margin['test_difference'])})",
    )


def _points(difference: float) -> str:
    """A difference of shares in words."""
    if abs(difference) < 5e-5:
        return "as good"
    return f"{100 * abs(difference):.2f} points {'better' if difference > 0 else 'worse'}"
