"""A table of your own, dropped on the page: corrected, studied, pruned, and its export predicts.

Last of the browser tests: from then on its study is the newest one of the server.
"""

from __future__ import annotations

import io
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

from lrp_core.study.export import predict

from .conftest import choose, go, settle

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def table() -> pd.DataFrame:
    """Six sensors, of which two tell the state; a number of each row that no network should see comes last."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(240, 6)), columns=[f"sensor {c}" for c in "abcdef"])
    state = np.arange(240) % 3
    frame["sensor b"] += 4 * (state == 1)
    frame["sensor e"] += 4 * (state == 2)
    return frame.assign(state=np.array(["idle", "slow", "fast"])[state], shift=np.arange(240) % 2)


def test_a_table_is_dropped_corrected_studied_and_exported(open_page, tmp_path):
    page = open_page("Study")
    settle(page, "Study")
    page.get_by_text("Your own data").click()
    content = table().to_csv(index=False).encode()
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        {"name": "machine.csv", "mimeType": "text/csv", "buffer": content}
    )
    page.get_by_text(re.compile("240 rows of")).wait_for()
    choose(page, "Study", "Classes are in", "state")
    page.get_by_text("240 rows of 7 inputs, 3 classes").wait_for()
    settle(page, "Study")
    choose(page, "Study", "Leave out", "shift")
    page.get_by_text("240 rows of 6 inputs, 3 classes").wait_for()
    page.keyboard.press("Escape")
    settle(page, "Study")
    page.get_by_role("button", name="Use these data").click()
    settle(page, "Study")
    name = page.get_by_role("textbox", name="Name", exact=True)
    name.fill("machine")
    page.keyboard.press("Enter")
    settle(page, "Study")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("Study “machine”", exact=True).wait_for()
    page.get_by_text(re.compile(r"Complete · \d+ networks")).wait_for(timeout=300_000)

    go(page, "Pruning")
    slider = page.get_by_role("slider", name=re.compile("Inputs removed"))
    slider.focus()
    kept = page.get_by_test_id("stMetric").filter(has_text="Inputs kept").get_by_test_id("stMetricValue")
    page.keyboard.press("End")
    expect(kept).to_have_text("1")
    page.keyboard.press("Home")
    expect(kept).to_have_text("6")
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    expect(kept).to_have_text("3")
    expect(page.locator(".js-plotly-plot").first).to_contain_text("sensor b")

    go(page, "Export")
    page.get_by_role("button", name=re.compile("Prepare")).click()
    with page.expect_download(timeout=120_000) as waiting:
        page.get_by_role("button", name=re.compile("Download")).first.click()
    zipfile.ZipFile(io.BytesIO(waiting.value.path().read_bytes())).extractall(tmp_path)
    rows = table()
    inputs = rows[[f"sensor {c}" for c in "abcdef"]].to_numpy(dtype=np.float32)
    import torch

    classes, _ = predict(tmp_path / "small-network", torch.from_numpy(inputs))
    assert np.mean(np.array(classes) == rows["state"]) > 0.85
