"""The command `predict`."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from ..errors import InputError, LrpError
from .shared import Answer, asked_data, one_line

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ..data.files.contents import Asked
    from ..data.files.rows import Wanted
    from ..data.files.unlabelled import Unlabelled


def predict(arguments: argparse.Namespace) -> Answer:
    from ..study.export import read_card

    if arguments.limit < 1:
        raise InputError(f"--limit must be at least 1, not {arguments.limit}")
    if arguments.dataset is None and arguments.data is None and not arguments.images:
        raise InputError(
            "name image files (.png, .npy), tables (.csv, .parquet) or arrays (.npz, .mat), a data set with --dataset, "
            "or your own with --data"
        )
    card, refused = read_card(arguments.export), list[str]()
    labels: list[Any] = []
    if arguments.dataset is not None or arguments.data is not None:
        names, inputs, labels = _test_rows(arguments, card)
    else:
        read, refused = _read_files(arguments, card)
        names, inputs, arguments.notes = read.names, read.inputs, read.notes
    answer = _classes if "target" not in card else _numbers
    values, lines = answer(arguments, names, inputs, labels)
    if refused:
        values["refused"] = refused
    return Answer(values, "\n".join(lines), tuple(refused))


def _test_rows(arguments: argparse.Namespace, card: dict[str, Any]) -> tuple[list[str], Tensor, list[Any]]:
    """Some test rows of the data that were asked for: their names, inputs and labels."""
    import torch

    data = asked_data(arguments, standardise="no")  # the export does it, as its card says
    part = data.test.take(torch.arange(min(arguments.limit, len(data.test))))
    kind = "image" if len(data.shape) == 3 else "row"
    names = [f"{data.name} test {kind} {i}" for i in range(len(part))]
    if (data.target is None) == ("target" in card):
        kinds = ("classes", "numbers") if data.target is None else ("numbers", "classes")
        raise InputError(f"{data.name} has {kinds[0]} as labels, and the export predicts {kinds[1]}: say --task")
    if data.target is not None:
        return names, part.inputs, data.target.restore(part.labels).tolist()
    labels = [data.classes[i] for i in part.labels.tolist()]
    if not set(labels) & set(known := card["classes"]):
        raise InputError(
            f"{data.name} has the classes {', '.join(data.classes[:5])} and the export {', '.join(known[:5])}: "
            "give the data that it was made for"
        )
    return names, part.inputs, labels


def _classes(
    arguments: argparse.Namespace, names: list[str], inputs: Tensor, labels: list[Any]
) -> tuple[dict[str, Any], list[str]]:
    from ..study.export import predict as classify

    classes, confidence = classify(arguments.export, inputs)
    rows = [
        {"image": name, "class": predicted, "confidence": float(p)} | ({"label": labels[i]} if labels else {})
        for i, (name, predicted, p) in enumerate(zip(names, classes, confidence, strict=True))
    ]
    lines = [
        one_line(f"{row['image']}: {row['class']} ({row['confidence']:.1%})")
        + (f", label {row['label']}" if labels else "")
        for row in rows
    ]
    if not labels:
        return {"predictions": rows}, lines
    accuracy = sum(row["class"] == row["label"] for row in rows) / len(rows)
    return {"predictions": rows, "accuracy": accuracy}, [*lines, f"{accuracy:.2%} of {len(rows):,} right"]


def _numbers(
    arguments: argparse.Namespace, names: list[str], inputs: Tensor, labels: list[Any]
) -> tuple[dict[str, Any], list[str]]:
    import torch

    from ..study.export import predict_numbers
    from ..training import NumberEvaluation

    numbers = predict_numbers(arguments.export, inputs)
    rows = [
        {"row": name, "number": float(number)} | ({"label": labels[i]} if labels else {})
        for i, (name, number) in enumerate(zip(names, numbers, strict=True))
    ]
    lines = [
        one_line(f"{row['row']}: {row['number']:.6g}") + (f", label {row['label']:.6g}" if labels else "")
        for row in rows
    ]
    if not labels:
        return {"predictions": rows}, lines
    measured = NumberEvaluation.of(torch.from_numpy(numbers)[:, None], torch.tensor(labels, dtype=torch.float64))
    r2 = None if math.isnan(measured.r2) else measured.r2
    said = f"mean absolute error {measured.mae:.6g}" + ("" if r2 is None else f", R² {r2:.2%}")
    return {"predictions": rows, "r2": r2, "mean_absolute_error": measured.mae}, [*lines, said]


def _read_files(arguments: argparse.Namespace, card: dict[str, Any]) -> tuple[Unlabelled, list[str]]:
    """The inputs in every file that was named, and why others could not be taken: such a file hides no other."""
    import torch

    from ..data import DATASETS
    from ..data.files.unlabelled import Unlabelled, files_of, holds_rows, read_unlabelled
    from ..data.pictures import read_picture
    from ..study.export import score_of

    asked, wanted = _asked(arguments), _wanted(card)
    as_mnist = score_of(card)["dataset"] in DATASETS

    def read(file: Path) -> Unlabelled:
        if holds_rows(file):
            return read_unlabelled(file, wanted, asked)
        asked.refuse(str(file), "label", "inputs", "drop", "header")
        picture, notes = read_picture(file, wanted.shape, as_mnist=as_mnist)
        return Unlabelled(picture, [str(file)], tuple(f"{file}: {note}" for note in notes))

    every, refused = list[Unlabelled](), list[LrpError]()
    for path in arguments.images:
        try:
            files = files_of(path)
        except LrpError as error:
            refused.append(error)
            continue
        for file in files:
            try:
                every.append(read(file))
            except LrpError as error:
                refused.append(error)
    if not every:
        raise refused[0]
    inputs = torch.cat([one.inputs for one in every])
    names = [name for one in every for name in one.names]
    notes = tuple(note for one in every for note in one.notes)
    return Unlabelled(inputs, names, notes), [str(error) for error in refused]


def _asked(arguments: argparse.Namespace) -> Asked:
    from ..data.files.contents import Asked

    kinds = ("groups_column", "image_size", "series", "input_groups", "impute", "standardise")
    others = [name for name in kinds if getattr(arguments, name)]
    others += ["task"] if arguments.task != "classification" else []
    if others or arguments.split_seed:
        option = "--" + (others[0].replace("_", "-") if others else "split-seed")
        raise InputError(f"{option} is for --data: leave it out, since the card of the export says how rows are taken")
    return Asked(arguments.label, arguments.inputs, None, tuple(arguments.drop), header=arguments.header)


def _wanted(card: dict[str, Any]) -> Wanted:
    """What the card of an export says of the inputs that its network takes."""
    from ..cards import stand_for_shares
    from ..data import InputGroup
    from ..data.files.rows import Wanted

    taken, shape = card["input"], tuple(card["input"]["shape"])
    n, normalisation = math.prod(shape), card["input"]["normalisation"]
    mean = normalisation.get("mean", [0.0] * n)
    return Wanted(
        shape,
        tuple(taken["names"]) if "names" in taken else None,
        tuple(
            InputGroup(g["name"], tuple(g["indices"]), g["cost"])
            for g in taken.get("word_columns", taken.get("groups", ()))
        ),
        frozenset(taken["kept_pixels"]),
        mean if len(mean) == n else [value for value in mean for _ in range(n // len(mean))],
        {int(position): value for position, value in taken.get("imputed", {}).items()},
        in_shares=stand_for_shares(normalisation, shape),
        only_shares="range" in normalisation,
    )
