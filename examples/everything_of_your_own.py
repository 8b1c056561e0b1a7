"""A criterion, a strategy, a composite, a layer type, a network and data of your own, from numbers to a prediction.

    PYTHONPATH=. python examples/everything_of_your_own.py FOLDER

Nothing in the project is touched. The study shows up in the dashboard under its name; with `LRP_PLUGINS` naming this
file, the dashboard and the command line can also run more of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import lrp_core as lc
from lrp_core.lrp import At, Composite, Epsilon, ZPlus
from lrp_core.lrp.affine import Dense
from lrp_core.ranking import How, OneShot, Ranking

# A layer type: how relevance sees it


class Positive(nn.Linear):
    """A dense layer that uses its weights without their signs."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.abs(), self.bias)


lc.register(Positive, lambda layer: Dense(layer.weight.detach().abs(), layer.bias.detach()))


# A network with a skip connection


class Skipping(nn.Module):
    def __init__(self, columns: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(columns, 16), nn.Linear(16, 16)
        self.positive, self.last = Positive(16, 16), nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        hidden = hidden + torch.relu(self.second(hidden))
        return self.last(torch.relu(self.positive(hidden)))


lc.register_model("skipping", lambda spec: Skipping(spec.shape[0], spec.n_classes))

# A criterion, and a composite that is one too


def by_range(model: nn.Module | None, split: lc.Split, seed: int) -> Tensor:
    """The range of each column."""
    values = split.inputs.flatten(1)
    return (values.amax(0) - values.amin(0)).double()


lc.register_criterion(lc.Criterion("range", "by the range of their values", score=by_range, needs_network=False))
MIXED = lc.Criterion(
    "mixed",
    "by relevance under two rules",
    explain=lambda model: lc.Explainer(model, Composite(At(ZPlus(), name="*positive"), At(Epsilon()))).relevance,
)

# A strategy


@dataclass(frozen=True)
class Halves:
    """Ranked by each half of the rows; an input is as good as its worse place."""

    name: str = "halves"
    says: str = "measured on two halves, the worse place counts"
    networks: int = 1
    any_criterion: bool = False
    per_keep: bool = False
    follows: str | None = None

    def rank(self, networks: Sequence[nn.Module], split: lc.Split, how: How, before: Ranking | None = None) -> Ranking:
        halves = [split.take(torch.arange(start, len(split), 2)) for start in (0, 1)]
        worst = torch.stack([OneShot().rank(networks, half, how).rank for half in halves]).amax(0)
        return Ranking.from_scores(f"{how.criterion.name}, halves", -worst.double(), split.shape, seed=how.seed)


lc.register_strategy(Halves())

# Data: eight columns of numbers, of which two tell the class


def make_split(n: int, seed: int) -> lc.Split:
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    values = torch.randn(n, 8, generator=random)
    values[:, 2] += 4 * (labels == 1)
    values[:, 5] += 4 * (labels == 2)
    return lc.Split(values, labels)


def make_data() -> lc.Dataset:
    names = tuple(f"sensor {i}" for i in range(8))
    parts = (make_split(n, seed) for seed, n in enumerate((600, 200, 200)))
    return lc.Dataset("machine", ("idle", "slow", "fast"), *parts, input_names=names).standardised()


def main(folder: Path) -> None:
    data = make_data()

    # Step by step: rank, mask, prune, fit, export, predict
    network = lc.fit(lc.build_model("skipping", data), data, recipe=lc.Recipe(epochs=20, batch_size=50))
    ranking = lc.rank(network, data.train, criterion=MIXED, strategy="halves")
    mask = ranking.mask(keep=2)
    small = lc.prune_inputs(network, mask)
    kept = mask.apply(data.test.inputs)
    assert torch.allclose(small(kept), network(mask.remove(data.test.inputs)), atol=1e-5)
    small = lc.fit(small, data, encode=small.encode, recipe=lc.Recipe(epochs=10, batch_size=50))
    lc.export(small, folder / "export", data=data)
    loaded, card = lc.load_export(folder / "export", network=lc.prune_inputs(lc.build_model("skipping", data), mask))
    assert torch.equal(loaded(kept).argmax(1), small(kept).argmax(1))
    print("kept:", ", ".join(data.input_names[i] for i in mask.indices.tolist()))
    print(f"accuracy of the export: {card['accuracy']['value']:.3f}")

    # The same as a study, which the dashboard shows
    study = lc.preset(
        "quick",
        data,
        architecture="skipping",
        criteria=(MIXED, "range"),
        strategies=("one-shot", "halves"),
        keeps=(2, 4),
        seeds=(0, 1),
        epochs=20,
        rank_images=100,
    )
    result = lc.run(study, name="a machine of my own")
    print(result.curve("test")[["method", "keep", "score"]].to_string(index=False))
    best = result.recommend(margin=0.05)
    print(best.sentence if best else "nothing can go")
    print("study", study.key)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
