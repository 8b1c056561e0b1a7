"""A study as one HTML file: what it says is what the ledger holds, and it needs nothing beside it."""

from __future__ import annotations

import io
import json
import re
import shlex
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from lrp_core import views
from lrp_core.cli import main
from lrp_core.cli.arguments import make_parser
from lrp_core.cli.commands import asked_study
from lrp_core.cli.shared import take_network
from lrp_core.data import Dataset, read_data
from lrp_core.errors import InputError
from lrp_core.report import command_of, svg
from lrp_core.study import Study, preset, run_study
from lrp_core.study.ledger import Ledger
from lrp_core.views.reporting import content_of

from .support import ROOT, check_sentence, toy_dataset

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert(1)</script> \"'&amp; {{ 7 * 7 }} {% if %} $x^2$ **bold** [a](b) </style> ]]> é"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A page taken apart; fails on elements that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def text(self, *of: str) -> str:
        return "\n".join(text for tag, text in self.texts if tag != "style" and (not of or tag in of))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder))
        yield Ledger(folder)


def finished(ledger: Ledger, data: Dataset, name: str, stop: int | None = None, **changes: Any) -> views.OpenedStudy:
    """A study of these data, run to its end or until so many networks are there."""
    study = preset("quick", data, architecture="softmax", **{"epochs": 2, "retrain_epochs": 1} | changes)
    steps = run_study(study, ledger, name=name, jobs=1)
    for done, _, _ in steps:
        if done == stop:
            steps.close()
    return views.open_study(study.key, ledger)


@pytest.fixture(scope="module")
def pictures(ledger: Ledger) -> views.OpenedStudy:
    changes = {"keeps": (6, 18, 30), "modes": ("fine-tune", "none"), "strategies": ("one-shot", "elimination")}
    return finished(ledger, toy_dataset(), HOSTILE, seeds=(0, 1), **changes)


@pytest.fixture(scope="module")
def numbers(ledger: Ledger) -> views.OpenedStudy:
    random = np.random.default_rng(0)
    names = ["<i>acid</i>", "x & y", "a|b", "_c_", "d"]
    frame = pd.DataFrame(random.normal(size=(300, 5)), columns=names)
    frame["price"] = 100 + 20 * frame["x & y"] + 10 * frame["d"]
    data = read_data(frame, label="price", task="regression", name="houses <b>")
    return finished(ledger, data, "numbers", seeds=(0, 1, 2), epochs=40, lr=0.05)


@pytest.fixture(scope="module")
def series(ledger: Ledger) -> views.OpenedStudy:
    random, labels = np.random.default_rng(0), np.arange(150) % 2
    inputs = random.normal(size=(150, 2, 12)).astype(np.float32)
    inputs[:, 1, 4:8] += 4 * labels[:, None]
    data = read_data((inputs, labels), series=(2, 12), input_groups="windows:4", name="waves")
    return finished(ledger, data, "series", seeds=(0, 1), epochs=10)


@pytest.fixture(scope="module")
def splits(ledger: Ledger) -> views.OpenedStudy:
    random, labels = np.random.default_rng(0), np.arange(48) % 2
    inputs = random.normal(size=(48, 60))
    inputs[:, :9] += 3 * labels[:, None]
    return finished(ledger, read_data((inputs, labels), name="few"), "splits", seeds=(0, 1, 2), keeps=(6, 30), epochs=9)


STUDIES = ("pictures", "numbers", "series", "splits")


@pytest.fixture(params=STUDIES)
def opened(request: pytest.FixtureRequest) -> views.OpenedStudy:
    return request.getfixturevalue(request.param)


def written(opened: views.OpenedStudy, **options: Any) -> str:
    return views.report(opened, **options).decode()


def test_a_page_is_whole_and_needs_nothing_beside_it(opened: views.OpenedStudy) -> None:
    html = written(opened, margin=0.05)
    page = Page(html)
    assert html.startswith("<!doctype html>")
    tags = [tag for tag, _ in page.tags]
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(tags)
    assert "http" not in html
    assert not re.search(r"url\(|@import", html)
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "srcset"):
            assert (attributes.get(name) or "data:image/png;base64,").startswith("data:image/png;base64,")
    assert len(html) < 300_000
    assert tags.count("h1") == 1


def test_it_prints_and_follows_the_screen(numbers: views.OpenedStudy) -> None:
    html = written(numbers)
    for rule in ("@media print", "size: A4", "break-inside: avoid", "prefers-color-scheme: dark", "max-width: 40rem"):
        assert rule in html
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in Page(html).tags


def test_a_link_leads_back_where_the_dashboard_is_known(numbers: views.OpenedStudy) -> None:
    place = f"/?study={numbers.study.key}"
    assert place in Page(written(numbers)).text("dd")
    html = written(numbers, address="http://127.0.0.1:8501/")
    links = [attributes["href"] for tag, attributes in Page(html).tags if tag == "a"]
    assert links == [f"http://127.0.0.1:8501{place}"]
    assert html.count("http") == 2, "the link, and its text"
    for wrong in ("javascript:alert(1)", "127.0.0.1:8501", "file:///etc/passwd"):
        with pytest.raises(InputError, match="begins with http") as caught:
            written(numbers, address=wrong)
        check_sentence(caught.value)


def test_names_are_text_whatever_they_hold(pictures: views.OpenedStudy, numbers: views.OpenedStudy) -> None:
    page = Page(written(pictures))
    assert page.text("h1") == HOSTILE
    assert "49" not in page.text("h1")
    page = Page(written(numbers, margin=0.1))
    assert "houses <b>" in page.text("dd")
    assert {"i", "b"}.isdisjoint(tag for tag, _ in page.tags)
    assert "x & y" in page.text("td", "caption")


def test_every_point_is_what_the_ledger_holds(opened: views.OpenedStudy) -> None:
    """Means over the trials' own rows, and Student's interval where nothing is split again or crossed."""
    trials = opened.trials()
    tables = content_of(opened).points
    assert len(tables) == len(opened.study.modes)
    for table, mode in zip(tables, opened.study.modes, strict=True):
        drawn = {(row[0], int(row[2].replace(",", ""))): row for row in table.rows}
        own = trials[(trials["mode"] == mode) & (trials["method"] != "none")]
        expected = {(method, keep) for method, keep in own[["method", "keep"]].itertuples(index=False)}
        assert set(drawn) - {("full network", opened.n_groups)} == expected
        for (method, keep), group in own.groupby(["method", "keep"]):
            row = drawn[method, keep]
            for cell, part in ((3, "validation"), (5, "test")):
                scores = group[f"{part}_score"].to_numpy()
                value, _, ends = row[cell].partition("\n")
                assert value == f"{100 * scores.mean():.2f}"
                if not opened.study.resplit:
                    half = stats.t.ppf(0.975, len(scores) - 1) * stats.sem(scores)
                    floor = 0 if opened.data.target is None else -np.inf
                    low, high = max(scores.mean() - half, floor), min(scores.mean() + half, 1)
                    assert ends == f"{100 * low:.1f} to {100 * high:.1f}"
            assert row[7] == f"{group['macs'].mean():,.0f}"


def test_before_and_after_keep_validation_and_test_apart(numbers: views.OpenedStudy) -> None:
    content, trials = content_of(numbers, margin=0.05), numbers.trials()
    headline = numbers.headline(margin=0.05)
    assert headline is not None
    chosen = headline.recommendation
    here = trials[(trials["method"] == chosen.method) & (trials["keep"] == chosen.row["keep"])]
    assert content.before_after is not None
    assert content.before_after.heads == ("R²", "Validation rows (chosen on)", "Test rows")
    small = content.before_after.rows[1]
    for cell, part in ((1, "validation"), (2, "test")):
        assert small[cell].startswith(f"{100 * here[f'{part}_score'].mean():.2f}\u00a0% (between ")
    assert f"{here['test_absolute_error'].mean():.4g}" in content.details[0]
    assert "x & y" in Page(written(numbers, margin=0.05)).text("td")


def test_how_far_ahead_of_a_control_is_a_mean_over_pairs(numbers: views.OpenedStudy) -> None:
    content, trials = content_of(numbers, margin=0.05), numbers.trials()
    chosen = numbers.headline(margin=0.05).recommendation
    here = trials[trials["keep"] == chosen.row["keep"]].set_index(["method", "seed"])["test_score"]
    assert content.controls_table is not None
    assert {row[0] for row in content.controls_table.rows} == {"random", "variance"}
    for control, _, ahead in content.controls_table.rows:
        lead = here[chosen.method] - here[control]
        half = stats.t.ppf(0.975, 2) * stats.sem(lead)
        ends = f"(between {100 * (lead.mean() - half):+.2f} and {100 * (lead.mean() + half):+.2f})"
        assert ahead == f"{100 * lead.mean():+.2f} points {ends}"


def test_costs_are_those_of_the_trials(series: views.OpenedStudy) -> None:
    costs = content_of(series, margin=0.5).costs
    headline = series.headline(margin=0.5)
    assert costs is not None
    assert headline is not None
    assert costs.rows[0][1:3] == (f"{headline.baseline['macs']:,.0f}", f"{headline.row['macs']:,.0f}")


def test_curves_hold_every_method_and_the_recommended_place(pictures: views.OpenedStudy) -> None:
    figures = content_of(pictures, margin=0.5).curves
    assert len(figures) == 2, "a figure for each mode"
    for figure in figures:
        root = ElementTree.fromstring(figure.svg)
        lines = list(root.iter("polyline"))
        assert len(lines) == len(pictures.study.methods) == 4
        names = {node.text for node in root.iter("text")}
        assert {*pictures.study.methods, "Inputs removed (%)", "Accuracy (%)"} - names <= {"Inputs removed (%)"}
    best = pictures.recommend(margin=0.5)
    assert best is not None
    marks = [[node for node in ElementTree.fromstring(f.svg).iter() if node.get("class") == "mark"] for f in figures]
    assert [len(mark) for mark in marks] == [1, 0], "the recommended mode comes first"
    x = float(marks[0][0].get("cx", "nan"))
    assert x == pytest.approx(svg.LEFT + best.row["removed"] * (svg.WIDTH - svg.LEFT - svg.RIGHT), abs=0.06)


def test_the_picture_is_the_mask(pictures: views.OpenedStudy) -> None:
    content, best = content_of(pictures, margin=0.5), pictures.recommend(margin=0.5)
    assert content.inputs is not None
    assert content.inputs.figure is not None
    kind, _, data = content.inputs.figure.image.partition(",")
    assert kind == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(b64decode(data))).convert("RGB"), dtype=int)
    side = pixels.shape[0] // 6
    centres = pixels[side // 2 :: side, side // 2 :: side]
    is_colored = np.ptp(centres, axis=-1) > 40
    kept = pictures.rankings.kept(best.method, int(best.row["keep"]), pictures.study.seeds[0])
    assert np.array_equal(is_colored, kept)


def test_strips_are_the_values_that_stay(series: views.OpenedStudy) -> None:
    content, best = content_of(series, margin=0.5), series.recommend(margin=0.5)
    assert content.inputs is not None
    assert content.inputs.figure is not None
    table = series.rankings.table(best.method, int(best.row["keep"]), 0)
    expected = {place for inputs in table[table["kept"]]["inputs"] for place in inputs}
    step = (svg.WIDTH - svg.LEFT - svg.RIGHT) / 12
    found, boxes = set(), list(ElementTree.fromstring(content.inputs.figure.svg).iter("rect"))
    rows = sorted({float(box.get("y")) for box in boxes})
    for box in boxes:
        if box.get("class") == "kept":
            first = round((float(box.get("x")) - svg.LEFT) / step)
            length = round(float(box.get("width")) / step)
            found |= {12 * rows.index(float(box.get("y"))) + place for place in range(first, first + length)}
    assert found == expected


def test_nothing_is_ranked_or_trained_for_a_report(series: views.OpenedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrp_core.views.ranking.is_cached", lambda spec: False)
    monkeypatch.setattr("lrp_core.views.ranking.ranking_of", lambda spec: pytest.fail("it ranks"))
    content = content_of(series, margin=0.5)
    assert content.inputs is not None
    assert content.inputs.figure is content.inputs.table is None
    assert "is not kept here" in content.inputs.sentence


def test_splits_are_said(splits: views.OpenedStudy) -> None:
    text = Page(written(splits)).text()
    assert "each draws its own split" in text
    assert "Nadeau and Bengio" in text


def test_one_seed_has_no_interval_and_says_so(ledger: Ledger) -> None:
    opened = finished(ledger, toy_dataset(), "single", seeds=(3,), keeps=(6, 18))
    page = Page(written(opened, margin=0.9))
    assert "between" not in page.text("td")
    assert "one seed" in page.text("li")
    assert "One seed gives no interval" in page.text("figcaption")
    assert "nan" not in page.text().lower().replace("nadeau", "")
    assert all(box.get("class") != "band c2" for box in ElementTree.fromstring(content_of(opened).curves[0].svg).iter())


def test_an_unfinished_study_says_how_far_it_is(ledger: Ledger) -> None:
    opened = finished(ledger, toy_dataset(), "unfinished", stop=1, seeds=(5, 6), keeps=(7, 19))
    content = content_of(opened)
    assert content.so_far == "1 of 20 networks are measured; the study was cancelled"
    page = Page(written(opened))
    assert "So far:" in page.text("strong")
    assert "Nothing can be recommended yet" in page.text("p")
    nothing = views.open_study(replace(opened.study, seeds=(71, 72)), ledger)
    with pytest.raises(InputError, match="no measured network yet") as caught:
        views.report(nothing)
    check_sentence(caught.value)


@pytest.mark.parametrize("margin", [-0.1, 1.0, float("nan")])
def test_a_margin_that_is_no_share_is_refused(numbers: views.OpenedStudy, margin: float) -> None:
    with pytest.raises(InputError, match="margin"):
        views.report(numbers, margin=margin)


# The command that repeats a study


def asked(command: str, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The study that a command line asks for."""
    monkeypatch.delenv("LRP_NETWORK", raising=False)
    program, *words = shlex.split(command)
    assert [program, *words[:3]] == ["python", "-m", "lrp_core", "study"]
    arguments = make_parser().parse_args(words[2:])
    take_network(arguments)
    return asked_study(arguments)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_train": 2000, "rank_images": 300, "epochs": 3, "retrain_epochs": 2},
        {"architecture": "lenet-5", "criteria": ("random", "epsilon-plus"), "strategies": ("elimination", "one-shot")},
        {"modes": ("scratch", "none"), "seeds": (7, 3), "mask_seeds": (1, 2), "keeps": (400, 10, 100)},
        {"statistic": "max-mean-abs", "start": "contrast", "precision": "bfloat16"},
        {"optimizer": "sgd", "lr": 0.1, "batch_size": 64, "patience": 2},
        {"root": str(ROOT / "data" / "mnist"), "lr": 1e-05},
    ],
)
def test_a_named_study_is_asked_for_again(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(**{"keeps": (100, 400)} | changes)
    again = asked(command_of(study) + " --margin 0.5", monkeypatch)
    assert again == study
    assert again.key == study.key


@pytest.mark.parametrize("resplit", [False, True])
def test_a_study_of_your_own_data_is_asked_for_again(
    resplit: bool, tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, labels = np.random.default_rng(0), np.arange(40) % 2
    columns = [f"gene {i}" for i in range(50)]
    file = tmp_path / "my genes.csv"
    pd.DataFrame(random.normal(size=(40, 50)), columns=columns).assign(label=labels).to_csv(file, index=False)
    study = preset("quick", read_data(file), architecture="softmax", resplit=resplit, seeds=(0, 1))
    command = command_of(study).replace("--data DATA", f"--data {shlex.quote(str(file))}")
    assert asked(command, monkeypatch).key == study.key


def test_a_study_of_your_own_network_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef build(n_inputs, n_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(n_inputs, n_classes))\n"
    )
    first = asked(f"python -m lrp_core study --network {tmp_path}/net.py:build --keeps 9 --preset full", monkeypatch)
    command = command_of(first)
    assert f"--network {tmp_path}/net.py:build" in command
    assert asked(command, monkeypatch).key == first.key


def test_what_a_person_has_to_put_in_is_said(series: views.OpenedStudy, pictures: views.OpenedStudy) -> None:
    content = content_of(series)
    assert "DATA stands for" in content.placeholder
    assert series.data.digest in content.placeholder
    assert dict(content.provenance)["Data"] == f"waves, digest {series.data.digest}"


# The command `report`


def test_the_command_writes_a_file(ledger: Ledger, numbers: views.OpenedStudy, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "new" / "report.html"
    assert main(["report", "--study", "numbers", "--margin", "5", "--output", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == str(file)
    assert said["bytes"] == file.stat().st_size
    assert said["finding"] == content_of(numbers, margin=0.05).finding
    assert Page(file.read_text(encoding="utf-8")).text("h1") == "numbers"
    assert main(["report", "--study", numbers.study.key, "--output", str(file)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["report", "--study", numbers.study.key, "--output", str(file), "--overwrite"]) == 0


def test_the_command_refuses_in_a_sentence(
    ledger: Ledger, pictures: views.OpenedStudy, series: views.OpenedStudy, tmp_path: Path, capsys: Any
) -> None:
    page = str(tmp_path / "page.html")
    ledger.announce("twin", "study", "series", series.study.values(), 1)
    for words, said in (
        (["--study", "nothing", "--output", page], "there is no study 'nothing'"),
        (["--study", "series", "--output", page], "2 studies are called 'series'"),
        (["--study", "numbers", "--output", str(tmp_path / "page.pdf")], "page.html"),
        (["--study", pictures.study.key, "--output", page, "--margin", "100"], "margin"),
        (["--study", pictures.study.key, "--output", page, "--address", "ftp://x"], "http"),
    ):
        assert main(["report", *words]) == 2
        captured = capsys.readouterr()
        assert said in captured.err
        assert len(captured.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
    ledger.forget(series.study.key)  # so that one of them is left


# The drawings


def line(*y: float, name: str = "one", low: float = np.nan, high: float = np.nan) -> svg.Line:
    n = len(y)
    return svg.Line(name, tuple(np.linspace(0, 0.9, n)), y, (low,) * n, (high,) * n)


@pytest.mark.parametrize(
    "y",
    [(0.5, 0.5), (0.999, 1.0), (-30.0, 0.2), (0.0, 0.0001), (np.nan, 0.3), (np.nan, np.nan), (0.97123, 0.97124)],
)
def test_every_point_is_in_the_drawing(y: tuple[float, ...]) -> None:
    drawn = svg.curves([line(*y)], says="s", x_title="x", y_title="y", least=-np.inf)
    root = ElementTree.fromstring(drawn)
    *places, _ = root.iter("circle")  # the last one is in the key
    assert len(places) == np.isfinite(y).sum()
    for node in places:
        assert svg.TOP - 0.1 <= float(node.get("cy")) <= svg.TOP + svg.PLOT + 0.1
    ticks = [node.text for node in root.iter("text") if node.get("text-anchor") == "end"]
    assert len(ticks) == len(set(ticks)) >= 2
    assert "nan" not in drawn


def test_names_in_a_drawing_are_text() -> None:
    drawn = svg.curves([line(0.5, 0.4, name='</svg><script>"\x00&')], says="<&>", x_title="<x>", y_title="y")
    root = ElementTree.fromstring(drawn)
    assert not list(root.iter("script"))
    assert root.findtext("title") == "<&>"


def test_a_png_is_read_as_it_was_drawn() -> None:
    kept = np.zeros((5, 9), dtype=bool)
    kept[1, 2] = True
    url = svg.picture(kept, np.ones((5, 9)), tall=10)
    image = Image.open(io.BytesIO(b64decode(url.partition(",")[2])))
    assert image.size == (18, 10)
    assert image.getpixel((4, 2)) == image.getpixel((5, 3)) == (13, 148, 136)
    assert image.getpixel((6, 2)) != (13, 148, 136)
