"""`remove`: what a network makes of images without their most, or least, relevant inputs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, check_choice
from .shared import Answer, asked_data, asked_recipe, progress_bar, single_study

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from ..data import Dataset, Split
    from ..evaluation import PixelStatistics, Removal, RemovalResult
    from ..models import Network
    from ..ranking import Ranking
    from ..study.trials import Base

_SETTING = ["criterion", "ranking", "scope", "fill"]


def remove(arguments: argparse.Namespace) -> Answer:
    from ..evaluation import PixelStatistics
    from ..study import plan
    from ..study.stages import base_network

    criteria = _criteria(arguments)
    removals = _removals(arguments)
    share = _share(arguments.removed)
    roar_shares = [_share(percent) for percent in arguments.roar or ()]
    if arguments.steps < 1:
        raise InputError(f"--steps must be at least 1, not {arguments.steps}")
    data = asked_data(arguments)
    if data.target is not None:
        raise InputError(f"{data.name} has numbers to predict, and remove measures confidence in classes: use study")
    test = data.test if arguments.images is None else data.test.sample(arguments.images, seed=arguments.seed)
    base = plan(single_study(arguments, data), data)[0].base
    network = base_network(base)
    statistics = PixelStatistics.of(data.train)
    relevance = _relevance(arguments, network, base, test, criteria)
    results = _results(network, test, relevance, removals, share, statistics)
    tables = {"table": _table(results, data.classes if arguments.per_class else ())}
    findings = [
        dict(zip(_SETTING, _setting(criterion, outcome.removal), strict=True)) | {"finding": outcome.finding()}
        for criterion, outcome in results
    ]
    texts = [
        f"{arguments.model} on {data.name}, {len(test):,} test images, seed {arguments.seed}: "
        f"{100 * share:.4g} % of the inputs removed\n{_table_text(tables['table'])}",
        *(f"{', '.join(row[name] for name in _SETTING)}: {row['finding']}" for row in findings),
    ]
    if arguments.curves:
        tables["curves"], tables["areas"] = _curves(network, test, relevance, removals, statistics, arguments.steps)
        texts.append(
            f"perturbation curves, {arguments.steps} steps: area between LeRF and MoRF, and AOPC\n"
            + _numbers_text(tables["areas"])
        )
    if roar_shares or arguments.mask_leak:
        tables["retrained"] = _retrained(arguments, network, base, data, removals, share, roar_shares)
        texts.append(
            "networks trained again, on images without these inputs (roar) or on the masks alone\n"
            + _numbers_text(tables["retrained"])
        )
    values: dict[str, Any] = {
        "model": arguments.model,
        "dataset": data.name,
        "seed": arguments.seed,
        "start": arguments.start,
        "images": len(test),
        "share": share,
        "findings": findings,
        **{name: json.loads(table.to_json(orient="records")) for name, table in tables.items()},
    }
    return Answer(values, "\n\n".join(texts + _written(arguments, tables, values)))


def _criteria(arguments: argparse.Namespace) -> list[str]:
    from ..evaluation import removal_criteria
    from ..lrp import STARTS

    check_choice("start", arguments.start, STARTS)
    return [check_choice("criterion", name, removal_criteria()) for name in dict.fromkeys(arguments.criteria)]


def _removals(arguments: argparse.Namespace) -> list[Removal]:
    """Every combination of the rankings, scopes and fills that were asked for."""
    from ..evaluation import Removal

    choices = (dict.fromkeys(names) for names in (arguments.rankings, arguments.scopes, arguments.fills))
    return [Removal(ranking, scope, fill, arguments.seed) for ranking, scope, fill in product(*choices)]


def _share(percent: float) -> float:
    if not 0 < percent < 100:
        raise InputError(f"the share removed must be above 0 and below 100 per cent, not {percent:g}")
    return percent / 100


def _ranking(base: Base) -> Ranking:
    """The project's own ranking of all inputs, over the training images."""
    from ..ranking import Method
    from ..study.stages import ranking_of
    from ..study.trials import RankingSpec

    return ranking_of(RankingSpec(base, Method("lrp-0")))


def _relevance(
    arguments: argparse.Namespace, network: Network, base: Base, test: Split, criteria: Sequence[str]
) -> dict[str, Tensor]:
    relevance = {}
    with progress_bar("relevance", len(criteria) * len(test), "image") as advance:
        for place, criterion in enumerate(criteria):
            attribute = _attribute(arguments, network, base, criterion, _after(advance, place * len(test)))
            relevance[criterion] = attribute(test.images)
    return relevance


def _attribute(
    arguments: argparse.Namespace,
    network: Network,
    base: Base,
    criterion: str,
    on_batch: Callable[[int], None] | None = None,
) -> Callable[[Tensor], Tensor]:
    """What gives the relevance of images under a criterion."""
    from ..evaluation import DATA_SET, attribute_images

    return partial(
        attribute_images,
        network,
        criterion=_ranking(base) if criterion == DATA_SET else criterion,
        start=arguments.start,
        seed=arguments.seed,
        on_batch=on_batch,
    )


def _results(
    network: Network,
    test: Split,
    relevance: dict[str, Tensor],
    removals: Sequence[Removal],
    share: float,
    statistics: PixelStatistics,
) -> list[tuple[str, RemovalResult]]:
    from ..evaluation import remove_features

    results: list[tuple[str, RemovalResult]] = []
    with progress_bar("removal", len(relevance) * len(removals) * len(test), "image") as advance:
        for (criterion, scores), removal in product(relevance.items(), removals):
            progress = _after(advance, len(results) * len(test))
            images, labels = test.images, test.labels
            result = remove_features(
                network, images, labels, scores, removal, share, statistics=statistics, on_batch=progress
            )
            results.append((criterion, result))
    return results


def _curves(
    network: Network,
    test: Split,
    relevance: dict[str, Tensor],
    removals: Sequence[Removal],
    statistics: PixelStatistics,
    n_steps: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every point of every curve, and the areas under them."""
    import pandas as pd

    from ..evaluation import perturbation_curves

    pairs = []
    each = len(relevance) * len(test)
    with progress_bar("curves", len(removals) * each, "image") as advance:
        for place, removal in enumerate(removals):
            progress = _after(advance, place * each)
            images, labels = test.images, test.labels
            curves = perturbation_curves(
                network, images, labels, relevance, removal, n_steps, statistics=statistics, on_batch=progress
            )
            pairs.append((_with_setting(curves.table(), removal), _with_setting(curves.summary(), removal)))
    points, areas = (pd.concat(tables, ignore_index=True) for tables in zip(*pairs, strict=True))
    return points, areas


def _retrained(
    arguments: argparse.Namespace,
    network: Network,
    base: Base,
    data: Dataset,
    removals: Sequence[Removal],
    share: float,
    roar_shares: Sequence[float],
) -> pd.DataFrame:
    """Accuracy of networks trained without a share of the inputs ("roar"), and on the masks alone ("masks")."""
    import pandas as pd

    from ..evaluation import Retrain, mask_leak, roar
    from ..study.stages import training_split
    from ..training import recipe_for

    epochs = arguments.epochs if arguments.retrain_epochs is None else arguments.retrain_epochs
    # What is trained again goes through all epochs: inputs are removed from training and test images alone.
    how = asked_recipe(arguments) | {"epochs": epochs, "patience": None}
    retrain = Retrain(tuple(arguments.retrain_seeds), recipe_for(arguments.model, **how))
    train = training_split(base)
    criteria = _criteria(arguments)
    each = (bool(roar_shares) + 2 * len(roar_shares) + 2 * arguments.mask_leak) * len(retrain.seeds)
    tables = []
    with progress_bar("retraining", each * len(criteria) * len(removals), "network") as advance:
        for criterion, removal in product(criteria, removals):
            attribute = _attribute(arguments, network, base, criterion)
            experiments = {}
            if roar_shares:
                experiments["roar"] = roar(
                    network,
                    train,
                    data.test,
                    attribute,
                    removal,
                    roar_shares,
                    retrain=retrain,
                    on_network=lambda _: advance(),
                )
            if arguments.mask_leak:
                experiments["masks"] = mask_leak(
                    network,
                    train,
                    data.test,
                    attribute,
                    removal,
                    share,
                    retrain=retrain,
                    on_network=lambda _: advance(),
                )
            for trained_on, table in experiments.items():
                table.insert(0, "trained_on", trained_on)
                tables.append(_with_setting(table.assign(criterion=criterion), removal))
    return pd.concat(tables, ignore_index=True)


def _after(advance: Callable[..., None], start: int) -> Callable[[int], None]:
    """Progress of one part of the work, which begins when `start` is done."""
    return lambda done: advance("", start + done)


def _setting(criterion: str, removal: Removal) -> tuple[str, str, str, str]:
    return criterion, removal.ranking, removal.scope, removal.fill


def _with_setting(table: pd.DataFrame, removal: Removal) -> pd.DataFrame:
    """A table by criterion with the columns that say how inputs were removed, behind the criterion."""
    table = table.assign(ranking=removal.ranking, scope=removal.scope, fill=removal.fill)
    return table[[*_SETTING, *(name for name in table.columns if name not in _SETTING)]]


def _table(results: Sequence[tuple[str, RemovalResult]], classes: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    tables = [
        _with_setting(outcome.table(classes).assign(criterion=criterion), outcome.removal)
        for criterion, outcome in results
    ]
    return pd.concat(tables, ignore_index=True)


def _table_text(table: pd.DataFrame) -> str:
    """The table as a person reads it: shares in per cent with half their 95 % interval."""
    shown = table[["criterion", "ranking", "scope", "fill", "class", "image"]].copy()
    for title, name in (
        ("confidence", "confidence"),
        ("in first answer", "original_confidence"),
        ("accuracy", "accuracy"),
        ("flips", "flips"),
    ):
        half = (table[f"{name}_high"] - table[f"{name}_low"]) / 2
        shown[title] = [f"{value:.2%} ± {h:.2%}" for value, h in zip(table[name], half, strict=True)]
    shown["removed"] = table["removed"].map("{:.1f}".format)
    shown["of these ties"] = table["tied"].map("{:.1f}".format)
    return shown.to_string(index=False)


def _numbers_text(table: pd.DataFrame) -> str:
    return table.to_string(index=False, na_rep="-", float_format="{:.4f}".format)


def _written(arguments: argparse.Namespace, tables: dict[str, pd.DataFrame], values: dict[str, Any]) -> list[str]:
    """Write the files that were asked for, and say where they are."""
    from ..storage import write_atomic

    lines = []
    if arguments.csv is not None:
        for name, table in tables.items():
            path = arguments.csv if name == "table" else arguments.csv.with_stem(f"{arguments.csv.stem}-{name}")
            write_atomic(path, table.to_csv(index=False).encode())
            lines.append(f"{name} written to {path}")
    if isinstance(arguments.json, Path):
        write_atomic(arguments.json, json.dumps(values, indent=2).encode())
        lines.append(f"everything written to {arguments.json}")
    return ["\n".join(lines)] if lines else []
