"""The full and the small network answer side by side."""

import streamlit as st

from lrp_core import views
from pages._ui import frame, state, trying, trying_standing, trying_tested

opened, run = frame.open_page(
    "Try it", "Draw, upload or pick an image: the full and the small network answer side by side."
)

with frame.refusals():
    trying_tested.open_next()
    method, mode, seed, removed = state.choose()
    place = {"method": method, "mode": mode, "keep": opened.keep_for(removed), "seed": seed}
    standing = opened.trying.standing(**place)
    pair = trying_standing.settle(opened, run, standing)
    figures = pair or standing.recorded
    recorded = None if figures is None else opened.testing.recorded(figures)

    if pair is not None:
        broken = [] if recorded is None else recorded.positions("break").tolist()
        asked = trying.choose(opened, seed, broken[0] if broken else 0, list(views.offers().composites))
        trying.desk(opened, pair, asked)

    if figures is not None:
        images = opened.words[1]
        st.header(f"Test {images} that break, and those that heal", anchor=False)
        progress = st.container()
        with progress:
            predictions = trying_tested.predicted(opened, pair)
        tested = recorded
        if tested is None and predictions is not None and opened.data.classes:
            tested = views.Tested.of(predictions)
        trying_tested.gallery(opened, figures, tested, predictions, can_open=pair is not None)
        if predictions is not None:
            st.header("Confusion before and after" if opened.data.classes else "Errors before and after", anchor=False)
            trying_tested.matrices(opened, predictions, recorded)
        if tested is not None:
            st.header("Class by class", anchor=False)
            trying_tested.by_class(opened, tested)
