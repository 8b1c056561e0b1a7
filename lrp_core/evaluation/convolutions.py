"""What a mask can save in a network that convolves: masking alone saves nothing, other ways do."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from ..data import Dataset
from ..errors import InputError
from ..models import build_from_spec, spec_of
from ..pruning import PixelMask
from ..training import Recipe, evaluate, fit
from .conv_ways import Way, find_ways
from .cost import measure_cost
from .timing import Run, by_batch, check_how, take_turns


@dataclass(frozen=True)
class ConvSaving:
    """What one way of using a mask costs and gives; `why_not` says why the way is closed, and then all counts are 0.

    `input_bytes` are those of one input of the network. `milliseconds` by batch size are medians over rounds, from full
    inputs on: what prepares them counts. `scores` has the validation accuracy (or R^2) of each seed.
    """

    name: str
    says: str
    macs: int = 0
    parameters: int = 0
    input_bytes: int = 0
    milliseconds: tuple[tuple[int, float], ...] = ()
    scores: tuple[float, ...] = ()
    why_not: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the way can be taken."""
        return not self.why_not

    @property
    def score(self) -> float | None:
        """Mean of `scores`, None where nothing was trained."""
        return statistics.fmean(self.scores) if self.scores else None

    def milliseconds_at(self, batch: int) -> float | None:
        """Milliseconds of a batch of that size, None where it was not measured."""
        return dict(self.milliseconds).get(batch)


def conv_savings(
    network: nn.Module,
    mask: PixelMask,
    *,
    data: Dataset | None = None,
    train: Recipe | None = None,
    seeds: Sequence[int] = (0,),
    measure: bool = True,
    batches: Sequence[int] = (1, 1000),
    rounds: int = 15,
    threads: int = 1,
    seconds: float = 10.0,
    on_step: Callable[[int, int, str], None] | None = None,
) -> tuple[ConvSaving, ...]:
    """What `network`, which convolves, saves with the inputs of `mask` in each of several ways, the full network first.

    A convolution that gets masked inputs computes as much as before. The ways are: the kept inputs on a canvas, the
    crop to the mask's bounding box (what `prune_inputs` does), the architecture built for that box, half the
    resolution, a coarser stride of the first convolution, and half of the filters of the first convolution or of all.
    What needs an architecture to be built again is closed to a network without a `spec`, and what does not run is
    closed too: `why_not` says why.

    MACs, parameters and bytes are counted. With `measure` all are timed in turns for about `seconds`, as
    `measure_speed` does it. With `data` and the recipe `train`, each is trained from fresh weights for each of `seeds`
    (a network without a `spec` from the weights that it has) and measured on the validation split; the test split is
    never read. `on_step(done, total, text)` ends all of it by raising. Raises `InputError` for a network without
    convolutions, data of another shape, and a recipe without data.

    >>> import torch
    >>> import lrp_core as lc
    >>> net = lc.build_model("lenet-5", shape=(1, 28, 28), n_classes=10)
    >>> mask = lc.PixelMask(torch.arange(784)[280:560], (1, 28, 28))
    >>> full, canvas, crop, *_ = lc.conv_savings(net, mask, measure=False)
    >>> canvas.macs == full.macs, crop.macs < full.macs
    (True, True)
    """
    check_how(rounds, threads)
    if (data is None) != (train is None):
        raise InputError("training takes both: data= and train=Recipe(...)")
    if data is not None and data.shape != mask.shape:
        raise InputError(f"the mask is for inputs of shape {mask.shape}, and {data.name} has {data.shape}")
    found = find_ways(network, mask)
    usable = [way for way in found if way.network is not None]
    n_trained = len(usable) * len(seeds) if train is not None else 0
    n_blocks = len(usable) * len(batches) * (rounds + 1) if measure else 0
    steps = _Steps(n_trained + n_blocks, on_step or (lambda done, total, text: None))
    scores: dict[str, list[float]] = {way.name: [] for way in found}
    if data is not None and train is not None:
        for seed in seeds:
            for name, score in _trained(network, mask, data, train, seed, steps):
                scores[name].append(score)
    taken = _timed(usable, mask, batches, rounds, threads, seconds, steps) if measure else {}
    return tuple(replace(_counted(way), milliseconds=_of(taken, way), scores=tuple(scores[way.name])) for way in found)


class _Steps:
    """Tells how far all of it is."""

    def __init__(self, total: int, tell: Callable[[int, int, str], None]) -> None:
        self.done, self.total, self.tell = 0, total, tell

    def next(self, text: str) -> None:
        self.tell(self.done, self.total, text)
        self.done += 1


def _counted(way: Way) -> ConvSaving:
    if way.network is None:
        return ConvSaving(way.name, way.says, why_not=way.why_not)
    cost = measure_cost(way.network, way.shape)
    return ConvSaving(way.name, way.says, cost.macs, cost.parameters, cost.input_bytes)


def _trained(
    network: nn.Module, mask: PixelMask, data: Dataset, recipe: Recipe, seed: int, steps: _Steps
) -> list[tuple[str, float]]:
    """The validation score of each way that is open, trained with one seed."""
    spec = spec_of(network)
    fresh = network if spec is None else build_from_spec(spec, seed=seed)
    scores = []
    for way in find_ways(fresh, mask, seed):
        if way.network is None:
            continue
        steps.next(f"training {way.name}, seed {seed}")
        trained = fit(way.network, data, recipe=recipe, seed=seed, device="cpu", encode=way.encode)
        scores.append((way.name, float(evaluate(trained, data.validation, device="cpu", encode=way.encode).score)))
    return scores


def _timed(
    usable: Sequence[Way],
    mask: PixelMask,
    batches: Sequence[int],
    rounds: int,
    threads: int,
    seconds: float,
    steps: _Steps,
) -> dict[tuple[int, str], tuple[float, ...]]:
    random = torch.Generator().manual_seed(0)
    runs: dict[tuple[int, str], Run] = {}
    for batch in batches:
        images = torch.rand(batch, *mask.shape, generator=random)
        for way in usable:
            runs[batch, way.name] = partial(_from_full, way, images)

    def on_block(key: tuple[int, str]) -> None:
        steps.next(f"{key[1]}, batch {key[0]:,}")

    taken: dict[tuple[int, str], tuple[float, ...]] = {}
    for group in by_batch(runs, lambda key: key[0]):
        share = seconds / len(batches)
        taken |= take_turns(group, rounds=rounds, threads=threads, seconds=share, on_block=on_block)
    return taken


def _from_full(way: Way, images: torch.Tensor) -> Any:
    assert way.network is not None
    assert way.encode is not None
    return way.network(way.encode(images))


def _of(taken: dict[tuple[int, str], tuple[float, ...]], way: Way) -> tuple[tuple[int, float], ...]:
    return tuple(
        (batch, 1000 * statistics.median(seconds)) for (batch, name), seconds in taken.items() if name == way.name
    )
