"""A study in numbers, as its first page shows it: read in milliseconds, without torch.

Whoever trains a study writes its summary beside the ledger as results arrive, and pages read it. It is a file
of arrays and JSON alone. What it says follows from the ledger: delete it, and it is made again.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import StorageError
from ..shares import keep_for_share, percent_removed
from ..storage import write_atomic
from ..study import results
from ..study.bundle import adopt, shipped
from ..study.ledger import Ledger, Run
from ..study.results import Headline, Recommendation
from ..words import Words

VERSION = 1
"""Of the file: another version's is made again."""

Places = tuple[tuple[int, np.ndarray], ...]
"""For a number of inputs that a ranking was made for (0: any), the place of every input, 0 for the most important."""


@dataclass(frozen=True, eq=False)
class Summary:
    """What a study found so far.

    `validation` and `test` are curves (`results.curve`). `places` maps methods to the places of pixels [height * width]
    (the best of a pixel's channels), of the positions of a series [channels * length], or of named inputs or groups
    [n_groups]; methods that are not ranked yet are missing. `samples` are three examples as a person sees them,
    [n, height, width] in 0 to 1 or [n, channels, length]; empty for tables. `words` say what inputs, examples and one
    example are called. `done` of the `total` networks are in it.
    """

    key: str
    dataset: str
    architecture: str
    drawn_as: str
    shape: tuple[int, ...]
    n_groups: int
    words: tuple[str, str, str]
    score: str
    has_classes: bool
    methods: tuple[str, ...]
    of_relevance: tuple[str, ...]
    modes: tuple[str, ...]
    seeds: tuple[int, ...]
    resplit: bool
    names: tuple[str, ...]
    done: int
    total: int
    says: Mapping[str, str] = field(default_factory=dict)
    sample_names: tuple[str, ...] = ()
    validation: pd.DataFrame = field(default_factory=pd.DataFrame)
    test: pd.DataFrame = field(default_factory=pd.DataFrame)
    places: Mapping[str, Places] = field(default_factory=dict)
    samples: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1), np.float32))

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return self.done >= self.total

    def recommend(
        self, method: str | None = None, *, mode: str | None = None, margin: float = results.MARGIN
    ) -> Recommendation | None:
        """The recommended threshold of a method, or of the best that ranks by relevance; None before a pair is there.

        See `results.recommend`.
        """
        words = Words(self.words[0], self.score)
        each = [
            results.recommend_from(self.validation, self.n_groups, name, mode=mode, margin=margin, words=words)
            for name in (self.of_relevance if method is None else (method,))
        ]
        return results.best_of(each)

    def headline(self, method: str | None = None, *, mode: str | None = None, margin: float = results.MARGIN
                 ) -> Headline | None:  # fmt: skip
        """The recommendation with what the test data say of it; None while nothing can be recommended."""
        best = self.recommend(method, mode=mode, margin=margin)
        return None if best is None else results.headline_of(best, self.test)

    def removed_for(self, keep: int) -> int:
        """The largest whole per cent of the inputs that can go so that at least `keep` of them stay."""
        return percent_removed(keep, self.n_groups)

    def keep_for(self, removed: int) -> int:
        """How many inputs stay when `removed` per cent of them go."""
        return keep_for_share(removed / 100, self.n_groups)

    def places_at(self, method: str, keep: int) -> np.ndarray | None:
        """The places by a method; of a strategy that ranks for one number of inputs, those for the nearest."""
        known = self.places.get(method)
        return None if not known else min(known, key=lambda one: abs(one[0] - keep))[1]


def summary_path(folder: Path, key: str) -> Path:
    """Where the summary of a study lies, in the folder of its ledger."""
    return folder / "summaries" / f"{key}.npz"


def adopt_shipped(ledger: Ledger) -> list[Run]:
    """Enter the measured studies that come with the project into a ledger, each with its summary, read-only.

    Those that a person has deleted stay away. Raises `StorageError` where the cache cannot be written.
    """
    adopted = []
    for path in shipped():
        run = adopt(path, ledger)
        if run is None:
            continue
        beside, place = path.with_suffix(".npz"), summary_path(ledger.folder, run.id)
        if beside.is_file() and not place.is_file():
            write_atomic(place, beside.read_bytes())
        adopted.append(run)
    return adopted


def write_summary(summary: Summary, folder: Path) -> None:
    """Write the summary of a study beside its ledger; readers see the old file or the new one."""
    write_atomic(summary_path(folder, summary.key), packed(summary))


def packed(summary: Summary) -> bytes:
    """A summary as the content of a file."""
    arrays: dict[str, np.ndarray] = {"samples": np.round(255 * summary.samples).astype(np.uint8)}
    if summary.drawn_as != "picture":
        arrays["samples"] = summary.samples.astype(np.float32)
    places = {}
    for method, known in summary.places.items():
        places[method] = [keep for keep, _ in known]
        for keep, array in known:
            arrays[f"places/{len(places) - 1}/{keep}"] = array.astype(np.uint32)
    plain = ("key", "dataset", "architecture", "drawn_as", "shape", "n_groups", "words", "score", "has_classes",
             "methods", "of_relevance", "modes", "seeds", "resplit", "names", "done", "total", "sample_names",
             )  # fmt: skip
    values: dict[str, Any] = {"version": VERSION, "places": places, "says": dict(summary.says)}
    values |= {name: getattr(summary, name) for name in plain}
    values |= {part: _table(getattr(summary, part)) for part in ("validation", "test")}
    arrays["json"] = np.frombuffer(json.dumps(values).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_summary(folder: Path, key: str) -> Summary | None:
    """The summary of a study; None if there is none, or none that this version can read."""
    path = summary_path(folder, key)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        return unpacked(content)
    except StorageError:
        return None


def unpacked(content: bytes) -> Summary:
    """What `packed` wrote. Raises `StorageError` for anything else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            values = json.loads(arrays["json"].tobytes())
            if values.pop("version") != VERSION:
                raise StorageError("the summary was written by another version")
            keeps = values.pop("places")
            places = {
                method: tuple((keep, arrays[f"places/{number}/{keep}"].astype(np.int64)) for keep in known)
                for number, (method, known) in enumerate(keeps.items())
            }
            samples = arrays["samples"]
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise StorageError(f"this is no summary of a study: {error}") from error
    samples = samples.astype(np.float32) / (255 if samples.dtype == np.uint8 else 1)
    tables = {part: pd.DataFrame(values.pop(part)) for part in ("validation", "test")}
    known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    known |= tables
    try:
        return Summary(**known, places=places, samples=samples)
    except TypeError as error:
        raise StorageError(f"this is no summary of a study: {error}") from error


def _table(table: pd.DataFrame) -> dict[str, list[Any]]:
    """A table as JSON can hold it; NaN stays NaN, which Python's own JSON reads back."""
    return {str(name): table[name].tolist() for name in table}
