"""The commands `rank` and `compare`."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from ..errors import InputError
from .shared import Answer, asked_data, progress_bar, single_study


def rank(arguments: argparse.Namespace) -> Answer:
    from ..models import Network
    from ..pruning.files import load_network
    from ..ranking import NEED_NETWORK, Method, rank_by_strategy
    from ..ranking import rank as rank_inputs
    from ..storage import write_atomic
    from ..study import plan
    from ..study.describe import RankingSpec
    from ..study.stages import base_network

    data = asked_data(arguments)
    method = Method(arguments.criterion, arguments.strategy)
    base = plan(single_study(arguments, data), data)[0].base
    networks = []
    if method.criterion in NEED_NETWORK and arguments.weights:
        network = load_network(arguments.weights)
        if not isinstance(network, Network):
            raise InputError(f"{arguments.weights} holds a pruned network: rank the inputs of a full one")
        if network.spec.shape != data.shape:
            raise InputError(
                f"{arguments.weights} takes inputs of shape {network.spec.shape}, {data.name} has {data.shape}"
            )
        networks.append(network)
    elif method.criterion in NEED_NETWORK:
        networks += [base_network(needed) for needed in RankingSpec(base, method).bases]
    split = data.train if arguments.images is None else data.train.sample(arguments.images, seed=arguments.seed)
    options = {"statistic": arguments.statistic, "start": arguments.start, "seed": arguments.seed}
    if method.strategy == "one-shot":
        with progress_bar("relevance", len(split), "image") as advance:
            ranking = rank_inputs(
                networks[0] if networks else None,
                split,
                criterion=method.criterion,
                label=arguments.label,
                on_batch=lambda done: advance("", done),
                **options,
            )
    else:
        if arguments.label is not None:
            raise InputError(f"strategy {method.strategy!r} ranks by all classes: leave --label {arguments.label} out")
        with progress_bar(method.name, 0, "step") as advance:
            ranking = rank_by_strategy(
                method.strategy,
                networks,
                split,
                keep=arguments.keep,
                criterion=method.criterion,
                on_progress=advance,
                **options,
            )
    values: dict[str, Any] = {
        "criterion": ranking.criterion,
        "statistic": arguments.statistic,
        "images": len(split),
        "shape": list(ranking.shape),
        "order": ranking.order.tolist(),
        "scores": ranking.scores.tolist(),
        "standard_error": [None if math.isnan(e) else e for e in ranking.standard_error.tolist()],
    }
    lines = [f"{ranking.criterion}, {len(split):,} images of {data.name}: most important inputs first"]
    for place, position in enumerate(ranking.order[: arguments.top].tolist(), start=1):
        row, column = divmod(position % (data.shape[1] * data.shape[2]), data.shape[2])
        lines.append(f"  {place:>4}  row {row:>2}, column {column:>2}   score {ranking.scores[position]:.4g}")
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
    found = compare_rankings(first, second, arguments.keeps)
    n = first.n_inputs
    values = {
        "rankings": [first.criterion, second.criterion],
        "spearman": found.spearman,
        "kendall": found.kendall,
        "overlap": {str(keep): share for keep, share in found.overlap.items()},
    }
    lines = [
        f"{first.criterion} and {second.criterion}, {n:,} inputs",
        f"  rank correlation: Spearman {found.spearman:.3f}, Kendall {found.kendall:.3f}",
        *(
            f"  of the best {keep:>5,} inputs they share {share:.1%}; by chance {keep / n:.1%}"
            for keep, share in found.overlap.items()
        ),
    ]
    return Answer(values, "\n".join(lines))
