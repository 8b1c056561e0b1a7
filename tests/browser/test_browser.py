"""The whole app in a real browser: from a fresh server with nothing in its cache to a downloaded network.

The tests run in the order in which they stand: the first opens the server's very first page, and the study that
this view starts is what the later ones look at.
"""

from __future__ import annotations

import re
import time
import zipfile

import pytest
from playwright.sync_api import expect

from lrp_core.data import load_dataset
from lrp_core.study.export import load_export, predict
from lrp_core.study.ledger import Ledger, Run
from pages._ui.registry import ENTRIES

from .conftest import choose, go, heading, icons, menu, settle

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAMES = tuple(ENTRIES)
QUICK_LIMIT_MS = 280_000
"""Within which the quick study has to be complete on any machine; `benchmarks.waits` measures what it takes."""

METRICS = "[...document.querySelectorAll('[data-testid=stMetricValue]')].map((e) => e.innerText)"


def slider(page):
    return page.get_by_role("slider")


@pytest.mark.timeout(400)
def test_a_deep_link_to_a_fresh_server_and_the_quick_study(open_page, server):
    """The very first request is a page of its own: same frame, a measured study, and the quick one by itself."""
    page = open_page("Savings")
    heading(page, "Savings").wait_for()
    assert menu(page) == list(NAMES)
    assert icons(page) == len(NAMES)
    assert page.title().startswith("Savings · ")
    page.get_by_test_id("stSidebar").get_by_text(re.compile("Complete · 230 networks")).wait_for()
    deadline = time.monotonic() + QUICK_LIMIT_MS / 1000
    while (quick := runs(server).get("quick")) is None or quick.state != "done":
        assert time.monotonic() < deadline, quick
        time.sleep(1)
    assert quick.done == quick.total
    assert runs(server)["full"].is_read_only
    page.goto(f"{server.url}/Savings?study=quick")
    settle(page, "Savings")
    assert page.locator(".js-plotly-plot .scatterlayer .trace").count() >= 3
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def runs(server) -> dict[str, Run]:
    """The studies of the server's ledger by their names."""
    return {run.name: run for run in Ledger(server.cache).runs("study")}


def test_the_same_deep_link_on_a_used_server(open_page):
    page = open_page("Savings")
    settle(page, "Savings")
    assert menu(page) == list(NAMES)
    assert icons(page) == len(NAMES)
    assert page.title().startswith("Savings · ")


def test_the_numbers_follow_the_slider(open_page):
    page = open_page("Savings?study=quick&removed=50")
    settle(page, "Savings")
    slider(page).focus()
    for removed in range(51, 57):
        page.keyboard.press("ArrowRight")
        keep = 784 - round(removed / 100 * 784)
        page.get_by_text(f"With {keep} of 784 pixels").wait_for()


@pytest.mark.timeout(400)
def test_a_path_to_a_budget_is_found_and_its_slider_moves(open_page):
    page = open_page("Budget?study=quick")
    settle(page, "Budget")
    page.get_by_role("button", name="Find the path").click()
    page.get_by_text("Trained networks").wait_for(timeout=QUICK_LIMIT_MS)
    settle(page, "Budget")
    macs = page.evaluate(METRICS)[1]
    slider(page).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"(before) => {METRICS}[1] !== before", arg=macs)
    assert int(page.evaluate(METRICS)[1].replace(",", "")) < int(macs.replace(",", ""))


def test_the_choice_survives_page_switches_and_is_in_the_url(open_page, browser):
    page = open_page("How_sure?study=quick")
    settle(page, "How sure")
    slider(page).focus()
    page.keyboard.press("Home")
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile("removed=8$|removed=8&"))
    choose(page, "How sure", "ranked by", "variance")
    page.wait_for_url(re.compile("method=variance"))
    for name in ("Result", "Studies", "Why", "Try it", "Savings", "Export", "How sure"):
        go(page, name)
        page.wait_for_url(re.compile(r"removed=8(&|$)"))
        assert "method=variance" in page.url
        assert "study=" in page.url
        if name in ("Try it", "Savings", "Export", "How sure"):
            assert slider(page).first.get_attribute("aria-valuetext").startswith("8")
    copied = open_page("?" + page.url.split("?")[1])
    settle(copied, "Result")
    assert "removed=8" in copied.url
    assert slider(copied).first.get_attribute("aria-valuetext").startswith("8")
    go(copied, "Savings")
    assert slider(copied).first.get_attribute("aria-valuetext").startswith("8")


def test_one_image_is_explained(open_page):
    page = open_page("Relevance?study=quick")  # a link of an earlier version
    settle(page, "Why")
    page.get_by_role("heading", name=re.compile("^The network says")).wait_for()
    number = page.get_by_role("spinbutton", name="Test image")
    expect(number).to_have_value("0")
    page.get_by_role("button", name="Next").click()
    page.wait_for_url(re.compile("image=1"))
    expect(number).to_have_value("1")
    page.get_by_role("img", name=re.compile("^Test image 1, ")).wait_for()


def test_the_three_pictures_follow_the_slider(open_page):
    page = open_page("Feature_removal?study=quick&image=4&scope=those+often+lit&by=gamma")
    settle(page, "Why")
    page.get_by_role("heading", name=re.compile(r"^Take 15\s% of the pixels away$")).wait_for()
    page.get_by_role("img", name=re.compile(r"^Without the 15\s% most relevant, ")).wait_for()
    expect(page.get_by_role("combobox", name=re.compile("Relevance by"))).to_have_value("gamma")
    slider(page).focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.get_by_role("img", name=re.compile(r"^Without the 20\s% most relevant, ")).wait_for()
    page.wait_for_url(re.compile("share=20"))
    assert "scope=" in page.url


def test_relevance_is_judged_over_the_test_set(open_page):
    page = open_page("How_sure?study=quick&part=relevance&share=20")
    settle(page, "How sure")
    page.get_by_text(re.compile(r"Without the least relevant 20\s%")).wait_for()
    page.get_by_text("Between its two curves").wait_for()
    assert "part=relevance" in page.url


def test_a_digit_is_drawn_and_classified(open_page):
    page = open_page("Why?study=quick")
    settle(page, "Why")
    page.get_by_role("radio", name="Drawing").or_(page.get_by_role("button", name="Drawing")).first.click()
    page.get_by_text("as soon as there is a picture").wait_for()
    sheet = page.get_by_role("img", name=re.compile("Sheet to draw"))
    box = sheet.bounding_box()
    page.mouse.move(box["x"] + 110, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 110, box["y"] + 190, steps=10)
    page.mouse.up()
    page.get_by_role("heading", name=re.compile("^The network says 1, ")).wait_for()
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_text("as soon as there is a picture").wait_for()
    sheet.focus()
    page.keyboard.down("Shift")
    for _ in range(8):
        page.keyboard.press("ArrowDown")
    page.keyboard.up("Shift")
    page.get_by_role("heading", name=re.compile("^The network says")).wait_for()


def test_an_export_is_prepared_downloaded_and_predicts(open_page, tmp_path):
    page = open_page("Export?study=quick&removed=70")
    settle(page, "Export")
    page.get_by_role("button", name="Prepare export").click()
    button = page.get_by_role("button", name="Download the network")
    button.wait_for(timeout=120_000)
    with page.expect_download() as waiting:
        button.click()
    archive = tmp_path / "network.zip"
    waiting.value.save_as(archive)
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(tmp_path)
    folder = tmp_path / "small-network"
    network, card = load_export(folder)
    assert len(card["input"]["kept_pixels"]) == 235
    shown = page.get_by_test_id("stMetricValue").first.inner_text()
    assert shown == f"{100 * card['accuracy']['value']:.2f}\u00a0%"
    images, labels = load_dataset("mnist").test.images[:500], load_dataset("mnist").test.labels[:500]
    names, _ = predict(folder, images)
    right = sum(int(name) == int(label) for name, label in zip(names, labels, strict=True)) / len(names)
    assert right > 0.85
    assert network is not None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_every_page_fits(open_page, name, width, dark):
    page = open_page("" if name == "Result" else name.replace(" ", "_"), width=width, dark=dark)
    settle(page, name)
    page.wait_for_timeout(500)
    wide = page.evaluate(
        "(() => { const m = document.querySelector('[data-testid=stMain]');"
        " return [m.scrollWidth - m.clientWidth, document.documentElement.scrollWidth - innerWidth]; })()"
    )
    assert max(wide) <= 0
    background = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert (sum(int(part) for part in re.findall(r"\d+", background)[:3]) < 384) == dark
    assert page.get_by_test_id("stAlert").filter(has_text=re.compile("failed|error", re.I)).count() == 0
