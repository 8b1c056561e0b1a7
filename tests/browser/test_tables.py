"""A table of your own, dropped on the page: corrected, studied, pruned, and its export predicts.

Last of the browser tests: from then on its study is the newest one of the server.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from playwright.sync_api import expect

from lrp_core.study.export import predict, read_card

from .conftest import choose, go, settle

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SENSORS = [f"sensor {c}" for c in "abcdef"]
OILS = ["thick", "thin"]
GROUPS = """group,input,cost
arm,sensor a,40
arm,sensor b,
leg,sensor c,10
leg,sensor d,
head,sensor e,25
oil,,5
"""
"""Sensor f is in no group, and costs nothing."""


def table(seed: int) -> pd.DataFrame:
    """Six sensors, of which b and e tell the state; words that do not, and last what no network should see."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(240, 6)), columns=SENSORS)
    state = np.arange(240) % 3
    frame["sensor b"] += 4 * (state == 1)
    frame["sensor e"] += 4 * (state == 2)
    oil = random.choice(OILS, 240)
    return frame.assign(oil=oil, state=np.array(["idle", "slow", "fast"])[state], shift=random.integers(0, 2, 240))


def give(page, label: str, name: str, content: str) -> None:
    """Drop a file where a label says."""
    place = page.get_by_test_id("stFileUploader").filter(has_text=re.compile(f"^{label}"))
    place.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        {"name": name, "mimeType": "text/csv", "buffer": content.encode()}
    )


def exported_here(page, said: str, folder: Path) -> Path:
    """The export of the place of the slider, prepared, downloaded and unpacked; the page says which that is."""
    settle(page, "Result")
    go(page, "Export")
    settle(page, "Export")
    page.get_by_text(re.compile(said)).wait_for()
    page.get_by_role("button", name=re.compile("Prepare")).click()
    with page.expect_download(timeout=120_000) as waiting:
        page.get_by_role("button", name=re.compile("Download")).first.click()
    zipfile.ZipFile(io.BytesIO(waiting.value.path().read_bytes())).extractall(folder)
    return folder / "small-network"


def test_a_table_is_dropped_corrected_studied_and_exported(open_page, tmp_path):
    page = open_page("Studies")
    settle(page, "Studies")
    page.get_by_text("Your own data").click()
    give(page, "File", "machine.csv", table(0).to_csv(index=False))
    page.get_by_text(re.compile("240 rows of .*2 classes")).wait_for()  # the shift, by its look
    choose(page, "Studies", "Labels are in", "state")
    page.get_by_text("240 rows of 9 inputs in 8 groups, 3 classes").wait_for()
    choose(page, "Studies", "Leave out", "shift")
    page.get_by_text("240 rows of 8 inputs in 7 groups, 3 classes").wait_for()
    page.keyboard.press("Escape")
    choose(page, "Studies", "Inputs kept or dropped as one", "as a file says, with costs")
    settle(page, "Studies")
    give(page, "Groups and costs", "costs.csv", GROUPS)
    page.get_by_text("240 rows of 8 inputs in 5 groups, 3 classes").wait_for()
    settle(page, "Studies")
    page.get_by_role("button", name="Use these data").click()
    settle(page, "Studies")
    name = page.get_by_role("textbox", name="Name", exact=True)
    name.fill("machine")
    page.keyboard.press("Enter")
    settle(page, "Studies")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("Study “machine”", exact=True).wait_for()
    page.get_by_text(re.compile(r"Complete · \d+ networks")).wait_for(timeout=300_000)

    go(page, "Result")
    slider = page.get_by_role("slider", name="Share of the groups removed")
    slider.focus()
    kept, cost = (page.locator(".tile").filter(has_text=label).locator("b") for label in ("Groups kept", "Cost of"))
    page.keyboard.press("End")
    expect(kept).to_have_text("1")
    page.keyboard.press("Home")
    expect(kept).to_have_text("5")
    expect(cost).to_have_text("80")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(kept).to_have_text("2")
    expect(cost).to_have_text("65")
    page.wait_for_url(re.compile("removed="))
    expect(page.locator(".pictures .name:not(.gone)")).to_have_count(2)
    for group in ("head", "leg", "oil", "sensor f", "arm"):
        expect(page.locator(".pictures .name", has_text=group)).to_have_count(1)

    exported = exported_here(page, "reading 2 of 5 groups", tmp_path)
    assert read_card(exported)["input"]["kept_pixels"] == [0, 1, 4]
    rows = table(1)
    inputs = rows[SENSORS].assign(**{oil: rows["oil"] == oil for oil in OILS}).to_numpy(dtype=np.float32)
    classes, _ = predict(exported, torch.from_numpy(inputs))
    assert np.mean(np.array(classes) == rows["state"]) > 0.85
