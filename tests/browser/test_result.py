"""The first page in a real browser: its slider answers there, and the address follows."""

from __future__ import annotations

import csv
import io
import re
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.sync_api import expect

from .conftest import settle

pytestmark = [pytest.mark.slow, pytest.mark.browser]

AXIS = re.compile("removed")
# In the browser's own time: keys that are sent to a busy machine one by one are no burst.
BURST = """(range) => { for (let i = 0; i < 15; i++) {
  range.value = Number(range.value) + 1;
  range.dispatchEvent(new Event("input", { bubbles: true }));
} }"""


@pytest.fixture
def result(open_page):
    """The first page at once, without waiting for a study: a measured one is there."""
    page = open_page()
    settle(page, "Result")
    page.locator(".tile b").first.wait_for()
    return page


def place(page) -> str:
    return page.locator("input[type=range]").get_attribute("aria-valuetext")


def test_a_finding_is_there_at_once(result):
    title = result.get_by_role("heading", level=1).inner_text()
    assert re.match(r"\d+\s% of the pixels can go: \d+ of 784 are enough", title)
    share = title.split("\u00a0")[0]
    assert place(result).startswith(f"{share}\u00a0% of the pixels removed")
    expect(result.locator(".mark")).to_have_text(re.compile("recommended: here"))


def test_everything_that_matters_is_above_the_fold(result):
    result.set_viewport_size({"width": 1280, "height": 800})
    settle(result, "Result")
    for selector in ("h1", "input[type=range]", ".tiles", ".pictures canvas >> nth=2", ".curve svg[role=img]"):
        box = result.locator(selector).first.bounding_box()
        assert box["y"] + box["height"] <= 800, selector


def test_a_key_changes_every_tile_and_the_address_follows_a_burst_once(result):
    before = result.locator(".tile b").all_inner_texts()
    entries = result.evaluate("history.length")
    slider = result.locator("input[type=range]")
    slider.evaluate(BURST)
    after = result.locator(".tile b").all_inner_texts()
    assert all(one != other for one, other in zip(before, after, strict=True))
    result.wait_for_url(re.compile(r"removed=\d+"))
    assert result.evaluate("history.length") == entries + 1
    there = place(result)
    result.go_back()
    result.wait_for_url(lambda url: "removed=" not in url)
    expect(slider).not_to_have_attribute("aria-valuetext", there)
    assert result.locator(".tile b").all_inner_texts() == before


def test_inputs_dissolve_as_they_go(result):
    ink = """() => {
      const roots = [...document.querySelectorAll('*')].map((e) => e.shadowRoot).filter(Boolean);
      const c = roots.map((r) => r.querySelector('.pictures canvas')).find(Boolean);
      const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
      return data.filter((v, i) => i % 4 === 3 && v > 20).length;
    }"""
    slider = result.locator("input[type=range]")
    slider.fill("0")
    result.wait_for_timeout(500)
    assert result.evaluate(ink) == 784
    slider.fill("75")
    result.wait_for_timeout(500)
    assert result.evaluate(ink) == 196


def test_play_lets_them_go_one_after_another(result):
    slider = result.locator("input[type=range]")
    slider.fill("10")
    result.locator(".play").click()
    expect(slider).to_have_value(re.compile("2[0-9]"), timeout=20_000)
    result.locator(".play").click()
    stopped = slider.input_value()
    result.wait_for_url(re.compile(f"removed={stopped}"))


def test_the_slider_may_count_inputs_or_macs(result):
    unit = result.locator(".unit select")
    unit.select_option("keep")
    assert re.match(r"\d+ of 784 pixels kept", place(result))
    unit.select_option("macs")
    assert re.match(r"[\d,]+ MACs left \(\d+\s%\)", place(result))


def test_the_curve_is_saved(result):
    with result.expect_download() as download:
        result.get_by_role("button", name="Save the curve as CSV").click()
    rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    assert {"method", "kept", "removed", "score", "low", "high"} == set(rows[0])
    assert rows[0]["kept"] == "784"
    assert all(0 < float(row["score"]) <= 1 for row in rows)
    with result.expect_download() as download:
        result.get_by_role("button", name="Save the curve as SVG").click()
    text = download.value.path().read_text()
    root = ElementTree.fromstring(text)
    assert any(AXIS.search(one.text or "") for one in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "var(--" not in text
    assert text.count("http") == text.count("http://www.w3.org/2000/svg")
    with result.expect_download() as download:
        result.get_by_role("button", name="Save the curve as PNG").click()
    image = Image.open(io.BytesIO(download.value.path().read_bytes()))
    assert image.width > 600
    assert len(image.convert("RGB").getcolors(1_000_000)) > 20


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Overview", "Result"),
        ("Pruning", "Result"),
        ("Ranking", "How sure"),
        ("Study", "Studies"),
        ("Relevance", "Why"),
    ],
)
def test_former_addresses_lead_on(open_page, old, new):
    page = open_page(f"{old}?removed=33")
    page.wait_for_function("(title) => document.title.startsWith(title)", arg=new)
    settle(page, new)
    expect(page.get_by_text("Page not found")).to_have_count(0)
    assert "removed=33" in page.url
