"""The page to try a study out on, run without a browser: what it sends to the desk, and what it says beside it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lrp_core import views
from lrp_core.study import run_study
from lrp_core.views.trying import Pair, Trying
from pages._ui import drawing, jobs, trying, trying_charts, trying_gallery
from tests.support import rerun_until

from .conftest import SMALL, Stage
from .test_pages import texts

pytestmark = pytest.mark.slow

PAGE = "Try it"
PLACE = {"method": "lrp-0", "mode": "fine-tune", "seed": 1}


@pytest.fixture(autouse=True)
def no_idling(monkeypatch):
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 0.0)


def components(app) -> dict[str, dict[str, Any]]:
    """What the page sent to its components, by what they hold: the desk's networks, the gallery's tiles."""
    sent = [json.loads(element.proto.json) for element in app.get("bidi_component")]
    return {name: data for data in sent for name in ("networks", "tiles") if name in data}


def source(app, name: str):
    return app.get_by_key(trying.SOURCE).set_value(name).run()


def kept(card: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(card["kept"]), np.uint8) > 0


def test_a_first_visit_finds_a_drawing_and_two_answers(small: Stage) -> None:
    app = small.open(PAGE, removed="49")
    assert not app.exception
    assert not app.error
    desk = components(app)["networks"]
    full, less = desk["networks"]
    assert desk["sheet"]["isReady"]
    assert desk["title"] == "Your drawing"
    assert full["answer"] in SMALL.data().classes
    assert less["verdict"] in ("the same answer", "another answer")
    assert kept(full).all()
    assert kept(less).sum() == 400
    assert desk["said"].startswith(f"The full network says {full['answer']}, ")
    opened = small.opened
    picture = opened.removals.picture_of_file(drawing.ready(), "the drawing", is_drawing=True)
    pair = opened.trying.pair(**PLACE, keep=400)
    answers = opened.trying.answers(pair, picture.pixels)
    np.testing.assert_allclose(less["probabilities"], answers[1].probabilities, atol=1e-4)
    np.testing.assert_array_equal(kept(less), answers[1].kept)


def test_a_test_image_is_judged(small: Stage) -> None:
    app = source(small.open(PAGE, removed="49", image="7"), "Test image")
    assert not app.exception
    desk = components(app)["networks"]
    label = int(SMALL.data().test.labels[7])
    assert desk["label"] == label
    assert desk["sheet"] is None
    for card in desk["networks"]:
        assert card["verdict"] == ("right" if card["says"] == label else "wrong")
    app.number_input(key="image").set_value(8).run()
    assert components(app)["networks"]["title"].startswith("Test image 8")


def test_the_gallery_has_what_breaks_and_opens_it(small: Stage) -> None:
    app = small.open(PAGE, removed="87")
    pair = small.opened.trying.pair(**PLACE, keep=100)
    recorded = small.opened.testing.recorded(pair)
    assert recorded is not None
    broken = set(recorded.positions("break").tolist())
    tiles = components(app)["tiles"]["tiles"]
    assert 0 < len(tiles) <= 24
    assert {tile["index"] for tile in tiles} <= broken
    assert f"{len(broken):,} break" in texts(app)
    app.button(key="try-more").click().run()
    assert len(components(app)["tiles"]["tiles"]) == min(48, len(broken))
    app.get_by_key("try-kind").set_value("heal").run()
    healed = set(recorded.positions("heal").tolist())
    assert {tile["index"] for tile in components(app)["tiles"]["tiles"]} <= healed
    assert "Nothing is chosen by these images" in texts(app)


def test_off_the_grid_the_nearest_stands_in_until_it_is_trained(small: Stage) -> None:
    app = small.open(PAGE, removed="60")
    assert "You see the nearest one that is here: it reads 400 of 784 pixels." in texts(app)
    assert kept(components(app)["networks"]["networks"][1]).sum() == 400
    button = app.button(key="try-train")
    assert button.label.startswith("Train exactly this one")
    button.click().run()
    rerun_until(app, lambda: "You see the nearest one" not in texts(app), "the network at this place")
    assert kept(components(app)["networks"]["networks"][1]).sum() == 314
    assert not app.error


def test_without_weights_the_results_are_there_and_the_networks_are_made_when_asked(small: Stage, monkeypatch) -> None:
    monkeypatch.setattr(Trying, "is_ready", lambda part, pair: False)
    app = small.open(PAGE, removed="49")
    assert "the results are here, the networks are not" in texts(app)
    assert app.button(key="try-train").label.startswith("Train these two networks here")
    assert "networks" not in components(app)
    tiles = components(app)["tiles"]["tiles"]
    assert tiles
    assert all("\N{RIGHTWARDS ARROW}" not in tile["text"] for tile in tiles)  # what the small one says is not known
    assert not app.exception
    asked: list[Pair] = []
    monkeypatch.setattr(Trying, "make", lambda part, pair, report: asked.append(pair))
    app.button(key="try-train").click().run()
    rerun_until(app, lambda: asked, "the networks that were asked for")
    assert asked == [small.opened.trying.pair(**PLACE, keep=400)]


def test_a_study_that_ended_early_offers_to_train_the_two(empty) -> None:
    study = replace(SMALL, seeds=(1,), criteria=("lrp-0",))
    steps = run_study(study, empty, name="cut", jobs=1)
    next(steps)
    steps.close()
    app = Stage(empty, study).open(PAGE, removed="49")
    assert not app.exception
    assert "networks" not in components(app)
    assert "The study ended before its networks were trained" in texts(app)
    app.button(key="try-train").click().run()
    rerun_until(app, lambda: "networks" in components(app), "the two networks")
    assert kept(components(app)["networks"]["networks"][1]).sum() == 400


@pytest.mark.parametrize(
    "drawn", ["text", {"n": "1"}, {"n": 1, "png": "data:image/png;base64,AAA"}, {"n": 2, "png": 3}]
)
def test_what_the_browser_sends_is_not_trusted(monkeypatch, drawn: Any) -> None:
    monkeypatch.setattr(trying.st, "session_state", {trying.DESK: {"drawn": drawn}})
    png, n = trying._drawn()
    assert png == b""
    assert isinstance(n, int)


def test_an_empty_sheet_waits(small: Stage) -> None:
    app = small.open(PAGE, removed="49")
    app.session_state[trying.DRAWING] = b""
    app.run()
    cards = components(app)["networks"]["networks"]
    assert [card["answer"] for card in cards] == [None, None]
    assert kept(cards[1]).sum() == 400


def test_the_ready_drawing_is_ink_on_nothing() -> None:
    picture = np.array(Image.open(BytesIO(drawing.ready())))
    assert picture.shape == (280, 280, 2)
    assert picture[0, 0, 1] == 0
    assert 0.05 < (picture[:, :, 1] > 0).mean() < 0.4


def test_tiles_say_what_is_wrong() -> None:
    table = pd.DataFrame({"index": [4], "label": [1], "full": [1], "small": [0], "sure": [0.93]})
    [tile] = trying_gallery.tiles(table, [b"png"], ("cat", "dog"), "break", 4)
    assert tile["text"] == "dog \N{RIGHTWARDS ARROW} cat"
    assert tile["name"] == "Test image 4, of class dog: the small network says cat (93 %)"
    assert tile["isOpen"]


def test_figures_hold_every_count() -> None:
    before, after = np.array([[5, 1], [2, 4]]), np.array([[4, 2], [2, 4]])
    figure = trying_charts.confusion(before, ("a", "b"))
    assert sorted(figure.data[-1].text) == ["1", "2", "4", "5"]
    change = trying_charts.change(after - before, ("a", "b"))
    assert sorted(change.data[-1].text) == ["+1", "-1"]
    assert change.data[0].z[0][0] > 0  # a right answer less is a change for the worse, too
    many = tuple(f"class {i}" for i in range(30))
    assert len(trying_charts.confusion(np.eye(30, dtype=int), many).data) == 2
    tested = views.Tested(np.array([0, 0, 1]), np.array([True, True, False]), np.array([True, False, True]))
    bars = trying_charts.class_changes(tested.by_class(("a", "b")))
    assert list(bars.data[0].x) == [-1, 0]
    assert list(bars.data[1].x) == [0, 1]


def test_a_picture_file_is_asked_about(small: Stage) -> None:
    pixels = (255 * SMALL.data().test.inputs[3, 0].numpy()).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    app = source(small.open(PAGE, removed="49"), "Upload")
    assert components(app)["networks"]["hint"] == "Choose a file above."
    app.file_uploader[0].upload("three.png", buffer.getvalue(), "image/png").run()
    assert not app.exception
    desk = components(app)["networks"]
    sent = np.frombuffer(base64.b64decode(desk["pixels"]), np.uint8).reshape(28, 28)
    np.testing.assert_array_equal(sent, pixels)
    assert all(card["answer"] is not None for card in desk["networks"])
