"""The first page: what it tells the browser, and what it says itself."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import numpy as np
import pytest

from lrp_core.data import load_dataset
from lrp_core.study import results
from lrp_core.views import summarise
from pages._ui import explorer
from pages._ui.formats import plain

from .conftest import SMALL, Stage

pytestmark = pytest.mark.slow


@pytest.fixture
def told(small: Stage) -> dict:
    """What the explorer gets of the small study."""
    summary = summarise(small.opened)
    return explorer.told(
        summary, method="lrp-0", mode="fine-tune", removed=50, margin=0.2, drawn=["lrp-0", "random", "variance"]
    )


def test_what_is_told_is_plain_and_small(told: dict) -> None:
    assert len(json.dumps(told, allow_nan=False)) < 60_000


def test_every_place_has_the_cost_that_is_counted(small: Stage, told: dict) -> None:
    opened = small.opened
    assert told["exact"]
    assert [place["removed"] for place in told["places"]] == list(range(100))
    for place in told["places"][:88:7]:
        found = opened.threshold(method="lrp-0", mode="fine-tune", keep=place["keep"], seed=1)
        assert place["macs"] == pytest.approx(found.cost.macs)
        assert place["bytes"] == pytest.approx(found.cost.bytes)
    assert told["places"][-1]["macs"] is None  # 8 inputs are fewer than any network of the study has


def test_the_curves_are_the_study_s(small: Stage, told: dict) -> None:
    expected = results.with_baseline(small.opened.curve(), "lrp-0", "fine-tune")
    assert [row["keep"] for row in told["chosen"]] == expected["keep"].tolist()
    assert [row["score"] for row in told["chosen"]] == expected["score"].tolist()
    assert [curve["label"] for curve in told["curves"]] == ["lrp-0", "random", "variance"]
    assert [curve["chosen"] for curve in told["curves"]] == [True, False, False]


def test_the_mark_stands_at_the_recommendation(small: Stage, told: dict) -> None:
    best = small.opened.recommend("lrp-0", mode="fine-tune", margin=0.2)
    assert best is not None
    marked = None if told["recommended"] is None else told["places"][told["recommended"]]["keep"]
    assert marked == (None if best.row is None else int(best.row["keep"]))


def test_the_digits_are_those_of_the_data(told: dict) -> None:
    images = [np.frombuffer(base64.b64decode(text), np.uint8) for text in told["samples"]]
    validation = load_dataset("mnist").validation
    for image, name in zip(images, told["sampleNames"], strict=True):
        first = int((validation.labels == int(name)).nonzero()[0])
        np.testing.assert_array_equal(image, validation.raw[first].numpy().ravel())


def test_the_title_is_the_finding(small: Stage) -> None:
    app = small.open("Result", margin="20")
    assert not app.exception
    best = summarise(small.opened).recommend(margin=0.2)
    assert best is not None and best.row is not None  # noqa: PT018
    [title] = app.title
    assert title.value.startswith(f"{100 * best.row['removed']:.0f}\u00a0% of the pixels can go")
    assert f"{int(best.row['keep'])} of 784" in title.value
    assert "between" in "".join(part.value for part in app.markdown)


def test_nothing_that_can_go_is_said(small: Stage) -> None:
    app = small.open("Result", margin="0")
    assert not app.exception
    best = summarise(small.opened).recommend(margin=0.0)
    assert best is not None
    if best.row is None:
        assert app.title[0].value == "No measured share of the pixels can go"
        assert "within a loss of 0 points" in "".join(part.value for part in app.markdown)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"study": "nonsense"}, "No study here is called “nonsense”: shown is small"),
        ({"method": "magic"}, "This study has no method “magic”"),
        ({"seed": "77"}, "This study has no seed “77”: shown is 1"),
        ({"removed": "1000"}, "This study has no share removed “1000”"),
        ({"keeps": "0"}, "“0” is no number of pixels from 1 to 784"),
    ],
)
def test_what_a_link_asks_for_in_vain_is_said(small: Stage, query: dict, said: str) -> None:
    app = small.open("Result", **query)
    assert not app.exception
    assert any(said in part.value for part in app.info)
    assert app.query_params["study"] == SMALL.key


@pytest.mark.parametrize("name", ["small", SMALL.key, SMALL.key[:8]])
def test_a_link_may_call_a_study_by_its_name(small: Stage, single: Stage, name: str) -> None:
    app = single.open("Result", study=name)
    assert app.selectbox(key="study").value == SMALL.key
    assert app.query_params["study"] == SMALL.key
    assert not app.info


def test_a_link_may_speak_as_the_command_line_does(small: Stage) -> None:
    app = small.open("Result", criteria="variance", modes="fine-tune", seeds="2", keeps="392")
    held = app.session_state
    assert (held["method"], held["mode"], held["seed"], held["removed"]) == ("variance", "fine-tune", 2, 50)
    assert "keeps" not in app.query_params
    assert not app.info


def test_the_page_does_not_load_torch(small: Stage) -> None:
    from lrp_core.views.summary import write_summary

    write_summary(summarise(small.opened), small.ledger.folder)
    code = (
        "import sys\nfrom pages._ui import frame, explorer, state, summaries\n"
        "from lrp_core.study.ledger import Ledger\nledger = Ledger()\n"
        f"run = ledger.run({SMALL.key!r})\nsummary = summaries.at_hand(run, ledger)\n"
        "explorer.told(summary, method='lrp-0', mode='fine-tune', removed=5, margin=0.1, drawn=['lrp-0'])\n"
        "print(*(name for name in ('torch', 'scipy', 'sklearn') if name in sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""


@pytest.mark.parametrize(
    "name",
    [
        "![x](http://example.org/x.png)",
        "<b>a</b>",
        "$x^2$",
        ":material/home: :red[x]",
        "- a",
        "1. a",
        "# a",
        "*a*",
        "`a`",
    ],
)
def test_a_name_is_shown_letter_by_letter(name: str) -> None:
    shown = plain(name)
    assert not set(shown) & set("`*_[]<>$")
    assert "//" not in shown.replace(":\u2060//", "")
    assert ":material" not in shown
