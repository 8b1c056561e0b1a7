"""axe, the checker that browsers' own tools use, finds nothing serious on any page."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from pages._ui.registry import ENTRIES

from .conftest import settle

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SERIOUS = {"serious", "critical"}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ENTRIES)
def test_axe_finds_nothing_serious(open_page, name, dark):
    page = open_page("" if name == "Result" else name.replace(" ", "_"), dark=dark)
    settle(page, name)
    page.wait_for_timeout(500)
    found = Axe().run(page).response["violations"]
    wrong = [
        (violation["id"], node["html"][:200], node.get("failureSummary", "")[:300])
        for violation in found
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]
    assert not wrong, "\n".join(map(str, wrong))
