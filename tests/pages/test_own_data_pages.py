"""Data of one's own in the dashboard: what a file is understood as, and every page for tables and for series."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lrp_core import views
from lrp_core.cli.dashboard import given_study
from lrp_core.data import Dataset, InputGroup, Split, Target
from lrp_core.errors import InputError, StorageError
from lrp_core.study import Study, preset, run_study, trial_at
from lrp_core.study.export import export_trial
from lrp_core.study.ledger import Ledger
from pages._ui import explorer, export_card

from .conftest import PAGES, Stage, staged

pytestmark = pytest.mark.slow

TITLES = [path.stem.split("_", 1)[1].replace("_", " ") for path in sorted(PAGES.glob("[0-9]*.py"))]


def split(shape: tuple[int, ...], n: int, seed: int) -> Split:
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    values = torch.randn(n, *shape, generator=random)
    values.view(n, -1)[:, 1] += 3 * (labels == 1)
    values.view(n, -1)[:, 4] += 3 * (labels == 2)
    return Split(values, labels)


def own(shape: tuple[int, ...], names: tuple[str, ...] | None) -> Dataset:
    parts = (split(shape, n, seed) for seed, n in enumerate((300, 60, 60)))
    return Dataset("own", ("low", "middle", "high"), *parts, input_names=names).standardised()


@pytest.fixture(scope="module", params=["table", "series"])
def stage(request, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp(request.param)
    data = own((6,), tuple(f"sensor {c}" for c in "abcdef")) if request.param == "table" else own((2, 5), None)
    yield from staged(folder, data, keeps=(2, 4), seeds=(0, 1))


def told(stage: Stage) -> dict:
    """What the first page tells the browser."""
    summary = views.summarise(stage.opened)
    best = summary.recommend()
    assert best is not None
    keep = summary.n_groups if best.row is None else int(best.row["keep"])
    return explorer.told(
        summary,
        method=best.method,
        mode=best.mode,
        removed=summary.removed_for(keep),
        margin=0.005,
        drawn=[best.method],
    )


@pytest.mark.parametrize("title", TITLES)
def test_every_page_shows_inputs_that_are_no_images(stage: Stage, title: str) -> None:
    app = stage.open(title)
    assert not app.exception
    assert not [error.value for error in app.error]
    texts = [*(m.value for m in app.markdown), *(c.value for c in app.caption), *(b.label for b in app.slider)]
    spoken = " ".join(text for text in texts if "takes pixels of images away" not in text).lower()
    if title in ("Result", "Savings", "How sure"):
        assert "pixel" not in spoken
        assert "inputs" in spoken
    if title in ("Result", "Why"):
        drawn = " ".join(str(chart.proto) for chart in app.get("plotly_chart"))
        if title == "Result":
            drawn = str(told(stage)["names"])
        name = stage.opened.group_names()[1]
        assert name in drawn
        assert name in ("sensor b", "channel 0, value 1")
    if title == "Why":
        assert any("these data are no images" in text for text in texts)
    if title == "How sure":
        assert "relevance" not in app.get_by_key("part").options


@pytest.mark.parametrize("part", ["ranking", "agreement", "relevance"])
def test_every_part_of_how_sure_shows_inputs_that_are_no_images(stage: Stage, part: str) -> None:
    app = stage.open("How sure", part=part)
    assert not app.exception
    assert not [error.value for error in app.error]
    said = " ".join(str(one.value) for one in (*app.markdown, *app.caption, *app.header))
    assert "pixel" not in said
    if part == "ranking":
        drawn = " ".join(str(chart.proto) for chart in app.get("plotly_chart"))
        assert stage.opened.group_names()[1] in drawn
    if part == "relevance":
        assert "Measured points" in said, "there is no such part for these data"


def test_the_mask_has_the_inputs_by_their_names(stage: Stage) -> None:
    table = stage.opened.rankings.table("lrp-0", 2, 0)
    assert table["place"].tolist() == list(range(1, len(table) + 1))
    assert set(table[table["kept"]]["inputs"].explode()) == {1, 4}, "the two that tell the classes"
    assert (stage.opened.rankings.kept("lrp-0", 2, 0).ravel() == np.isin(range(len(table)), [1, 4])).all()


GROUPED = {
    "table": ((6,), (InputGroup("left", (0, 1), 7.5), InputGroup("right", (3, 4, 5), 2.0))),
    "series": ((2, 5), (InputGroup("accelerometer", tuple(range(5)), 7.5), InputGroup("gyroscope", (5, 6, 7, 8, 9)))),
    "parts of series": ((2, 5), (InputGroup("begin", (0, 1, 5, 6), 7.5), InputGroup("end", (2, 3, 4, 7, 8, 9)))),
    "bands": ((2, 3, 3), (InputGroup("red", tuple(range(9)), 7.5), InputGroup("infrared", tuple(range(9, 18))))),
    "patches": ((1, 4, 4), (InputGroup("corner", (0, 1, 4, 5), 7.5), InputGroup("rest", (2, 3, 6, 7)))),
}


@pytest.fixture(scope="module", params=GROUPED)
def grouped(request, tmp_path_factory: pytest.TempPathFactory):
    shape, groups = GROUPED[request.param]
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    data = replace(own(shape, None), groups=groups)
    yield from staged(folder, data, keeps=(1, 2), seeds=(0, 1), epochs=2)


@pytest.mark.parametrize("title", TITLES)
def test_every_page_shows_groups_with_their_cost(grouped: Stage, title: str) -> None:
    app = grouped.open(title)
    assert not app.exception
    assert not [error.value for error in app.error]
    texts = [*(m.value for m in app.markdown), *(c.value for c in app.caption), *(b.label for b in app.slider)]
    if title in ("Result", "Savings", "How sure"):
        assert "groups" in " ".join(texts).lower()
    if title == "Result":
        shown, n = told(grouped), grouped.opened.n_groups
        assert shown["places"][0]["input_cost"] == float(grouped.opened.data.costs.sum())
        place = shown["places"][shown["at"]]
        keep = place["keep"]
        own = grouped.opened.curve()
        own = own[(own["method"] == app.session_state["method"]) & (own["keep"] == keep)]
        assert place["input_cost"] == pytest.approx(
            own["input_cost"].iloc[0] if keep < n else shown["places"][0]["input_cost"]
        )
        assert shown["axes"]["x"] == "Groups removed (%)"
        assert "image" not in str(shown["words"].values()) or grouped.opened.are_images
    if title == "Savings":
        assert "that it reads cost" in " ".join(texts)
    if title in ("Savings", "How sure"):
        drawn = " ".join(str(chart.proto) for chart in app.get("plotly_chart"))
        assert "Groups removed (%)" in drawn
        assert "Inputs removed" not in drawn
        assert "one image" not in drawn or grouped.opened.are_images
    if title == "Why":
        charts = {chart.proto.id.rsplit("-", 1)[-1]: str(chart.proto) for chart in app.get("plotly_chart")}
        by_name = charts["groups"] if grouped.opened.are_images else charts["heat"]
        assert all(name in by_name for name in grouped.opened.group_names()[:2])


def test_pictures_that_the_network_can_read_are_taken(grouped: Stage) -> None:
    app = grouped.open("Why")
    assert not app.exception
    said = [*(caption.value for caption in app.caption)]
    assert "source" not in [group.key for group in app.button_group], "the inputs are standardised, and no pixels"
    if grouped.opened.are_images:
        assert any("test images alone" in text for text in said)
        assert "Take 15\u00a0% of the" in " ".join(header.value for header in app.header)
    else:
        assert any("these data are no images" in text for text in said)


@pytest.mark.parametrize("part", ["ranking", "agreement"])
def test_every_part_of_how_sure_shows_groups(grouped: Stage, part: str) -> None:
    app = grouped.open("How sure", part=part)
    assert not app.exception
    assert not [error.value for error in app.error]
    assert "groups" in " ".join(str(one.value) for one in (*app.markdown, *app.caption, *app.header))


def test_groups_are_drawn_as_what_they_are(grouped: Stage) -> None:
    drawn = {"table": "bars", "series": "series", "bands": "bars", "parts of series": "series", "patches": "picture"}
    assert grouped.opened.drawn_as == drawn[grouped.ledger.folder.name.rstrip("0123456789").replace("-", " ")]


def test_a_file_of_groups_is_dropped_beside_the_table(frame: pd.DataFrame) -> None:
    groups = b"group,input,cost\nbody,weight,3\nbody,height,\n"
    data = views.read_upload(csv(frame), "people.csv", label="outcome", drop=("patient",), group_file=(groups, "g.csv"))
    picture = views.picture_of_data(data)
    assert picture.summary == "60 rows of 3 inputs in 2 groups, 2 classes"
    assert picture.inputs["group"].tolist() == ["body", "body", "age"]
    assert picture.inputs["cost of the group"].tolist() == [3.0, 3.0, 0.0]
    with pytest.raises(InputError, match=r"^g.csv line 2 names 'sensor'"):
        views.read_upload(csv(frame), "p.csv", label="outcome", group_file=(b"group,cost\nsensor,2\n", "../../g.csv"))


@pytest.fixture(scope="module", params=["table", "series", "images"])
def numbers(request, tmp_path_factory: pytest.TempPathFactory):
    shape = {"table": (6,), "series": (2, 5), "images": (1, 4, 4)}[request.param]
    folder = tmp_path_factory.mktemp(f"numbers-{request.param}")
    parts = []
    for seed, n in enumerate((300, 60, 60)):
        rows = torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))
        parts.append(Split(rows, rows.flatten(1)[:, 1] - rows.flatten(1)[:, 4], numbers=True))
    data = Dataset("own", (), *parts, target=Target("yield", 50.0, 4.0))
    yield from staged(folder, data, keeps=(2, 4), seeds=(0, 1), epochs=20)


@pytest.mark.parametrize("title", TITLES)
def test_every_page_shows_predicted_numbers(numbers: Stage, title: str) -> None:
    app = numbers.open(title)
    assert not app.exception
    assert not [error.value for error in app.error]
    texts = [*(m.value for m in app.markdown), *(c.value for c in app.caption), *(m.label for m in app.metric)]
    spoken = " ".join(texts)
    if title in ("Result", "Savings", "How sure"):
        assert "R²" in spoken
        assert "accuracy" not in spoken.lower()
    if title == "Why":
        assert "for a class" not in spoken
        assert "The network predicts **" in spoken
        assert "for yield" in spoken
        assert "numbers to predict" in spoken


def test_the_card_says_how_to_predict_numbers(numbers: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of Python that the page shows run as they are."""
    study, data = numbers.study, numbers.opened.data
    trial = trial_at(study, data, method="lrp-0", keep=2, mode=study.modes[0], seed=0)
    made = export_trial(trial, tmp_path / "small-network", numbers.ledger)
    text = export_card.readme(made.card)
    assert "R² on 60 test" in text
    lines = text.split("From Python:\n\n")[1]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec("\n".join(line.removeprefix("    ") for line in lines.splitlines()), names)
    assert names["numbers"].shape == (1,)


@pytest.mark.parametrize("architecture", ["cnn-1d", "transformer-1d"])
def test_a_network_for_series_is_explained_layer_by_layer(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRP_CACHE", str(tmp_path))
    data = own((2, 24), None)
    study = preset("quick", data, architecture=architecture, keeps=(12,), seeds=(0,), epochs=1, retrain_epochs=1)
    for _ in run_study(study, Ledger(tmp_path), name="own", jobs=1):
        pass
    app = Stage(Ledger(tmp_path), study).open("Why")
    assert not app.exception
    assert not [error.value for error in app.error]
    drawn = {chart.proto.id for chart in app.get("plotly_chart")}
    hidden = {"cnn-1d": ("conv1", "conv2", "fc1"), "transformer-1d": ("embed", "block1.linear1", "norm")}[architecture]
    assert all(any(one.endswith(f"layer-{name}") for one in drawn) for name in hidden)


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


@pytest.fixture
def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(60, 3)), columns=["weight", "height", "age"])
    return frame.assign(patient=np.arange(60) // 3, outcome=np.where(frame["age"] > 0, "ill", "well"))


def test_a_file_is_understood_corrected_and_pictured(frame: pd.DataFrame) -> None:
    content = csv(frame)
    assert views.columns_of(content, "p.csv") == list(frame.columns)
    data = views.read_upload(content, "people.csv", label="outcome", drop=("patient",))
    assert data.name == "people"
    picture = views.picture_of_data(data)
    assert picture.summary == "60 rows of 3 inputs, 2 classes"
    assert picture.parts[["training", "validation", "test"]].to_numpy().sum() == 60
    assert picture.inputs["input"].tolist() == ["weight", "height", "age"]
    train = frame.iloc[sorted(data.train.indices.tolist())]
    means = train[["weight", "height", "age"]].mean().to_numpy()
    assert picture.inputs["mean"].to_numpy() == pytest.approx(means, abs=1e-4)
    study = views.own_study(data)
    choice = views.choice_of_data(study)
    assert views.data_of_choice(choice) == {"dataset": "people", "digest": data.digest}
    assert "yours, 60 rows of 3 inputs" in views.data_choices()[choice]
    with pytest.raises(InputError, match="no longer kept"):
        views.data_of_choice("own:0123")


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_columns_of_other_files(frame: pd.DataFrame, suffix: str) -> None:
    buffer = io.BytesIO()
    if suffix == "npz":
        np.savez(buffer, X=frame[["age"]].to_numpy(), y=frame["patient"].to_numpy())
    else:
        frame.to_parquet(buffer)
    expected = ["X", "y"] if suffix == "npz" else list(frame.columns)
    assert views.columns_of(buffer.getvalue(), f"f.{suffix}") == expected
    assert views.columns_of(b"garbage", f"f.{suffix}") == []


def test_a_refusal_names_the_file_and_not_where_it_was_put(tmp_path: Path) -> None:
    with pytest.raises((InputError, StorageError)) as caught:
        views.read_upload(b"a,b\n1,x\n2", "mine.csv")
    assert "mine.csv" in str(caught.value)
    assert "/" not in str(caught.value)
    with pytest.raises((InputError, StorageError)):
        views.read_upload(b"x", "../../evil.csv")
    assert not list(tmp_path.iterdir())


def test_the_page_takes_a_file_and_fills_the_form(frame: pd.DataFrame, small: Stage) -> None:
    app = small.open("Studies")
    app.get("file_uploader")[0].set_value([("people.csv", csv(frame), "text/csv")]).run()
    assert not app.exception
    app.selectbox(key="own-label").set_value("outcome").run()
    app.multiselect(key="own-drop").set_value(["patient"]).run()
    assert any("60 rows of 3 inputs, 2 classes" in m.value for m in app.markdown)
    app.button(key="own-use").click().run()
    assert not app.exception
    assert app.selectbox(key="new-dataset").value.startswith("own:")
    assert "networks" in " ".join(m.value for m in app.markdown)


def test_what_the_dashboard_is_started_with(
    frame: pd.DataFrame, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "people.csv").write_bytes(csv(frame))
    words = ["--data", str(tmp_path / "people.csv"), "--label", "outcome", "--drop", "patient"]
    study = given_study(tuple(words))
    assert study is not None
    assert (study.dataset, study.data().n_inputs) == ("people", 3)
    assert given_study(()) is None
    with pytest.raises(InputError, match="does not know"):
        given_study(("--nonsense",))
    with pytest.raises((InputError, StorageError), match="nowhere"):
        given_study(("--data", str(tmp_path / "nowhere.csv")))
    started = []

    def start(study: Study, ledger: Ledger, name: str) -> None:
        started.append(study)
        ledger.announce(study.key, "study", name, study.values(), 0)

    monkeypatch.setattr(sys, "argv", ["app.py", *words])
    monkeypatch.setattr("lrp_core.study.launch.start_study", start)
    stage = Stage(Ledger(own_cache), study)
    app = stage.open("Result")
    assert [one.key for one in started] == [study.key]
    assert app.selectbox(key="study").value == study.key
    assert not stage.open("Result").exception
    assert len(started) == 1, "it is there by then"
