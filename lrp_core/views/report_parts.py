"""The tables and figures of a report, from the trials of an opened study."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..evaluation import Interval
from ..ranking import CRITERIA, Method
from ..report import Figure, Inputs, Table, svg
from ..report.words import between, count, listed, percent, points, saved, size, stacked, things
from ..study import results
from ..study.results import Headline, Recommendation
from .study import OpenedStudy

MOST_ROWS = 60
"""As many inputs as a table of those that stay lists by name."""


def before_after(opened: OpenedStudy, found: Headline) -> Table:
    """The scores of both networks and their difference, on validation and on test rows."""
    row, mode = found.recommendation.row, found.recommendation.mode
    assert row is not None, "a headline has a row"
    base = results.baseline_of(opened.curve(), mode).iloc[0]
    least, (_, rows, _) = least_of(opened), opened.words
    pairs = (("validation", row, base), ("test", found.row, found.baseline))
    cells = [
        (name, *(f"{percent(r['score'], 2)} {between(interval_of(r), least=least)}".strip() for r in which))
        for name, which in (
            ("Full network", [base for _, _, base in pairs]),
            ("Small network", [row for _, row, _ in pairs]),
        )
    ]
    differences = (
        f"{points(r['difference'])} {between(interval_of(r, 'difference'), signed=True)}".strip() for _, r, _ in pairs
    )
    return Table(
        (_title(opened.score), f"Validation {rows} (chosen on)", f"Test {rows}"),
        (*cells, ("Difference", *differences)),
        frozenset({1, 2}),
    )  # fmt: skip


def inputs_that_stay(opened: OpenedStudy, found: Headline) -> Inputs:
    """Which inputs stay at the recommended place, by the mask of the first seed."""
    best, keep, seed = found.recommendation, int(found.row["keep"]), opened.study.seeds[0]
    rankings, (inputs, _, _), n = opened.rankings, opened.words, opened.n_groups
    own = rankings.seed_of(seed)
    if not rankings.is_ready(best.method, keep, seed):
        return Inputs(f"The ranking by {best.method}, seed {own}, is not kept here, so that its mask cannot be shown.")
    said = f"{count(keep)} of {n:,} {inputs} stay by the mask of seed {own}; the masks of other seeds differ a little."
    if opened.drawn_as == "picture":
        kept = rankings.kept(best.method, keep, seed)
        image = svg.picture(kept, opened.images.mean(seed))
        caption = "The mean training image: in colour what stays, grey what goes."
        return Inputs(said, Figure(caption, image=image, says=f"{caption} {said}"))
    table = rankings.table(best.method, keep, seed)
    if opened.drawn_as == "series":
        kept = np.zeros(opened.data.n_inputs, dtype=bool)
        kept[np.concatenate([np.asarray(one) for one in table[table["kept"]]["inputs"]])] = True
        kept = kept.reshape(-1, opened.data.shape[-1])
        names = tuple(f"ch. {i}" for i in range(len(kept)))
        caption = "Each row is a channel, from its first value to its last: in colour what stays."
        return Inputs(said, Figure(caption, svg.strips(kept, names, f"{caption} {said}")), _listed(table, inputs))
    return Inputs(said, table=_listed(table, inputs))


def _listed(table: pd.DataFrame, inputs: str) -> Table:
    """The inputs that stay, the most important first, and what is left out."""
    kept, gone = table[table["kept"]], table[~table["kept"]]
    has_cost = "cost" in table
    rows = [
        (str(row.place), str(row.name), f"{row.score:.4g}", *([f"{row.cost:,.6g}"] if has_cost else []))
        for row in kept.head(MOST_ROWS).itertuples(index=False)
    ]
    more = f" {count(len(kept) - MOST_ROWS)} more stay." if len(kept) > MOST_ROWS else ""
    names = [str(name) for name in gone["name"].head(MOST_ROWS)]
    rest = f" and {len(gone) - MOST_ROWS:,} more" if len(gone) > MOST_ROWS else ""
    left = f"Left out: {', '.join(names) + rest if rest else listed(names)}." if names else ""
    heads = ("Place", inputs.capitalize().removesuffix("s"), "Score", *(["Cost"] if has_cost else []))
    return Table(heads, tuple(rows), frozenset({2, 3}), f"{more} {left}".strip())


def curves(opened: OpenedStudy, mode: str, best: Recommendation | None) -> Figure:
    """Every method's curve in a mode, on validation rows."""
    study, (inputs, rows, _) = opened.study, opened.words
    lines = [_line(opened, method, table) for method, table in opened.curves(study.methods, mode).items()]
    base = results.baseline_of(opened.curve(), mode)
    level = float(base["score"].iloc[0]) if len(base) else None
    is_here = best is not None and best.row is not None and best.mode == mode
    mark = (float(best.row["removed"]), float(best.row["score"])) if is_here and best and best.row is not None else None
    title = _title(opened.score)
    ring = " The ring is the recommended place." if mark else ""
    bands = "Bands are 95 % intervals." if len(study.seeds) > 1 else "One seed gives no interval."
    caption = f"{title} on validation {rows} as {inputs} go, small network {mode}. {bands}{ring}"
    drawn = svg.curves(
        lines, says=caption, x_title=f"{inputs.capitalize()} removed (%)", y_title=f"{title} (%)", level=level,
        level_says=f"all {inputs}: {percent(level)}" if level is not None else "", mark=mark, least=least_of(opened),
    )  # fmt: skip
    return Figure(caption, drawn)


def _line(opened: OpenedStudy, method: str, table: pd.DataFrame) -> svg.Line:
    x, y, low, high = (tuple(map(float, table[name])) for name in ("removed", "score", "low", "high"))
    color, strategy = _color(method, opened.study.methods), Method.named(method).strategy
    return svg.Line(method, x, y, low, high, color, strategy)


def _color(method: str, methods: tuple[str, ...]) -> int:
    """The number of a criterion's colour: two controls have their own, the others share the rest in turn."""
    fixed = {"random": 0, "variance": 1}
    names = list(dict.fromkeys(Method.named(name).criterion for name in methods))
    criterion = Method.named(method).criterion
    if criterion in fixed:
        return fixed[criterion]
    return 2 + [name for name in names if name not in fixed].index(criterion) % (svg.COLORS - 2)


def _ahead(opened: OpenedStudy, found: Headline) -> list[tuple[str, Interval, Interval]]:
    """For each control at the recommended place: its test score, and how far the method is ahead, in pairs of seeds."""
    best, keep = found.recommendation, int(found.row["keep"])
    trials = opened.trials()
    here = trials[(trials["keep"] == keep) & (trials["mode"] == best.mode)]
    pair = ["seed", "mask_seed"]
    own = here[here["method"] == best.method].set_index(pair)["test_score"]
    ahead = []
    for method in opened.study.methods:
        control = here[here["method"] == method]
        if method == best.method or not CRITERIA[Method.named(method).criterion].is_control or control.empty:
            continue
        both = control[pd.MultiIndex.from_frame(control[pair]).isin(own.index)]
        if both.empty:
            continue
        lead = own.loc[list(both[pair].itertuples(index=False, name=None))].to_numpy() - both["test_score"].to_numpy()
        each = results.over_seeds(both, "test_score", "test")
        ahead.append((method, each, results.over_seeds(both.assign(lead=lead), "lead", "test")))
    return ahead


def controls(opened: OpenedStudy, found: Headline) -> Table | None:
    """The controls at the recommended place; None where the study has none."""
    rows = [
        (
            method,
            f"{percent(each.estimate, 2)} {between(each, least=least_of(opened))}".strip(),
            f"{points(lead.estimate)} {between(lead, signed=True)}".strip(),
        )
        for method, each, lead in _ahead(opened, found)
    ]
    if not rows:
        return None
    own = f"{found.recommendation.method} is ahead by"
    kept = things(int(found.row["keep"]), opened.words[0])
    caption = f"{kept} kept, small network {found.recommendation.mode}, test {opened.words[1]}."
    return Table(("Control", f"Test {opened.score}", own), tuple(rows), frozenset({1, 2}), caption)


def controls_said(opened: OpenedStudy, found: Headline) -> tuple[str, ...]:
    """Whether the method does better than what looks at no explanation."""
    ahead, method = _ahead(opened, found), found.recommendation.method
    if CRITERIA[Method.named(method).criterion].is_control:
        return (
            f"The recommended method, {method}, is a control itself: no explanation of the network ranked its inputs.",
        )
    if not ahead:
        return (
            "This study has no control at the recommended place: whether relevance ranks better than chance is not "
            "measured.",
        )
    sure = [name for name, _, lead in ahead if lead.low > 0]
    behind = [name for name, _, lead in ahead if lead.high < 0]
    open_ = [name for name, _, _ in ahead if name not in (*sure, *behind)]
    said = []
    if sure:
        said.append(f"{method} is ahead of {listed(sure)}: the whole 95 % interval of the difference is above zero.")
    if behind:
        said.append(f"{method} is behind {listed(behind)}: the whole 95 % interval of the difference is below zero.")
    if open_:
        why = "with one seed there is no interval" if len(opened.study.seeds) < 2 else "the interval holds zero"
        said.append(f"Between {method} and {listed(open_)} this study does not decide: {why}.")
    return tuple(said)


def costs(opened: OpenedStudy, found: Headline) -> Table:
    """What both networks cost, counted."""
    row, base, (inputs, _, image) = found.row, found.baseline, opened.words
    kinds = [
        (f"Multiply-accumulates for one {image}", "macs", count),
        ("Weights and biases", "parameters", count),
        ("Weights as float32", "bytes", size),
        (f"One {image} as float32", "input_bytes", size),
    ]
    if results.INPUT_COST in row and not pd.isna(row[results.INPUT_COST]):
        kinds.append((f"Cost of the {inputs}", results.INPUT_COST, lambda number: f"{number:,.6g}"))
    rows = tuple((name, say(base[key]), say(row[key]), saved(row[key], base[key])) for name, key, say in kinds)
    return Table(("", "Full network", "Small network", "Saved"), rows, frozenset({1, 2, 3}))


def points_of(opened: OpenedStudy, mode: str) -> Table:
    """Every measured point of a mode, the full network first, validation and test apart."""
    keys, validation = ["method", "mode", "keep"], opened.curve()
    both = validation.merge(opened.curve("test"), on=keys, suffixes=("", "_test"))
    base = results.baseline_of(both, mode)
    both = pd.concat([base, both[(both["mode"] == mode) & (both["method"] != "none")]])
    seeds = both["seeds"].astype(int)
    has_seeds, least = seeds.nunique() > 1, least_of(opened)

    def cells(row: pd.Series) -> tuple[str, ...]:
        values = ["full network" if row["method"] == "none" else row["method"], percent(row["removed"]),
                  count(int(row["keep"])), *([str(int(row["seeds"]))] if has_seeds else [])]  # fmt: skip
        for part in ("", "_test"):
            values += [stacked(interval_of(row, part=part), least), stacked(interval_of(row, "difference", part))]
        return (*values, count(row["macs"]))

    score, of_test = _title(opened.score), "Test"
    heads = ("Ranked by", "Removed", "Kept", *(["Seeds"] if has_seeds else []), f"{score} (%)", "Difference (points)",
             f"{of_test} {opened.score} (%)", f"{of_test} difference (points)", "MACs")  # fmt: skip
    rows = tuple(cells(row) for _, row in both.iterrows())
    each = "" if has_seeds else f", {things(int(seeds.iloc[0]), 'seeds')} at each point" if len(seeds) else ""
    below = "; below each number its 95 % interval" if len(opened.study.seeds) > 1 else ""
    return Table(heads, rows, frozenset(range(1, len(heads))), f"Small network: {mode}{each}{below}.")


def _title(name: str) -> str:
    return name[:1].upper() + name[1:]


def interval_of(row: pd.Series, name: str = "score", part: str = "") -> Interval:
    """A value of a curve with its interval; `part` is what its columns end with."""
    ends = ("low", "high") if name == "score" else (f"{name}_low", f"{name}_high")
    return Interval(*(float(row[f"{column}{part}"]) for column in (name, *ends)))


def least_of(opened: OpenedStudy) -> float:
    """The least that the score can be: an accuracy has a floor, an R² has none."""
    return 0.0 if opened.data.target is None else -np.inf
