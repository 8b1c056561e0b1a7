"""Studies: watch the chosen one, open earlier ones, set up and start new ones."""

import streamlit as st

from pages._ui import comparing, frame, reports, setup, state, studies

page = frame.open_studies(
    "Studies",
    "A study is a grid of networks: every method, at every share removed, for every seed.",
)
run, ledger = page.run, page.ledger
study = page.opened.study if page.opened is not None else None

with frame.refusals():
    st.header("All studies", anchor=False)
    st.caption("Select a row to open that study on all pages.")
    studies.table(run, page.known, ledger)
    with st.container(horizontal=True, vertical_alignment="center"):
        if study is not None:
            st.button(
                "Use as a start",
                icon=":material/content_copy:",
                key="use",
                on_click=setup.use,
                args=(study,),
                help=f"Fill the form below with the settings of “{run.name}”.",
            )
        studies.name(run, ledger)
        reports.button(run, ledger, state.MARGIN / 100)
        studies.delete(run, page.known, ledger)

with frame.refusals():
    comparing.compare(run, page.known, ledger)

with frame.refusals():
    st.header("Set up a study", anchor=False)
    setup.form(study, run, page.known, ledger)
