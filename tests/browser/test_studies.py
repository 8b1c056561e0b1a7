"""Studies by clicking: set up, start, watch, cancel, resume, open, delete; and what a person does with a ranking.

They visit the same server as the other browser tests, whose quick study is there or on its way.
"""

from __future__ import annotations

import io
import re

import pandas as pd
import pytest
from playwright.sync_api import expect

from lrp_core.ranking import Ranking
from lrp_core.study.ledger import Ledger

from .conftest import choose, go, settle

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROW = 35
"""Height of a row of a table, in pixels."""


def write(page, label: str, text: str) -> None:
    page.get_by_role("textbox", name=label, exact=True).fill(text)
    page.keyboard.press("Enter")
    settle(page, "Studies")


def count(page, label: str, number: int) -> None:
    page.get_by_role("spinbutton", name=label, exact=True).fill(str(number))
    page.keyboard.press("Enter")
    settle(page, "Studies")


def set_up(page, name: str, *, shares: str, images: int, seeds: int) -> None:
    """A study of the softmax network by clicking."""
    settle(page, "Studies")
    choose(page, "Studies", "Network", "softmax")
    settle(page, "Studies")
    page.get_by_text("Advanced").click()
    count(page, "Training images", images)
    count(page, "Images for relevance", 100)
    count(page, "Epochs", 1)
    count(page, "Fine-tuning epochs", 1)
    count(page, "Seeds", seeds)
    write(page, "Inputs removed (%)", shares)
    write(page, "Name", name)


def started(page, name: str) -> None:
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text(f"Study “{name}”", exact=True).wait_for(timeout=120_000)


def wait_until_idle(page) -> None:
    """Until no study runs, such as the one that a fresh server starts by itself."""
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0, timeout=180_000)


def state_of(server, name: str) -> str:
    return next(run.state for run in Ledger(server.cache).runs("study") if run.name == name)


def test_a_study_is_set_up_started_watched_and_opened(open_page, server):
    page = open_page("Studies")
    set_up(page, "tiny", shares="50 80", images=300, seeds=2)
    page.get_by_text("18 networks.").wait_for()
    started(page, "tiny")
    page.get_by_text(re.compile("Complete · 18 networks")).wait_for(timeout=120_000)
    assert state_of(server, "tiny") == "done"
    go(page, "How sure")
    page.locator(".js-plotly-plot .scatterlayer .trace").nth(2).wait_for(state="attached")
    page.get_by_text("Measured points").wait_for()
    with page.expect_download() as waiting:
        page.get_by_test_id("stDownloadButton").get_by_role("button", name="Download as CSV").click()
    table = pd.read_csv(waiting.value.path())
    assert table["keep"].tolist() == [784, *[392, 157] * 4]
    assert table["difference_low"].notna().sum() == 8


def test_a_study_is_cancelled_resumed_and_deleted(open_page, server):
    page = open_page("Studies")
    set_up(page, "long", shares=" ".join(str(share) for share in range(5, 95, 5)), images=10_000, seeds=3)
    started(page, "long")
    panel = page.locator("[class*=st-key-run-]").filter(has_text="Study “long”")
    panel.get_by_text("of 219").wait_for(timeout=120_000)
    panel.get_by_role("button", name="Cancel").click()
    page.get_by_text("was cancelled").wait_for(timeout=120_000)
    assert state_of(server, "long") == "cancelled"
    page.get_by_role("button", name="Resume").click()
    panel.get_by_role("button", name="Cancel").wait_for(timeout=120_000)
    expect(page.get_by_text("was cancelled")).to_have_count(0)
    panel.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Resume").wait_for(timeout=120_000)
    settle(page, "Studies")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("Study “long”")).to_have_count(0)
    assert "long" not in [run.name for run in Ledger(server.cache).runs("study")]


def test_a_row_of_the_list_opens_its_study(open_page, server):
    page = open_page("Studies")
    settle(page, "Studies")
    wait_until_idle(page)
    names = [run.name for run in Ledger(server.cache).runs("study")]
    page.get_by_text(f"Study “{names[0]}”", exact=True).wait_for()
    last = len(names) - 1
    page.get_by_test_id("stDataFrame").first.click(position={"x": 16, "y": ROW * (last + 1.5)})
    page.get_by_text(f"Study “{names[last]}”", exact=True).wait_for()
    page.wait_for_function("location.href.includes('study=')")


def test_the_recommended_threshold_moves_the_slider(open_page):
    page = open_page("How_sure?study=quick&margin=20&removed=3")
    settle(page, "How sure")
    wait_until_idle(page)
    button = page.get_by_role("button", name="Move the slider there")
    said = page.get_by_test_id("stAlert").filter(has_text="Recommended:").inner_text()
    button.click()
    settle(page, "How sure")
    expect(button).to_be_disabled()
    removed = re.search(r"(\d+)\s% of the pixels can go", said).group(1)
    page.wait_for_url(re.compile(f"removed={removed}(&|$)"))
    assert "margin=20" in page.url


def test_a_ranking_is_saved_loaded_and_compared(open_page, tmp_path):
    page = open_page("How_sure?study=quick&part=ranking")
    settle(page, "How sure")
    wait_until_idle(page)
    page.get_by_text(re.compile("^The sample (suffices|does not suffice)")).wait_for()
    settle(page, "How sure")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save the ranking").click()
    file = tmp_path / "mine.safetensors"
    waiting.value.save_as(file)
    ranking = Ranking.load(file)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save as CSV").click()
    table = pd.read_csv(io.BytesIO(waiting.value.path().read_bytes()))
    assert (28 * table["row"] + table["column"]).tolist() == ranking.order.tolist()
    part = "Do rankings agree?"
    page.get_by_role("radio", name=part).or_(page.get_by_role("button", name=part)).first.click()
    page.wait_for_url(re.compile("part=agreement"))
    page.get_by_role("radio", name="A file").or_(page.get_by_role("button", name="A file")).first.click()
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_text(re.compile("mine.safetensors correlate with 1.000")).wait_for()
