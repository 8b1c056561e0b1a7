"""What saves a figure, in a real browser: a picture with something on it, a drawing of its own, and numbers."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lrp_core.study import run_study
from lrp_core.study.ledger import Ledger

from ..pages.conftest import SMALL
from .conftest import serve, settle

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    """A server with a small finished study, in the place of the one that starts empty."""
    folder = tmp_path_factory.mktemp("figures") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder))
        for _ in run_study(SMALL, Ledger(folder), name="small", jobs=1):
            pass
    with serve(folder) as running:
        yield running


def saved(page, kind: str) -> tuple[str, bytes]:
    """The name and the content of what a button of the open "Save" gives."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=re.compile(f"^{kind}")).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


@pytest.mark.parametrize("dark", [False, True])
def test_a_figure_is_saved_in_each_form(open_page, dark):
    page = open_page("Savings", dark=dark)
    settle(page, "Savings")
    chart = page.locator(".st-key-costs .js-plotly-plot")
    chart.locator(".main-svg").first.wait_for()
    box = chart.bounding_box()
    page.locator(".st-key-costs-save").get_by_role("button", name="Save").focus()
    page.keyboard.press("Enter")  # by the keyboard alone
    png = page.get_by_role("button", name="PNG of mnist-softmax-costs")
    png.wait_for()
    for button in (png, page.get_by_role("button", name=re.compile("^CSV"))):
        size = button.bounding_box()
        assert min(size["width"], size["height"]) >= 24

    name, content = saved(page, "PNG")
    assert name == "mnist-softmax-costs.png"
    image = Image.open(io.BytesIO(content))
    assert image.format == "PNG"
    assert image.size == (2 * round(box["width"]), 2 * round(box["height"]))
    pixels = np.asarray(image.convert("RGB"))
    assert (pixels[0, 0] == 255).all(), "light, whatever the page is"
    assert 0.01 < (pixels < 200).any(-1).mean() < 0.5, "neither blank nor black"

    name, content = saved(page, "SVG")
    assert name == "mnist-softmax-costs.svg"
    text = content.decode()
    said = {node.text for node in ElementTree.fromstring(text).iter() if node.text}
    assert {"Pixels removed (%)", "Of the full network (%)", "MACs"} <= said
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.findall(r"url\((?!['\"]?#)", text)

    name, content = saved(page, "CSV")
    assert name == "mnist-softmax-costs.csv"
    rows = pd.read_csv(io.BytesIO(content))
    assert list(rows) == ["trace", "Pixels removed (%)", "Of the full network (%)"]
    assert set(rows["trace"]) == {"MACs", "parameters", "weights (bytes)", "one image (bytes)"}
    assert (rows.groupby("trace")["Pixels removed (%)"].min() == 0).all()


def test_a_table_is_saved_with_its_values(open_page):
    """Streamlit's own download: what stands in the table, in full, and not as it is written there."""
    page = open_page("Savings")
    page.add_init_script("delete Window.prototype.showSaveFilePicker; delete window.showSaveFilePicker")
    page.reload()
    settle(page, "Savings")
    table = page.locator(".st-key-layers")
    table.hover()
    with page.expect_download() as waiting:
        table.get_by_role("button", name="Download as CSV").click()
    rows = pd.read_csv(waiting.value.path(), encoding="utf-8-sig")
    assert rows["macs"].gt(0).all()
    assert rows["left"].between(0, 100).all()
    assert (rows["left"] == 100 * rows["parameters"] / rows["full_parameters"]).all()
