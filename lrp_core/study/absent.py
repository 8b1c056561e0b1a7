"""Criteria, strategies and networks of your own that a study names and this process does not know.

A study says of each what its trials' names and keys follow from; so its results can be read anywhere, and only what
would need the object itself is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import nn

from ..data import Split
from ..errors import InputError
from ..models import ARCHITECTURES
from ..ranking import CRITERIA, STRATEGIES, Criterion, How, Ranking
from ..registry import source_of


def say_own(criteria: Sequence[str], strategies: Sequence[str], architecture: str) -> dict[str, Any]:
    """What has to be known of the objects behind these names that did not come with the project; plain values."""
    descriptions: dict[str, Any] = {}
    if own := {name: _say_criterion(CRITERIA[name]) for name in criteria if not CRITERIA.is_built_in(name)}:
        descriptions["criteria"] = own
    if own := {name: _say_strategy(STRATEGIES[name]) for name in strategies if not STRATEGIES.is_built_in(name)}:
        descriptions["strategies"] = own
    if not ARCHITECTURES.is_built_in(architecture):
        descriptions["architecture"] = architecture
        descriptions["network"] = network_fingerprint(architecture)
    return descriptions


def stand_in(descriptions: dict[str, Any]) -> None:
    """Have an entry for each of these objects that this process does not know."""
    for name, values in descriptions.get("criteria", {}).items():
        if name not in CRITERIA:
            absent = _Absent("criterion", name)
            rest = {key: value for key, value in values.items() if key != "is_measured"}
            is_measured = values["is_measured"]
            CRITERIA.register(
                name,
                Criterion(name, explain=absent if is_measured else None, score=None if is_measured else absent, **rest),
            )
    for name, values in descriptions.get("strategies", {}).items():
        if name not in STRATEGIES:
            STRATEGIES.register(name, _AbsentStrategy(name, **values))
    architecture = descriptions.get("architecture")
    if architecture is not None and architecture not in ARCHITECTURES:
        ARCHITECTURES.register(architecture, _Absent("network", architecture, descriptions.get("network", "")))


def network_fingerprint(architecture: str) -> str:
    """What tells a builder of your own from another one of the same name; empty for the project's own."""
    if ARCHITECTURES.is_built_in(architecture):
        return ""
    builder = ARCHITECTURES[architecture]
    fingerprint = getattr(builder, "fingerprint", None)
    return digest_of(source_of(builder)) if fingerprint is None else str(fingerprint)


def digest_of(text: str) -> str:
    """A few digits that stand for a text."""
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def fingerprint(strategy: Any) -> str:
    """What tells a strategy from another one of the same name: its options and its source."""
    return str(getattr(strategy, "fingerprint", f"{strategy!r} {source_of(type(strategy))}"))


def _say_criterion(criterion: Criterion) -> dict[str, Any]:
    return {
        "says": criterion.says,
        "is_measured": criterion.is_measured,
        "needs_network": criterion.needs_network,
        "fingerprint": criterion.fingerprint,
    }


def _say_strategy(strategy: Any) -> dict[str, Any]:
    names = ("says", "networks", "any_criterion", "per_keep", "follows")
    return {name: getattr(strategy, name) for name in names} | {"fingerprint": fingerprint(strategy)}


@dataclass(frozen=True)
class _Absent:
    """In place of a function that is not here."""

    kind: str
    name: str
    fingerprint: str = ""

    def __call__(self, *_: Any) -> NoReturn:
        raise InputError(
            f"{self.kind} {self.name!r} is not known here: name the file that registers it in LRP_PLUGINS, or register "
            "it before the study is asked for"
        )


@dataclass(frozen=True)
class _AbsentStrategy:
    """In place of a strategy that is not here."""

    name: str
    says: str
    networks: int
    any_criterion: bool
    per_keep: bool
    follows: str | None
    fingerprint: str

    def rank(self, networks: Sequence[nn.Module], split: Split, how: How, before: Ranking | None = None) -> Ranking:
        return _Absent("strategy", self.name)()
