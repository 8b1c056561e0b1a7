"""What a report says of an opened study, from its trials; `lrp_core.report` writes it as a page."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version

from ..errors import InputError
from ..report import Report, command_of, describe, missing, write_page
from ..report.words import between, count, percent, spaced, things
from ..study import results
from ..study.results import Headline, Recommendation
from ..study.runs import Run
from ..version import __version__
from .report_parts import (
    before_after,
    controls,
    controls_said,
    costs,
    curves,
    inputs_that_stay,
    interval_of,
    least_of,
    points_of,
)
from .study import OpenedStudy

_STATES = {
    "starting": "is starting",
    "running": "is running",
    "failed": "failed",
    "cancelled": "was cancelled",
    "interrupted": "was interrupted",
}


def report(opened: OpenedStudy, *, margin: float = results.MARGIN, address: str | None = None) -> bytes:
    """The study as one HTML page that needs nothing beside it, in UTF-8.

    `margin` is the share of the score that may be lost. `address` is that of a dashboard, such as
    http://127.0.0.1:8501, for a link back; without one the page says the last part of it. Nothing is trained or ranked:
    a mask whose ranking is not kept is left out. Raises `InputError` for a margin that is no share, an address that is
    none, or a study without a measured network.
    """
    return write_page(content_of(opened, margin=margin, address=address)).encode()


def content_of(opened: OpenedStudy, *, margin: float = results.MARGIN, address: str | None = None) -> Report:
    """What `report` writes, as plain values."""
    if opened.curve().empty:
        raise InputError(f"the study {opened.study.key} has no measured network yet: report it when it has some")
    study, run = opened.study, opened.ledger.run(opened.study.key)
    best = opened.recommend(margin=margin)
    found = opened.headline(best.method, margin) if best is not None else None
    modes = dict.fromkeys([*([best.mode] if best is not None else []), *study.modes])
    link = f"/?study={study.key}"
    return Report(
        title=run.name if run is not None else study.key,
        subtitle=f"{study.dataset} · {study.architecture} · {things(len(study.seeds), 'seeds')}",
        so_far=_so_far(run),
        finding=_finding(opened, best, found),
        details=_details(opened, best, found),
        before_after=None if found is None else before_after(opened, found),
        inputs=None if found is None else inputs_that_stay(opened, found),
        curves=tuple(curves(opened, mode, best) for mode in modes),
        controls=() if found is None else controls_said(opened, found),
        controls_table=None if found is None else controls(opened, found),
        costs=None if found is None else costs(opened, found),
        method=describe(study, opened.data, opened.words),
        means=_means(opened, best, found),
        means_not=_means_not(opened, found),
        points=tuple(points_of(opened, mode) for mode in dict.fromkeys(study.modes)),
        provenance=_provenance(opened, run),
        command=f"{command_of(study)} --margin {100 * margin:g}",
        placeholder=missing(study, opened.data),
        link=link,
        address="" if address is None else _checked(address) + link,
    )


def _checked(address: str) -> str:
    """The address of a dashboard without a slash at its end."""
    if not address.startswith(("http://", "https://")):
        raise InputError(f"the address of a dashboard begins with http:// or https://, not {address!r}")
    return address.rstrip("/")


def _so_far(run: Run | None) -> str:
    if run is None or run.state == "done":
        return ""
    return f"{run.done:,} of {run.total:,} networks are measured; the study {_STATES[run.state]}"


def _finding(opened: OpenedStudy, best: Recommendation | None, found: Headline | None) -> str:
    """What can go, in one sentence."""
    if best is None:
        return "Nothing can be recommended yet: too few small networks are measured."
    if found is None:
        return spaced(best.sentence)
    row, keep = found.row, int(found.row["keep"])
    can_go = f"{percent(row['removed'], 0)} of the {opened.words[0]} can go"
    return f"{can_go}: {count(keep)} of {opened.n_groups:,} are enough."


def _details(opened: OpenedStudy, best: Recommendation | None, found: Headline | None) -> tuple[str, ...]:
    """Before and after, on the test rows, and what the choice rests on."""
    if found is None or best is None:
        return ()
    row, base, (_, rows, _) = found.row, found.baseline, opened.words
    least = least_of(opened)
    now, before = (f"{percent(r['score'])} {between(interval_of(r), least=least)}".strip() for r in (row, base))
    if opened.data.target is None:
        first = f"On the test {rows} the small network is right in {now} of all cases, the full network in {before}."
    else:
        first = (
            f"On the test {rows} the small network has an R² of {now}, the full network one of {before}; their mean "
            f"absolute errors are {row['absolute_error']:.4g} and {base['absolute_error']:.4g}."
        )
    reason = best.reason[:1].upper() + best.reason[1:]
    return first, f"Chosen on validation {rows}; ranked by {best.method}, small network {best.mode}. {spaced(reason)}"


def _means(opened: OpenedStudy, best: Recommendation | None, found: Headline | None) -> tuple[str, ...]:
    inputs, rows, _ = opened.words
    if best is None:
        return ()
    lost = f"{100 * best.margin:g} points of {opened.score}"
    rule = (
        f"the whole 95 % interval of the difference to the full network of the same seed, on validation {rows}, stays "
        f"within a loss of {lost}"
        if best.is_certain
        else f"the difference to the full network of the same seed, on validation {rows}, is a loss of at most {lost}"
    )
    said = [f"Recommended is the largest measured share of the {inputs} at which {rule}."]
    if found is not None:
        said.append(f"Test {rows} had no part in the choice. They say what to expect of new {rows} that are like them.")
    return tuple(said)


def _means_not(opened: OpenedStudy, found: Headline | None) -> tuple[str, ...]:
    inputs, rows, _ = opened.words
    said = [
        f"It does not say that the {inputs} that go hold nothing: another network, or another task, may need them.",
        f"It holds for {rows} like those of {opened.study.dataset}. Where new {rows} differ, measure again.",
        "It is about the mean over networks. A single one can do better or worse; measure the one that you use.",
        f"Only the listed numbers of {inputs} were measured; more may be able to go between them.",
    ]
    if len(opened.study.seeds) < 2:
        said.insert(0, "It is the result of one seed. Without a second one chance is not ruled out.")
    if found is not None and len(opened.study.methods) > 1:
        said.append(
            "Method and place were both chosen on validation: of many that are equally good, the luckiest looks best. "
            "The test figures are free of that."
        )
    return tuple(said)


def _provenance(opened: OpenedStudy, run: Run | None) -> tuple[tuple[str, str], ...]:
    """Where the figures come from."""
    pairs = [("Study", opened.study.key), ("Data", f"{opened.data.name}, digest {opened.data.digest}")]
    if run is not None:
        pairs += [("Started", _date(run.started)), ("Last measured", _date(run.updated))]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "pandas"))
    pairs.append(("Report written", f"{_date(datetime.now(UTC).timestamp())}, by lrp_core {__version__}"))
    pairs.append(("With", f"Python {platform.python_version()}, {versions}"))
    pairs.append(("On", f"{platform.system()} {platform.release()}, {platform.machine()}"))
    return tuple(pairs)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
