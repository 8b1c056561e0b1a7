"""The command `speed`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError, LrpError
from .shared import Answer, progress_bar, stopped_by_sigterm

if TYPE_CHECKING:
    from torch import nn

    from ..data import Split


def speed(arguments: argparse.Namespace) -> Answer:
    """Measure an exported network beside the full one that it came from."""
    from ..evaluation import measure_speed
    from ..evaluation.timing import check_how
    from ..study.export import load_export
    from ..views.savings import speed_text

    check_how(1, arguments.threads)
    small, card = load_export(arguments.export)
    shape = tuple(card["input"]["shape"])
    full, notes = _full(small, card)
    split, more = _test_split(card) if arguments.int8 else (None, [])
    with progress_bar("measuring", 100, "%") as advance, stopped_by_sigterm():
        measured = measure_speed(
            small,
            full,
            shape if split is None else split,
            threads=arguments.threads,
            seconds=arguments.seconds,
            int8=arguments.int8,
            on_step=lambda done, total, text: advance(text, 100 * done // total),
        )
    # The full one is built afresh: what its weights answer says nothing.
    prints = tuple(replace(one, scores={}) if one.network == "full" else one for one in measured.footprints)
    measured = replace(measured, footprints=prints)
    arguments.notes = [*notes, *more]
    values = {"folder": str(arguments.export), **measured.to_dict(), "notes": arguments.notes}
    return Answer(values, speed_text(measured))


def _full(small: nn.Module, card: dict[str, Any]) -> tuple[nn.Module | None, list[str]]:
    """The network that an export came from, with fresh weights, or why there is none."""
    from ..models import build_from_spec, spec_of
    from ..pruning import PrunedNetwork
    from ..pruning.descriptions import build_layers

    if not isinstance(small, PrunedNetwork) and "widths" not in card["network"]:
        return None, ["the export is of a full network: it is measured alone"]
    spec, described = spec_of(small), card["network"]
    try:
        if spec is not None:
            return build_from_spec(spec), []
        if "layers" in described:
            return build_layers(described["layers"], device="cpu"), []
        raise InputError(f"its class, {described['class']}, is not known here")
    except LrpError as error:
        return None, [f"the full network cannot be built, so the smaller one is measured alone: {error}"]


def _test_split(card: dict[str, Any]) -> tuple[Split | None, list[str]]:
    """The test split that the card's score is from, if it loads by its name."""
    from ..data import DATASETS, load_dataset
    from ..study.export import score_of

    name = score_of(card)["dataset"]
    reason = "these data have no name here"
    if name in DATASETS:
        try:
            data = load_dataset(name)
            if data.shape == tuple(card["input"]["shape"]):
                return data.test, []
            reason = f"{name} has other inputs here"
        except LrpError as error:
            reason = str(error)
    return None, [f"what int8 does to the score on {name} is not measured: {reason}"]
