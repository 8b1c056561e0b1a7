"""The page Why, run without a browser: one image from its answer to its layers."""

from __future__ import annotations

import base64
import shutil
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

from lrp_core import views
from lrp_core.data import load_dataset
from lrp_core.evaluation import Removal, removal_criteria
from lrp_core.study.ledger import Ledger
from lrp_core.study.stages import base_network
from lrp_core.views.images import Images
from pages._ui import drawing, jobs, removal
from tests.support import rerun_until

from .conftest import SMALL, Stage
from .test_pages import texts

pytestmark = pytest.mark.slow

PAGE = "Why"


@pytest.fixture(autouse=True)
def no_idling(monkeypatch):
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 0.0)


def source(app, name: str):
    """Choose where the picture comes from."""
    return app.get_by_key("source").set_value(name).run()


def png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def heads(app) -> list[str]:
    """The sections, from top to bottom."""
    return [header.value for header in app.header]


def drawn(app) -> list[str]:
    """What each picture is called for those who do not see it."""
    return [one.alt for shown in app.get("image") for one in shown.proto.imgs]


def test_the_story_goes_from_the_answer_to_the_layers(small):
    app = small.open(PAGE, image="4")
    assert not app.exception
    assert not app.error
    found = small.opened.images.explain(seed=1, index=4, composite="epsilon-plus")
    says = int(found.probabilities.argmax())
    sure = f"{100 * found.probabilities.max():.1f}\u00a0%"
    assert heads(app) == [
        f"The network says {says}, {sure} sure",
        "Take 15\u00a0% of the pixels away",
        "Layer by layer",
    ]
    assert [expander.label for expander in app.expander] == ["Conservation: what each layer handed on"]
    assert drawn(app)[0] == "Test image 4, 4"


def test_the_three_pictures_are_named_by_what_was_removed(small):
    app = small.open(PAGE, image="4")
    bold = [text.value for text in app.markdown]
    names = ["**Original**", "**Without the 15\u00a0% least relevant**", "**Without the 15\u00a0% most relevant**"]
    assert [text for text in bold if text in names] == names
    assert "Without the 118 least relevant pixels" in texts(app)
    assert "118 of 784 pixels go" in texts(app)
    app.slider(key="share").set_value(50).run()
    assert "Without the 392 least relevant pixels" in texts(app)
    assert "Take 50\u00a0% of the pixels away" in heads(app)
    assert "**Without the 50\u00a0% most relevant**" in [text.value for text in app.markdown]


def test_what_is_said_of_the_pictures_is_measured(small):
    app = small.open(PAGE, image="4", share="30")
    removals = small.opened.removals
    picture = removals.picture_of_test(4, 1)
    scores = removals.relevance(picture.pixels, 1, "epsilon-plus", "logit")
    found = removals.remove(picture, scores, 1, views.Removal("signed", "all", "zero", 1), 0.3).table
    for row in found.to_dict("records"):
        assert f"The network says **{row['prediction']}**" in texts(app)
        assert f"{100 * row['confidence']:.1f}\u00a0% sure" in texts(app)


def test_a_link_sets_every_control(small):
    query = {"image": "9", "share": "30", "rules": "gamma", "order": "magnitude", "fill": "ROAD", "start": "contrast"}
    app = small.open(PAGE, **query, scope="those lit in the image")
    assert not app.error
    shown = {key: app.selectbox(key=key).value for key in ("rules", "order", "fill", "start", "scope")}
    assert shown == {"rules": "gamma", "order": "magnitude", "fill": "road", "start": "contrast", "scope": "lit"}
    lit = int((load_dataset("mnist").test.pixels[9] > 0).sum())
    assert f"of {lit} pixels go" in texts(app)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"by": "gradient"}, "gradient"),
        ({"by": "gamma", "rules": "w2"}, "w2"),
        ({"by": "magic"}, removal.RULES),
        ({}, removal.RULES),
    ],
)
def test_links_of_earlier_versions_say_by(small, query, expected):
    app = small.open(PAGE, **query)
    assert not app.exception
    assert app.selectbox(key="rules").value == expected
    app.selectbox(key="rules").set_value("lrp-0").run()
    assert app.selectbox(key="rules").value == "lrp-0"


def test_what_is_no_rule_has_no_layers(small):
    app = small.open(PAGE, rules="random")
    assert not app.exception
    assert "random passes through no layers" in texts(app)
    assert not app.expander


def test_the_relevance_that_is_shown_is_the_one_that_goes(small):
    """For a class of a person's choice as well: the picture and the removal have one order."""
    app = small.open(PAGE, image="4")
    before = texts(app)
    app.selectbox(key="target").set_value(8).run()
    assert "Explained is class **8**" in texts(app)
    removals = small.opened.removals
    picture = removals.picture_of_test(4, 1)
    scores = removals.relevance(picture.pixels, 1, "epsilon-plus", "logit", target=8)
    found = small.opened.images.explain(seed=1, index=4, composite="epsilon-plus", target=8)
    np.testing.assert_allclose(scores.sum(0), found.relevance, rtol=1e-4, atol=1e-6)
    sure = removals.remove(picture, scores, 1, views.Removal("signed", "all", "zero", 1), 0.15).table["confidence"]
    assert f"{100 * sure[2]:.1f}\u00a0% sure" in texts(app)
    assert texts(app) != before


def test_the_image_buttons_stay_within_the_class(small):
    app = small.open(PAGE)
    app.selectbox(key="class").set_value(3).run()
    labels = load_dataset("mnist").test.labels
    for button in ("Next", "Next", "Previous", "Random"):
        [found] = [b for b in app.button if b.label == button]
        found.click().run()
        assert not app.exception
        assert int(labels[app.number_input(key="image").value]) == 3


def test_a_study_measured_elsewhere_trains_its_network_when_asked(small_cache, tmp_path, monkeypatch):
    """Its results are here, its weights are not: nothing is trained before someone asks for it."""
    folder = tmp_path / "cache"
    shutil.copytree(small_cache, folder)
    for stored in folder.rglob("train_base"):
        shutil.rmtree(stored)
    base_network.cache_clear()
    monkeypatch.setenv("LRP_CACHE", str(folder))
    stage = Stage(Ledger(folder), SMALL)
    trained = []
    train = Images.train
    monkeypatch.setattr(Images, "train", lambda *a: trained.append(a[1]) or train(*a))
    app = stage.open(PAGE, seed="2")
    assert not app.exception
    assert "Its results are here, its weights are not" in texts(app)
    assert not heads(app)
    assert "wrong" not in [toggle.key for toggle in app.toggle], "which are wrong takes the network"
    assert not stage.opened.images.is_trained(2)
    assert not trained
    app.button(key="train-here").click().run()
    rerun_until(app, lambda: heads(app), "the explanation")
    assert trained == [2]
    assert "Layer by layer" in heads(app)
    for part in ("result", "ranking", "agreement"):
        shown = stage.open("How sure", part=part, seed="1")
        assert not shown.exception
        assert heads(shown), part
    assert "its weights are not" in texts(stage.open("How sure", part="relevance", seed="1", share="44"))
    assert not stage.opened.images.is_trained(1)


def test_a_network_that_is_not_there_yet_is_named(small, monkeypatch):
    monkeypatch.setattr(views.OpenedStudy, "baseline_is_ready", lambda *a: False)
    app = small.open(PAGE)
    assert not app.exception
    assert "seed 1 is not trained yet" in texts(app)
    assert not heads(app)


@pytest.mark.parametrize("fill", list(removal.FILLS))
@pytest.mark.parametrize("scope", list(removal.SCOPES))
def test_every_fill_and_scope_has_pictures(small, fill, scope):
    removals = small.opened.removals
    picture = removals.picture_of_test(3, 1)
    scores = removals.relevance(picture.pixels, 2, "epsilon-plus", "logit")
    found = removals.remove(picture, scores, 2, Removal("signed", scope, fill, 2), 0.15)
    assert found.removed[1:].sum((1, 2)).tolist() == found.table["removed"].tolist()[1:]


@pytest.mark.parametrize("criterion", removal_criteria())
def test_every_criterion_explains_a_picture(small, criterion):
    removals = small.opened.removals
    scores = removals.relevance(removals.picture_of_test(3, 1).pixels, 1, criterion, "logit")
    assert scores.shape == (1, 28, 28)


def test_only_misclassified_images(small):
    app = small.open(PAGE)
    app.toggle(key="wrong").set_value(True).run()
    wrong = small.opened.removals.wrong_indices(1)
    assert app.number_input(key="image").value == next(i for i in wrong if i >= 0)
    assert "That is wrong: it is" in texts(app)
    app.selectbox(key="class").set_value(5).run()
    for label in ("Next", "Previous", "Random"):
        [button] = [b for b in app.button if b.label == label]
        button.click().run()
        assert app.number_input(key="image").value in small.opened.removals.wrong_indices(1, 5)


def test_an_own_picture_is_converted_and_classified(small):
    app = source(small.open(PAGE), "Own picture")
    assert "as soon as there is a picture" in texts(app)
    pixels = np.array(Image.fromarray(255 - load_dataset("mnist").test.pixels[1, 0].numpy()).resize((120, 160)))
    app.file_uploader[0].upload("two.png", png(pixels)).run()
    assert not app.error
    assert "inverted, because its ground is light; its ink scaled and centred" in texts(app)
    assert "Without the 118 least relevant pixels" in texts(app)
    assert "badge[right]" not in texts(app)


def test_what_is_no_picture_is_refused_and_the_page_goes_on(small):
    app = source(small.open(PAGE), "Own picture")
    app.file_uploader[0].upload("two.png", b"this is no picture").run()
    assert not app.exception
    assert [error.value for error in app.error] == [
        "Two.png is damaged, or no image that can be read: give a PNG or JPEG file."
    ]
    assert "as soon as there is a picture" in texts(app)


def test_a_blank_picture_is_refused_where_only_lit_pixels_count(small):
    app = source(small.open(PAGE, scope="those lit in the image"), "Own picture")
    app.file_uploader[0].upload("blank.png", png(np.zeros((28, 28), np.uint8))).run()
    assert not app.exception
    assert "has no lit pixel" in app.error[0].value


def test_an_empty_sheet_has_no_pictures_yet(small):
    app = source(small.open(PAGE), "Drawing")
    assert not app.exception
    assert "as soon as there is a picture" in texts(app)


@given(some.none() | some.integers() | some.text() | some.text().map("data:image/png;base64,{}".format))
def test_whatever_the_browser_sends_is_bytes_or_nothing(sent):
    assert isinstance(drawing.decoded(sent), bytes | None)


def test_a_drawing_comes_back():
    content = png(np.zeros((4, 4), np.uint8))
    assert drawing.decoded("data:image/png;base64," + base64.b64encode(content).decode()) == content
