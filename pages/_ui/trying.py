"""What the page to try a study out on asks about, and what the desk paints of the answers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from lrp_core.errors import LrpError

from . import drawing, frame, picker, trying_desk
from .data import freeze_again
from .fields import field
from .formats import percent, things

if TYPE_CHECKING:
    from lrp_core.views import Answer, OpenedStudy, Pair

SOURCE, DESK, DRAWING, OPENED = "try-source", "desk", "tried-drawing", "tried-opened"
"""Keys of the session; the drawing outlasts a visit to another page."""

SOURCES = {"drawing": "Draw", "file": "Upload", "test": "Test image"}
DIGITS = tuple("0123456789")
SHOWN_CLASSES = 5


@dataclass(frozen=True)
class Asked:
    """What the networks are asked about: a drawing, the bytes of a picture file, or the test row at `index`."""

    source: str
    composite: str
    seed: int
    index: int = 0
    content: bytes = b""
    name: str = ""


@dataclass(frozen=True)
class Subject:
    """One input as networks take it (None: there is none yet), its class or number if it has one, and what to say."""

    inputs: np.ndarray | None
    title: str
    hint: str
    label: int | float | None = None
    sheet: dict[str, Any] | None = None
    n: int = 0


def choose(opened: OpenedStudy, seed: int, first: int, composites: Sequence[str]) -> Asked:
    """The controls of what is asked about; `first` is the test row to begin with."""
    sources = _sources(opened)
    if st.session_state.get(SOURCE) not in sources:
        is_digits = opened.data.classes == DIGITS and SOURCES["drawing"] in sources
        st.session_state[SOURCE] = SOURCES["drawing"] if is_digits else sources[-1]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = sources[0]
        if len(sources) > 1:
            source = st.segmented_control(
                "Picture", sources, key=SOURCE, required=True, persist_state="session",
                help="A picture of your own never leaves this server's memory.",
            )  # fmt: skip
        composite = field(st.selectbox, "Relevance by", composites, composites.index("epsilon-plus"), key="try-rules",
                          width=190, help="The rule that shares an answer out among the inputs.")  # fmt: skip
    if source == SOURCES["drawing"]:
        return Asked("drawing", composite, seed)
    if source == SOURCES["file"]:
        file = st.file_uploader(
            "Picture file",
            type=["png", "jpg", "jpeg", "gif", "webp", "bmp"],
            max_upload_size=20,
            key="try-upload",
            help="Any size. It is resized as your data's pictures are."
            if opened.study.digest
            else "Any size. It becomes grey, light on dark, and its ink is scaled and centred as in MNIST.",
        )
        return Asked("file", composite, seed, content=file.getvalue() if file else b"", name=file.name if file else "")
    if "image" not in st.session_state and "image" not in st.query_params:
        st.session_state["image"] = first
    return Asked("test", composite, seed, picker.pick_test_image(opened, seed))


def _sources(opened: OpenedStudy) -> list[str]:
    """What the study can be asked about, as the page calls it; the test rows are there always, and come last."""
    if not opened.are_images:
        return [f"Test {opened.words[2]}"]
    return [SOURCES[name] for name in SOURCES if name in opened.removals.sources]


@st.fragment
def desk(opened: OpenedStudy, pair: Pair, asked: Asked) -> None:
    """Both networks' answers side by side; a stroke of the pen runs this again, and nothing else of the page."""
    try:
        subject = _subject(opened, asked)
        answers = None
        if subject.inputs is not None:
            answers = opened.trying.answers(pair, subject.inputs, asked.composite)
    except LrpError as error:
        frame.refuse(error)
        return
    trying_desk.draw(_data(opened, pair, asked, subject, answers), DESK)


def _subject(opened: OpenedStudy, asked: Asked) -> Subject:
    image, is_drawn = opened.words[2], asked.source == "drawing"
    if asked.source == "test":
        label = opened.trying.label(asked.index, asked.seed)
        is_class = bool(opened.data.classes)
        what = f"of class {opened.data.classes[int(label)]}" if is_class else f"{opened.data.target.name} {label:.6g}"
        hint = f"No network was trained on test {opened.words[1]}."
        return Subject(opened.trying.row(asked.index, asked.seed), f"Test {image} {asked.index}, {what}", hint, label)
    if not is_drawn:
        if not asked.content:
            return Subject(None, "Your picture", "Choose a file above.")
        picture = opened.removals.picture_of_file(asked.content, asked.name, is_drawing=False)
        return Subject(picture.pixels, "Your picture", _sentence(picture.notes))
    png, n = _drawn()
    what = "a digit" if opened.data.classes == DIGITS else "what the networks know"
    hint = f"Draw {what} with mouse, finger, or Shift and the arrow keys. It is scaled and centred as in MNIST."
    is_ready = DRAWING not in st.session_state and opened.data.classes == DIGITS
    png = drawing.ready() if is_ready else png
    sheet = {"png": drawing.as_url(png) if png else None, "isReady": is_ready}
    pixels = None
    if png:
        pixels = opened.removals.picture_of_file(png, "the drawing", is_drawing=True).pixels
    return Subject(pixels, "Your drawing", hint, sheet=sheet, n=n)


def _drawn() -> tuple[bytes, int]:
    """What was drawn last, empty for an empty sheet, and the number under which the browser sent it."""
    drawn = dict(st.session_state.get(DESK, {})).get("drawn")
    if not isinstance(drawn, dict) or not isinstance(drawn.get("n"), int):  # the browser may send anything
        return st.session_state.get(DRAWING, b""), 0
    freeze_again()
    st.session_state[DRAWING] = drawing.decoded(drawn.get("png")) or b""
    return st.session_state[DRAWING], drawn["n"]


def _sentence(notes: Sequence[str]) -> str:
    text = "; ".join(notes)
    return f"{text[:1].upper()}{text[1:]}." if text else "Taken as it is."


def _data(
    opened: OpenedStudy, pair: Pair, asked: Asked, subject: Subject, answers: tuple[Answer, Answer] | None
) -> dict[str, Any]:
    """What the desk paints, as JSON."""
    classes, number = opened.data.classes, opened.data.target
    kind = "picture" if opened.are_images else opened.drawn_as
    data: dict[str, Any] = {
        "answered": subject.n,
        "opened": st.session_state.get(OPENED, 0),
        "sheet": subject.sheet,
        "title": subject.title,
        "hint": subject.hint,
        "kind": kind,
        "classes": list(classes),
        "label": subject.label,
        "counted": opened.words[0],
        "speaks": ["speaks for the answer", "speaks against it"] if classes else ["raises the number", "lowers it"],
        "waiting": "Waits for a drawing." if subject.sheet else f"Waits for your {opened.words[2]}.",
        "explained": None if number is None else "the number",
        "inputs": [],
        "order": [],
        "pixels": None,
        "said": "",
    }
    kept = opened.trying.kept(pair)
    if answers is None or subject.inputs is None:
        return data | {"networks": [_card(opened, pair, kept, place) for place in (0, 1)]}
    seen = opened.trying.seen(subject.inputs, asked.seed)
    if kind == "picture":
        data |= {"shape": list(seen.shape), "pixels": _text(seen)}
    elif kind == "series":
        data |= {"values": [float(value) for value in seen], "length": opened.data.shape[-1]}
    if kind == "bars" or not opened.data.grouping.is_single:
        data["inputs"] = _rows(opened.trying.by_group(answers, subject.inputs, asked.seed))
    if classes:
        surest = np.max([answer.probabilities for answer in answers], axis=0)
        data["order"] = np.argsort(-surest, kind="stable")[:SHOWN_CLASSES].tolist()
    shape = opened.data.shape
    maps = [None if a.relevance is None else _of_pixels(a.relevance, shape) for a in answers]
    limit = _limit([one for one in maps if one is not None])
    cards = []
    for place, (answer, relevance) in enumerate(zip(answers, maps, strict=True)):
        card = _card(opened, pair, kept, place) | _answered(opened, answer, subject.label)
        if relevance is not None:
            card["relevance"] = _text((127 * (relevance / limit).clip(-1, 1)).round().astype(np.int8))
        cards.append(card)
    if subject.label is None and classes:
        cards[1]["verdict"] = "the same answer" if answers[0].says == answers[1].says else "another answer"
    said = [f"The {name} network says {_spoken(card)}." for name, card in zip(("full", "small"), cards, strict=True)]
    return data | {"networks": cards, "said": " ".join(said)}


def _card(opened: OpenedStudy, pair: Pair, kept: np.ndarray, place: int) -> dict[str, Any]:
    """What is known of a network before it has answered."""
    n = opened.n_groups
    reads = things(n, opened.words[0]) if place == 0 else f"{pair.keep:,} of {things(n, opened.words[0])}"
    lit = kept if place else np.ones_like(kept)
    share = _of_pixels(lit.astype(float), opened.data.shape, mean=True)
    is_tuned = place == 0 and pair.full.mode == "fine-tune"
    return {
        "title": ("Full network", "Small network")[place],
        "reads": f"reads {reads}",
        "kept": _text((255 * share).round().astype(np.uint8)),
        "answer": None,
        "sure": None,
        "verdict": None,
        "says": None,
        "probabilities": [],
        "relevance": None,
        "notes": ["Trained on for as many epochs as the small one, so that the two compare."] if is_tuned else [],
    }


def _answered(opened: OpenedStudy, answer: Answer, label: int | float | None) -> dict[str, Any]:
    notes = [f"No relevance: {answer.why_not}."] if answer.why_not else []
    if answer.says is None:
        off = [] if label is None else [f"Off by {answer.number - label:+.4g}."]
        return {"answer": f"{answer.number:.6g}", "notes": off + notes}
    return {
        "answer": opened.data.classes[answer.says],
        "sure": percent(answer.sure or 0.0),
        "verdict": None if label is None else "right" if answer.says == label else "wrong",
        "says": answer.says,
        "probabilities": [round(float(p), 4) for p in answer.probabilities],
    } | ({"notes": notes} if notes else {})


def _spoken(card: dict[str, Any]) -> str:
    return f"{card['answer']}, {card['sure']}" if card["sure"] else str(card["answer"])


def _of_pixels(values: np.ndarray, shape: Sequence[int], *, mean: bool = False) -> np.ndarray:
    """Values of inputs as those of pixels, over whose channels they are summed or averaged; others as they are."""
    if len(shape) != 3:
        return values
    by_channel = values.reshape(shape[0], -1)
    return by_channel.mean(0) if mean else by_channel.sum(0)


def _limit(maps: Sequence[np.ndarray]) -> float:
    """What is painted in full colour, on one scale for both: of all that is not 0 a fiftieth is more."""
    sizes = np.abs(np.concatenate([np.zeros(1), *(one.ravel() for one in maps)]))
    return float(np.quantile(sizes[sizes > 0], 0.98)) if sizes.any() else 1.0


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    def known(value: float) -> float | None:
        return None if np.isnan(value) else round(float(value), 4)

    return [
        {
            "name": row["name"],
            "value": "" if np.isnan(row["value"]) else f"{row['value']:.4g}",
            "kept": bool(row["kept"]),
            "relevance": [known(row["full"]), known(row["small"])],
        }
        for row in table.to_dict("records")
    ]


def _text(values: np.ndarray) -> str:
    """Bytes as the desk reads them."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
