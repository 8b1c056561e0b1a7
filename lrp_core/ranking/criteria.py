"""Criteria: what inputs are ordered by. LRP under any composite, the controls that it has to beat, and your own.

One object says what a criterion is, and one registry holds all of them, for ranking a data set and for the attribution
of single images alike:

    register_criterion(Criterion("squares", "the square of each pixel", explain=lambda model: squares_of))
    lc.rank(model, split, criterion="squares")
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Grouping, Split
from ..errors import InputError, check_choice
from ..lrp import COMPOSITES, Composite, Explainer
from ..registry import Registry, load_plugins, source_of
from ..seeds import generator
from . import controls, gradients
from .gradients import Attribute

Score = Callable[[nn.Module | None, Split, int], Tensor]
"""A network (None where none is needed), a split and a seed -> one score for each input, larger for what is kept."""


GROUPS_BY: tuple[str, ...] = ("sum", "largest")
"""How the score of a group of inputs follows from theirs."""


@dataclass(frozen=True)
class Criterion:
    """What inputs are ordered by.

    `says` is what pages and tables say of it: a short clause that completes "inputs ranked ...". At least one of:

    - `explain(model)` gives an `Attribute`: images [n, *shape], the class of each [n] (None: the predicted one) and a
      start -> the contribution of every input, in the shape of the images; with `is_random`, `explain(model, seed)`.
    - `score(model, split, seed)` gives one score for each input of a data set, [n_inputs], larger for what is kept. A
      criterion with a score is ranked by it; one without is ranked by the statistics of what it explains.

    Of a group of inputs, contributions are summed for each image, and a score is the sum of its inputs' scores, or with
    `groups_by="largest"` the largest of them.

    `fingerprint` tells it from another one of the same name: a digest of its source, or of its composite.
    `needs_network` False says that `score` looks at no network, so that it is computed once for all of them.
    """

    name: str
    says: str
    explain: Callable[..., Attribute] | None = field(default=None, repr=False)
    score: Score | None = field(default=None, repr=False)
    needs_network: bool = True
    is_random: bool = False
    composite: Composite | None = field(default=None, repr=False)
    groups_by: str = field(default="sum", repr=False)
    fingerprint: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.explain is None and self.score is None:
            raise InputError(f"criterion {self.name!r} does nothing: give it explain=, score=, or both")
        check_choice("way to score groups", self.groups_by, GROUPS_BY)
        if not self.fingerprint:
            parts = [repr(self.composite), *(source_of(f) for f in (self.explain, self.score))]
            digest = hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()
            object.__setattr__(self, "fingerprint", digest)

    @property
    def is_measured(self) -> bool:
        """Whether it is ranked by explaining images: a statistic, a start and a label are for these alone."""
        return self.score is None

    @property
    def is_control(self) -> bool:
        """Whether it is no rule of LRP, but something that LRP has to beat."""
        return self.composite is None

    def of_groups(self, scores: Tensor, grouping: Grouping) -> Tensor:
        """One score for each group [n_groups], from those of the inputs [n_inputs]."""
        return grouping.sums(scores) if self.groups_by == "sum" else grouping.largest(scores)

    def explain_with(self, model: nn.Module | None, seed: int = 0) -> Attribute:
        """What explains images with this model. Raises `InputError` for a criterion that explains none."""
        if self.explain is None:
            raise InputError(
                f"criterion {self.name!r} scores a whole data set and explains no single image: rank with it, and "
                "give the ranking in its place"
            )
        return self.explain(model, seed) if self.is_random else self.explain(model)


def by_lrp(composite: Composite, name: str | None = None) -> Criterion:
    """The criterion that is relevance under a composite; without a name it gets one from what the composite says."""
    if name is None:
        name = next((known for known, one in COMPOSITES.items() if one is composite), None)
    if name is None:
        name = f"composite-{hashlib.blake2b(repr(composite).encode(), digest_size=3).hexdigest()}"
    return Criterion(name, f"by relevance: {composite}", partial(_explain_by_lrp, composite), composite=composite)


def _explain_by_lrp(composite: Composite, model: nn.Module | None) -> Attribute:
    return Explainer(_given(model), composite).relevance


def _explain_by_gradient(attribution: Callable[..., Tensor], model: nn.Module | None) -> Attribute:
    return gradients.explain_by(attribution, _given(model))


def _smoothgrad(model: nn.Module | None, seed: int) -> Attribute:
    return gradients.explain_by(partial(gradients.smoothgrad, seed=seed), _given(model))


def _chance(model: nn.Module | None, seed: int) -> Attribute:
    """Other numbers for every image, from one stream for all batches."""
    random = generator(seed, "random relevance")

    def attribute(images: Tensor, labels: Tensor | None, start: str) -> Tensor:
        return torch.rand(images.shape, generator=random).to(images)

    return attribute


def _nearness(model: nn.Module | None) -> Attribute:
    def attribute(images: Tensor, labels: Tensor | None, start: str) -> Tensor:
        scores = controls.centre_distance(tuple(images.shape[1:]))
        return scores.view(images.shape[1:]).to(images).expand_as(images)

    return attribute


def _given(model: nn.Module | None) -> nn.Module:
    if model is None:
        raise InputError("this criterion explains a network: give one")
    return model


def _of_data(score: Callable[[Split, int], Tensor]) -> Score:
    return lambda model, split, seed: score(split, seed)


def _weights(model: nn.Module | None, split: Split, seed: int) -> Tensor:
    return controls.first_weights(_given(model), split.shape)


def _gradient(name: str, says: str, attribution: Callable[..., Tensor]) -> Criterion:
    return Criterion(name, says, partial(_explain_by_gradient, attribution))


def _control(name: str, says: str, score: Callable[[Split, int], Tensor], **more: Any) -> Criterion:
    return Criterion(name, says, score=_of_data(score), needs_network=False, **more)


_BUILT_IN = (
    _control(
        "random",
        "at random",
        lambda split, seed: torch.zeros(split.pixels[0].numel(), dtype=torch.float64),
        explain=_chance,
        is_random=True,
    ),
    _control("variance", "by their variance over the images", lambda split, seed: controls.pixel_variance(split)),
    _control(
        "centre",
        "by how near the centre of the image they are",
        lambda split, seed: controls.centre_distance(split.shape),
        explain=_nearness,
        groups_by="largest",
    ),
    _control(
        "smooth-random",
        "in random blobs",
        lambda split, seed: controls.smooth_noise(split.shape, seed),
    ),
    _control(
        "non-constant", "by whether they vary at all", lambda split, seed: controls.varies(split), groups_by="largest"
    ),
    _control(
        "anova-f",
        "by how much they differ between the classes",
        lambda split, seed: controls.anova_f(split),
        groups_by="largest",
    ),
    _control("mutual-information", "by what they tell of the class", controls.mutual_information, groups_by="largest"),
    _control("extra-trees", "by their importance to extremely randomised trees", controls.extra_trees),
    Criterion("weight", "by the size of the first layer's weights", score=_weights),
    _gradient("gradient", "by the gradient of what is explained", gradients.gradient),
    _gradient("gradient-x-input", "by gradient times input", gradients.gradient_x_input),
    _gradient("integrated-gradients", "by gradients integrated from zero on", gradients.integrated_gradients),
    Criterion("smoothgrad", "by gradients averaged over noise", _smoothgrad, is_random=True),
)


class _Criteria(Registry[Criterion]):
    """Criteria, among them every composite: also one that was added to `COMPOSITES` after the start."""

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        for name in COMPOSITES:
            if name not in self._entries:
                self.register(name, by_lrp(COMPOSITES[name], name))
        return super().__iter__()

    def __contains__(self, name: object) -> bool:
        return name in tuple(self)

    def __getitem__(self, name: str) -> Criterion:
        iter(self)
        return super().__getitem__(name)

    def find(self, name: str) -> Criterion:
        """The criterion of that name. Raises `InputError` that names the nearest and all of them."""
        iter(self)
        return super().find(name)


CRITERIA: Registry[Criterion] = _Criteria(
    "criterion",
    {name: by_lrp(composite, name) for name, composite in COMPOSITES.items()} | {one.name: one for one in _BUILT_IN},
)
"""Every criterion by name: LRP under each composite, then the controls, then your own."""


def register_criterion(criterion: Criterion) -> Criterion:
    """Make a criterion of your own known by its name, everywhere in this process. Raises `InputError`."""
    if not isinstance(criterion, Criterion):
        raise InputError(f"register a Criterion(name, says, explain=... or score=...), not {criterion!r}")
    return CRITERIA.register(criterion.name, criterion)


def find_criterion(criterion: str | Composite | Criterion) -> Criterion:
    """The criterion of that name, that composite, or the given one. Raises `InputError` for an unknown name."""
    if isinstance(criterion, Criterion):
        return criterion
    if isinstance(criterion, Composite):
        return by_lrp(criterion)
    return CRITERIA.find(criterion)


def explaining_criterion(criterion: str | Composite | Criterion) -> Criterion:
    """`find_criterion`, for one that explains images. Raises `InputError` for any other."""
    chosen = find_criterion(criterion)
    if chosen.explain is None:
        check_choice("criterion that explains images", chosen.name, [c.name for c in CRITERIA.values() if c.explain])
    return chosen
