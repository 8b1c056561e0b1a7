"""The page on feature removal, run without a browser, and what it draws."""

from __future__ import annotations

import base64
import threading
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

from lrp_core.data import load_dataset
from lrp_core.errors import Cancelled
from lrp_core.evaluation import Removal, removal_criteria
from pages._ui import charts_removal, drawing, jobs, removal
from tests.support import rerun_until, wait_until

from .test_pages import texts

pytestmark = pytest.mark.slow

PAGE = "Feature removal"


@pytest.fixture(autouse=True)
def no_idling(monkeypatch):
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 0.0)


def settled(app):
    """Run the page until nothing is being measured."""
    return rerun_until(app, lambda: not app.get("progress"), "the end of what is measured")


def source(app, name: str):
    """Choose where the picture comes from."""
    return app.get_by_key("source").set_value(name).run()


def png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_slider_moves_the_pictures_and_the_test_set(small):
    app = settled(small.open(PAGE, image="4"))
    assert not app.exception
    assert not app.error
    assert "without the 118 least relevant inputs" in texts(app)
    assert "118 of 784 pixels go" in texts(app)
    assert "Without the least relevant 15% of the inputs the network is right on" in texts(app)
    app.slider(key="share").set_value(50).run()
    assert "without the 392 least relevant inputs" in texts(app)
    settled(app)
    assert "Without the least relevant 50% of the inputs the network is right on" in texts(app)


@pytest.mark.slow
def test_a_link_sets_every_control(small):
    query = {"image": "9", "share": "30", "by": "gradient", "order": "magnitude", "fill": "ROAD", "start": "contrast"}
    app = settled(small.open(PAGE, **query, scope="those lit in the image"))
    assert not app.error
    shown = {key: app.selectbox(key=key).value for key in ("by", "order", "fill", "start", "scope")}
    assert shown == {"by": "gradient", "order": "magnitude", "fill": "road", "start": "contrast", "scope": "lit"}
    lit = int((load_dataset("mnist").test.pixels[9] > 0).sum())
    assert f"of {lit} pixels go" in texts(app)
    assert "of the lit inputs" in texts(app)


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


def test_the_table_has_each_class_and_the_intervals(small):
    app = settled(small.open(PAGE))
    whole, by_class, _ = (table.value for table in app.dataframe)
    assert list(whole["image"]) == ["Original", "Important features", "Unimportant features"]
    assert len(by_class) == 3 * 10
    assert whole["accuracy"].str.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)").all()
    assert whole["removed"].tolist() == [0, 118, 118]


def test_the_curves_follow_their_controls(small):
    app = settled(small.open(PAGE))
    assert set(app.dataframe[-1].value["criterion"]) == {
        "epsilon-plus", "gradient-x-input", "data-set", "random"
    }  # fmt: skip
    app.multiselect(key="others").set_value(["centre"]).run()
    app.selectbox(key="images").set_value(500).run()
    app.selectbox(key="measure").set_value("accuracy").run()
    settled(app)
    assert not app.exception
    assert set(app.dataframe[-1].value["criterion"]) == {"epsilon-plus", "centre"}


def test_only_misclassified_images(small):
    app = small.open(PAGE)
    app.toggle(key="wrong").set_value(True).run()
    wrong = small.opened.removals.wrong_indices(1)
    assert app.number_input(key="image").value == next(i for i in wrong if i >= 0)
    assert "(wrong)" in texts(app)
    app.selectbox(key="class").set_value(5).run()
    for label in ("Next", "Previous", "Random"):
        [button] = [b for b in app.button if b.label == label]
        button.click().run()
        assert app.number_input(key="image").value in small.opened.removals.wrong_indices(1, 5)


def test_an_own_picture_is_converted_and_classified(small):
    app = source(small.open(PAGE), "Own picture")
    assert "as soon as there is one" in texts(app)
    pixels = np.array(Image.fromarray(255 - load_dataset("mnist").test.pixels[1, 0].numpy()).resize((120, 160)))
    app.file_uploader[0].upload("two.png", png(pixels)).run()
    assert not app.error
    assert "inverted, because its ground is light; its ink scaled and centred" in texts(app)
    assert "without the 118 least relevant inputs" in texts(app)
    assert "badge[right]" not in texts(app)


def test_what_is_no_picture_is_refused_and_the_page_goes_on(small):
    app = source(small.open(PAGE), "Own picture")
    app.file_uploader[0].upload("two.png", b"this is no picture").run()
    assert not app.exception
    assert [error.value for error in app.error] == [
        "Two.png is damaged, or no image that can be read: give a PNG or JPEG file."
    ]
    settled(app)
    assert "Without the least relevant" in texts(app)


def test_a_blank_picture_is_refused_where_only_lit_pixels_count(small):
    app = source(small.open(PAGE, scope="those lit in the image"), "Own picture")
    app.file_uploader[0].upload("blank.png", png(np.zeros((28, 28), np.uint8))).run()
    assert not app.exception
    assert "has no lit pixel" in app.error[0].value


def test_an_empty_sheet_has_no_pictures_yet(small):
    app = source(small.open(PAGE), "Drawing")
    assert not app.exception
    assert "as soon as there is one" in texts(app)


@given(some.none() | some.integers() | some.text() | some.text().map("data:image/png;base64,{}".format))
def test_whatever_the_browser_sends_is_bytes_or_nothing(sent):
    assert isinstance(drawing.decoded(sent), bytes | None)


def test_a_drawing_comes_back():
    content = png(np.zeros((4, 4), np.uint8))
    assert drawing.decoded("data:image/png;base64," + base64.b64encode(content).decode()) == content


# Work beside the page


def finished(job: jobs.Job) -> jobs.Job:
    wait_until(lambda: job.is_over, "the end of the job")
    return job


def test_a_job_reports_and_returns():
    go_on = threading.Event()

    def work(report):
        report(0.5, "half")
        go_on.wait()
        return 42

    job = jobs.Job("slot", "key", work)
    wait_until(lambda: job.part, "the first report")
    assert (job.part, job.doing, job.result) == (0.5, "half", None)
    go_on.set()
    assert finished(job).result == 42


def test_a_cancelled_job_ends_at_its_next_report():
    def work(report):
        while True:
            report(0.1, "forever")

    job = jobs.Job("slot", "key", work)
    job.cancel()
    assert isinstance(finished(job).error, Cancelled)


def test_long_work_in_one_slot_does_not_hold_up_another():
    def work(report):
        while True:
            report(0.1, "forever")

    long, behind = (jobs.Job("long", key, work) for key in "ab")
    assert finished(jobs.Job("short", "key", lambda report: 42)).result == 42
    assert not long.is_over
    for job in (behind, long):
        job.cancel()
    for job in (behind, long):
        assert isinstance(finished(job).error, Cancelled)


def test_a_job_keeps_its_error_for_the_page():
    assert isinstance(finished(jobs.Job("slot", "key", lambda report: 1 / 0)).error, ZeroDivisionError)


def test_cancelled_measurements_can_be_asked_for_again(small, monkeypatch):
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 30.0)
    app = small.open(PAGE, share="77")
    app.button(key="cancel-removal").click().run()
    finished(app.session_state["job-removal"])
    app.run()
    assert not app.exception
    assert "Without the least relevant 77%" not in texts(app)
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 0.0)
    app.button(key="again-removal").click().run()
    settled(app)
    assert "Without the least relevant 77%" in texts(app)


# Figures


def points(*names: str) -> pd.DataFrame:
    rows = [
        {"criterion": name, "order": order, "share": share, "probability": 0.9 - share * slope}
        for name in names
        for order, slope in (("MoRF", 0.8), ("LeRF", 0.2))
        for share in (0.0, 0.5, 1.0)
    ]
    table = pd.DataFrame(rows)
    return table.assign(probability_low=table["probability"] - 0.01, probability_high=table["probability"] + 0.01)


def test_the_curves_have_two_lines_each_and_the_slider():
    figure = charts_removal.perturbation(points("random", "lrp-0"), "probability", chosen="lrp-0", marker=0.15)
    lines = [trace for trace in figure.data if trace.fill is None]
    assert [(line.name, line.line.dash) for line in lines] == [
        ("lrp-0", "solid"), ("lrp-0", "dash"), ("random", "solid"), ("random", "dash"),
    ]  # fmt: skip
    assert list(lines[0].y) == pytest.approx([90, 80, 70])
    assert list(lines[1].y) == pytest.approx([90, 50, 10])
    assert len([trace for trace in figure.data if trace.fill == "toself"]) == 2
    assert [shape.x0 for shape in figure.layout.shapes] == [15]


@given(some.lists(some.sampled_from(removal_criteria()), min_size=1, max_size=7, unique=True))
def test_no_two_of_the_criteria_share_a_colour(names):
    colors = {charts_removal.color_of(name, names[0], names) for name in names}
    assert len(colors) == len(names)


def test_the_removed_pixels_are_tinted():
    removed = np.eye(4, dtype=bool)
    image, tint = charts_removal.without(np.full((4, 4), 0.5), removed).data
    assert (np.isnan(tint.z) == ~removed).all()
    assert (image.z == 0.5).all()


def test_areas_stand_in_the_order_of_the_table():
    table = pd.DataFrame(
        {
            "criterion": ["lrp-0", "random"],
            "area_between": [0.9, -0.01],
            "area_between_low": [0.89, -0.02],
            "area_between_high": [0.91, 0.0],
        }
    )
    [bars] = charts_removal.areas(table, chosen="lrp-0").data
    assert list(bars.y) == ["lrp-0", "random"]
    assert bars.marker.color[0] == charts_removal.ACCENT
    assert list(bars.error_x.array) == pytest.approx([0.01, 0.01])
