"""Drawing in a real browser: both networks answer while the pen is down."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from lrp_core.study import run_study
from lrp_core.study.ledger import Ledger
from tests.pages.conftest import SMALL

from .conftest import Server, serve, settle

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGE = "Try it"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A server on a small study that is finished."""
    folder = tmp_path_factory.mktemp("try-it") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder))
        for _ in run_study(SMALL, Ledger(folder), name="small", jobs=1):
            pass
    with serve(folder) as running:
        yield running


def answers(page) -> list[str]:
    return page.locator(".desk .sure").all_inner_texts()


def draw_down(page, x: int, start: int, end: int) -> None:
    """Put the pen on the sheet and draw a stroke down; the pen stays down."""
    sheet = page.get_by_role("img", name=re.compile("Sheet to draw"))
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + start)
    page.mouse.down()
    page.mouse.move(box["x"] + x, box["y"] + end, steps=8)


def test_both_answers_change_while_the_pen_is_down(open_page):
    page = open_page("Try_it?removed=49")
    settle(page, PAGE)
    desk = page.locator(".desk")
    expect(page.locator(".desk .class")).to_have_count(2)
    before, said = answers(page), desk.locator("[aria-live]").inner_text()
    draw_down(page, 60, 40, 120)
    wait_for_others(page, before)
    first = answers(page)
    assert desk.locator("[aria-live]").inner_text() == said  # a screen reader is not interrupted at every move
    page.mouse.move(*(where(page, 200, 200)), steps=8)
    wait_for_others(page, first)
    page.mouse.up()
    expect(desk.locator("[aria-live]")).not_to_have_text(said)
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(desk.locator("[aria-live]")).to_have_text(said)
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(desk.get_by_text("Waits for a drawing.")).to_have_count(2)


def where(page, x: int, y: int) -> tuple[float, float]:
    box = page.get_by_role("img", name=re.compile("Sheet to draw")).bounding_box()
    return box["x"] + x, box["y"] + y


def wait_for_others(page, before: list[str]) -> None:
    """Wait until both networks are as sure of something as neither was before."""
    for place, text in enumerate(before):
        expect(page.locator(".desk .sure").nth(place)).not_to_have_text(text)


def test_the_keys_draw(open_page):
    page = open_page("Try_it?removed=49")
    settle(page, PAGE)
    before = answers(page)
    sheet = page.get_by_role("img", name=re.compile("Sheet to draw"))
    sheet.focus()
    page.keyboard.down("Shift")
    for _ in range(8):
        page.keyboard.press("ArrowDown")
    page.keyboard.up("Shift")
    wait_for_others(page, before)
    page.keyboard.press("Delete")
    expect(page.get_by_text("Waits for a drawing.")).to_have_count(2)


def test_a_picture_of_the_gallery_opens_by_keyboard_and_the_drawing_stays(open_page):
    page = open_page("Try_it?removed=49")
    settle(page, PAGE)
    draw_down(page, 125, 40, 200)
    page.mouse.up()
    settle(page, PAGE)
    drawn = answers(page)
    tile = page.get_by_role("button", name=re.compile(r"^Test image \d+, of class")).nth(1)
    index = re.match(r"Test image (\d+)", tile.get_attribute("aria-label")).group(1)
    tile.focus()
    page.keyboard.press("Enter")
    page.locator(".desk").get_by_text(re.compile(f"^Test image {index}, of class")).wait_for()
    assert set(page.locator(".desk .verdict").all_inner_texts()) == {"right", "wrong"}
    page.get_by_role("radio", name="Draw").or_(page.get_by_role("button", name="Draw", exact=True)).first.click()
    page.get_by_text("Your drawing").wait_for()
    expect(page.locator(".desk .sure").nth(0)).to_have_text(drawn[0])


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (1280, True), (390, False), (390, True)])
def test_the_page_fits_at_every_place(open_page, width, dark):
    page = open_page("Try_it?removed=87", width=width, dark=dark)
    settle(page, PAGE)
    wide = page.evaluate(
        "(() => { const m = document.querySelector('[data-testid=stMain]');"
        " return [m.scrollWidth - m.clientWidth, document.documentElement.scrollWidth - innerWidth]; })()"
    )
    assert max(wide) <= 0
    for card in page.locator(".desk .answer").all():
        assert card.evaluate("(e) => e.scrollWidth - e.clientWidth") <= 0
