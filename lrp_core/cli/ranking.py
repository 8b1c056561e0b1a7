"""The commands `rank` and `compare`."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from typing import Any

from ..errors import InputError
from .shared import Answer, asked_data, check_suffix, progress_bar, single_study


def rank(arguments: argparse.Namespace) -> Answer:
    from ..models import Network
    from ..pruning import load_network
    from ..ranking import Method, find_strategy
    from ..ranking import rank as rank_inputs
    from ..storage import write_atomic
    from ..study import plan, trial_at
    from ..study.stages import base_network, training_split
    from ..training import one_thread

    check_suffix(arguments.output, ".safetensors", ".json")
    data = asked_data(arguments)
    method = Method(arguments.criterion, arguments.strategy)
    if find_strategy(method.strategy).per_keep != (arguments.keep is not None):
        raise InputError(
            "--keep is the number of inputs whose set the strategy exchange improves: give it with that strategy, and "
            "with no other"
        )
    study = replace(single_study(arguments, data), strategies=(method.strategy,))
    if arguments.keep is not None:
        study = replace(study, keeps=(arguments.keep,))
    spec = trial_at(
        study, data, method=method.name, keep=arguments.keep or data.n_groups, mode=study.modes[0], seed=arguments.seed
    ).ranking
    assert spec is not None, "only a baseline has no ranking"
    networks: list[Any] = []
    if spec.bases and arguments.weights:
        network = load_network(arguments.weights)
        if not isinstance(network, Network):
            raise InputError(f"{arguments.weights} holds a pruned network: rank the inputs of a full one")
        if network.spec.shape != data.shape:
            raise InputError(
                f"{arguments.weights} takes inputs of shape {network.spec.shape}, {data.name} has {data.shape}"
            )
        networks.append(network)
    else:
        networks += [base_network(base) for base in spec.bases]
    split = training_split(plan(study, data)[0].base)
    n_images = len(split) if arguments.images is None else min(arguments.images, len(split))
    with progress_bar(method.name, n_images if method.strategy == "one-shot" else 0, "image") as advance, one_thread():
        ranking = rank_inputs(
            networks,
            split,
            criterion=method.criterion,
            strategy=method.strategy,
            statistic=arguments.statistic,
            start=arguments.start,
            label=arguments.for_class,
            images=spec.rank_images and min(spec.rank_images, len(split)),
            keep=spec.keep,
            groups=data.grouping,
            seed=arguments.seed,
            on_batch=lambda done: advance("", done) if method.strategy == "one-shot" else None,
            on_progress=advance,
        )
    values: dict[str, Any] = {
        "criterion": ranking.criterion,
        "statistic": arguments.statistic,
        "images": n_images,
        "shape": list(ranking.shape),
        "order": ranking.order.tolist(),
        "scores": ranking.scores.tolist(),
        "standard_error": [None if math.isnan(e) else e for e in ranking.standard_error.tolist()],
    }
    names = data.group_names
    if data.groups:
        values |= {"groups": list(names), "group_of": ranking.grouping.of.tolist()}
    examples = "images" if len(data.shape) == 3 else "rows"
    lines = [f"{ranking.criterion}, {n_images:,} {examples} of {data.name}: most important {data.words.counted} first"]
    for place, group in enumerate(ranking.order[: arguments.top].tolist(), start=1):
        lines.append(f"  {place:>4}  {names[group]}   score {ranking.scores[group]:.4g}")
    if arguments.output is not None:
        if arguments.output.suffix == ".safetensors":
            ranking.save(arguments.output)
        else:
            write_atomic(arguments.output, json.dumps(values).encode())
        lines.append(f"whole ranking written to {arguments.output}")
    return Answer(values, "\n".join(lines))


def compare(arguments: argparse.Namespace) -> Answer:
    from ..ranking import Ranking
    from ..ranking import compare as compare_rankings

    first, second = (Ranking.load(path) for path in arguments.rankings)
    comparison = compare_rankings(first, second, arguments.keeps)
    n, counted = first.n_groups, "inputs" if first.grouping.is_single else "groups"
    values = {
        "rankings": [first.criterion, second.criterion],
        "spearman": comparison.spearman,
        "kendall": comparison.kendall,
        "overlap": {str(keep): share for keep, share in comparison.overlap.items()},
    }
    lines = [
        f"{first.criterion} and {second.criterion}, {n:,} {counted}",
        f"  rank correlation: Spearman {comparison.spearman:.3f}, Kendall {comparison.kendall:.3f}",
        *(
            f"  of the best {keep:>5,} {counted} they share {share:.1%}; by chance {keep / n:.1%}"
            for keep, share in comparison.overlap.items()
        ),
    ]
    return Answer(values, "\n".join(lines))
