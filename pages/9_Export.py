"""Take the smaller network away."""

import streamlit as st

from lrp_core.study import launch
from pages._ui import data, export_card, frame, runs, state
from pages._ui.formats import percent, size, things

opened, _ = frame.open_page(
    "Export",
    "Take the smaller network with you: weights, and a card that says what they are and how good.",
)
study, ledger = opened.study, opened.ledger

with frame.refusals():
    n_groups = opened.n_groups
    method, mode, seed, removed = state.choose(opened)
    keep = opened.keep_for(removed)
    export = opened.export(method=method, keep=keep, mode=mode, seed=seed)
    folder, run = export.folder, ledger.run(export.run)
    st.markdown(
        f"Network **{study.architecture}** on **{study.dataset}**, reading **{keep}** of "
        f"{things(n_groups, opened.words[0])} ({percent(keep / n_groups, 0)}), ranked by **{method}**, smaller network "
        f"**{mode}**, seed **{seed}**."
    )
    is_there = (folder / "card.json").exists() and not (run and run.is_active)
    if is_there:
        card = export.card()
        weights = (folder / "weights.safetensors").stat().st_size
        with st.container(horizontal=True, vertical_alignment="center"):
            st.download_button(
                "Download the network",
                data=lambda: data.zipped(folder, export_card.readme(card)),
                file_name=f"{study.dataset}-{study.architecture}-{keep}-{opened.words[0]}.zip",
                mime="application/zip",
                type="primary",
                icon=":material/download:",
                on_click="ignore",
                help=f"A zip file with weights.safetensors ({size(weights)}), card.json and README.txt.",
            )
            st.badge("Read back and measured again before it was offered", icon=":material/verified:", color="green")
        export_card.show(card)
    elif run and not run.is_active and run.state != "done":
        runs.panel(ledger, run)
    elif not (run and run.is_active):
        st.caption(
            "Preparing trains this one network if the study has not, writes weights and card, reads both back and "
            f"measures its {opened.score} again: a few seconds, in a process of its own."
        )
        if st.button("Prepare export", type="primary", icon=":material/inventory_2:"):
            launch.start_export(export.run, export.spec, ledger)
            st.rerun()
