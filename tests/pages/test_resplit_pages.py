"""Pages of a study whose seeds have splits of their own, of different sizes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import lrp_core.study.launch
from lrp_core.data import read_data

from .conftest import PAGES, Stage, staged
from .test_pages import texts

pytestmark = pytest.mark.slow

TITLES = [path.stem.split("_", 1)[1].replace("_", " ") for path in sorted(PAGES.glob("[0-9]*.py"))]
SEEDS = tuple(range(6))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Images of two classes, lit in the left or in the right half; groups of one to five belong together."""
    folder = tmp_path_factory.mktemp("resplit")
    who = np.repeat(np.arange(30), [1 + i % 5 for i in range(30)])
    labels = np.arange(len(who)) % 2
    images = np.random.default_rng(0).integers(0, 90, (len(who), 1, 6, 6)).astype(np.uint8)
    images[labels == 0, :, :, :3] += 120
    images[labels == 1, :, :, 3:] += 120
    data = read_data({"X": images, "y": labels, "who": who}, groups_column="who", name="halves")
    yield from staged(folder, data, "halves", keeps=(6, 18), seeds=SEEDS, resplit=True)


@pytest.mark.parametrize("title", TITLES)
def test_every_page_opens(stage: Stage, title: str) -> None:
    app = stage.open(title)
    assert not app.exception
    assert not [error.value for error in app.error]
    assert "6 splits, " in texts(app)
    if title == "Result":
        assert ", 6 splits.]" in texts(app)
    if title == "How sure":
        assert "over 6 splits of the rows" in texts(app) + " ".join(box.value for box in app.success)
        assert "intervals over splits" in " ".join(caption.value for caption in app.caption)


def test_an_image_that_another_split_does_not_have(stage: Stage) -> None:
    sizes = {seed: len(stage.study.data(seed).test) for seed in SEEDS}
    most, least = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    assert sizes[least] < sizes[most]
    app = stage.open("Why", seed=str(most))
    app.number_input(key="image").set_value(sizes[most] - 1).run()
    assert not app.exception
    app.selectbox(key="seed").set_value(least).run()
    assert not app.exception
    assert app.number_input(key="image").value == sizes[least] - 1
    data = stage.study.data(least)
    [image] = app.get("image")[0].proto.imgs
    assert image.alt == f"Test image {sizes[least] - 1}, {data.classes[int(data.test.labels[-1])]}"


def test_the_box_is_there_for_data_that_can_be_split_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(lrp_core.study.launch, "start_study", lambda study, *_, **__: started.append(study))
    app = stage.open("Studies")
    app.button(key="use").click().run()
    assert app.checkbox(key="new-resplit").value
    assert "Each seed draws its own" in texts(app)
    app.text_input(key="new-masks").set_value("0 1").run()
    assert "mask seeds 0, 1 cannot go with a split for each seed" in app.error[0].value.lower()
    app.text_input(key="new-masks").set_value("").run()
    app.text_input(key="new-shares").set_value("50").run()
    app.button(key="start").click().run()
    app.checkbox(key="new-resplit").uncheck().run()
    app.button(key="start").click().run()
    assert [study.resplit for study in started] == [True, False]
    app.checkbox(key="new-resplit").check().run()
    app.selectbox(key="new-dataset").set_value("mnist").run()
    assert not app.exception
    assert "new-resplit" not in [box.key for box in app.checkbox]
    app.button(key="start").click().run()
    assert not started[-1].resplit
