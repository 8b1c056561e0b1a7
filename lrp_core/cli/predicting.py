"""The command `predict`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .shared import Answer, asked_data

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")
"""Files whose rows are predicted, as a folder's pictures are."""


def predict(arguments: argparse.Namespace) -> Answer:
    import torch

    from ..data import DATASETS
    from ..data.pictures import read_images
    from ..study.export import predict as classify
    from ..study.export import read_card

    names: list[str] = []
    labels: list[str] = []
    tables: list[Tensor] = []
    refused: list[str] = []
    if arguments.dataset is not None or arguments.data is not None:
        data = asked_data(arguments, standardise="no")  # the export does it, as its card says
        if arguments.limit < 1:
            raise InputError(f"--limit must be at least 1, not {arguments.limit}")
        part = data.test.take(torch.arange(min(arguments.limit, len(data.test))))
        images: Tensor = part.images
        kind = "image" if len(data.shape) == 3 else "row"
        names = [f"{data.name} test {kind} {i}" for i in range(len(part))]
        labels = [data.classes[i] for i in part.labels.tolist()]
        if not set(labels) & set(known := read_card(arguments.export)["classes"]):
            raise InputError(
                f"{data.name} has the classes {', '.join(data.classes[:5])} and the export {', '.join(known[:5])}: "
                "give the data that it was made for"
            )
    elif arguments.images and all(path.suffix.lower() in TABLES for path in arguments.images):
        for path in arguments.images:
            rows_of_path = _rows(path, read_card(arguments.export))
            names += [f"{path} row {i}" for i in range(len(rows_of_path))]
            tables.append(rows_of_path)
        images = torch.cat(tables)
    elif arguments.images:
        card = read_card(arguments.export)
        read = read_images(arguments.images, card["input"]["shape"], as_mnist=card["accuracy"]["dataset"] in DATASETS)
        names, images, refused = read.names, read.images, read.refused
        arguments.notes = read.notes
    else:
        raise InputError(
            "name image files (.png, .npy) or tables (.csv, .parquet), a data set with --dataset, or your own with "
            "--data"
        )
    classes, confidence = classify(arguments.export, images)
    rows = [
        {"image": name, "class": predicted, "confidence": float(p)} | ({"label": labels[i]} if labels else {})
        for i, (name, predicted, p) in enumerate(zip(names, classes, confidence, strict=True))
    ]
    lines = [
        f"{row['image']}: {row['class']} ({row['confidence']:.1%})" + (f", label {row['label']}" if labels else "")
        for row in rows
    ]
    values: dict[str, Any] = {"predictions": rows}
    if labels:
        values["accuracy"] = sum(row["class"] == row["label"] for row in rows) / len(rows)
        lines.append(f"{values['accuracy']:.2%} of {len(rows):,} right")
    if refused:
        values["refused"] = refused
    return Answer(values, "\n".join(lines), tuple(refused))


def _rows(path: Path, card: dict[str, Any]) -> Tensor:
    """New rows of a table, as the card of an export says that its network takes them."""
    from ..data import InputGroup
    from ..data.files.rows import Wanted, read_rows

    taken = card["input"]
    if "names" not in taken:
        raise InputError(f"{path} is a table, and the export was not made of columns with names: give images or arrays")
    n = len(taken["names"])
    mean = taken["normalisation"].get("mean", [0.0] * n)
    wanted = Wanted(
        tuple(taken["names"]),
        tuple(
            InputGroup(g["name"], tuple(g["indices"]), g["cost"])
            for g in taken.get("word_columns", taken.get("groups", ()))
        ),
        frozenset(taken["kept_pixels"]),
        mean if len(mean) == n else [value for value in mean for _ in range(n // len(mean))],
        {int(position): value for position, value in taken.get("imputed", {}).items()},
    )
    return read_rows(path, wanted).view(-1, *taken["shape"])
