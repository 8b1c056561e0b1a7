"""What the small network costs, beside the full one."""

import streamlit as st

from pages._ui import charts_methods, figures, frame, measured, state, tables
from pages._ui.formats import count, saved, size

opened, run = frame.open_page(
    "Savings",
    "What the small network costs, counted layer by layer, and how good a network a budget buys.",
    live=True,
)
study = opened.study
pixels, images, image = opened.words

with frame.refusals():
    seed = state.value("seed")
    with st.container(border=True, horizontal=True, vertical_alignment="top"):
        method = state.method()
        mode = state.mode()
        removed = state.removed()
    keep = opened.keep_for(removed)
    if not frame.has_ranking(opened, run, method, keep, seed):
        st.stop()
    threshold = opened.threshold(method=method, mode=mode, keep=keep, seed=seed)
    small, full = threshold.cost, threshold.full_cost
    st.markdown(
        f"With **{keep}** of {opened.n_groups} {pixels} the network does **{count(small.macs)}** instead of "
        f"{count(full.macs)} multiply-accumulates for one {image} ({saved(small.macs, full.macs, 'fewer')}), "
        f"its weights take "
        f"**{size(small.bytes)}** instead of {size(full.bytes)}, and one {image} **{size(small.input_bytes)}** "
        f"instead of {size(full.input_bytes)}."
        + (
            f" The {pixels} that it reads cost **{threshold.input_cost:,.6g}** instead of "
            f"{threshold.full_input_cost:,.6g}."
            if threshold.input_cost is not None
            else ""
        )
    )
    curves = opened.curves(study.methods, mode)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(f"**Cost as {pixels} go**")
        if method in curves and len(curves[method]) > 1:
            figures.draw(
                charts_methods.cost_curves(curves[method], marker=threshold.removed, counted=pixels, image=image),
                key="costs",
                alt=f"Each cost as a share of the full network's, against the share of {pixels} removed",
            )
            st.caption("Counted layer by layer for every measured point. The table below shows which layers shrink.")
        else:
            st.info("The first points appear as networks are finished.", icon=":material/hourglass_top:")
    with right:
        st.markdown(f"**What {opened.score} a budget buys** (validation {images})")
        budget = st.session_state.get("budget", "macs")
        figures.draw(
            charts_methods.score_by_cost(
                curves, study.methods, budget, chosen=method, score=opened.score, counted=pixels, image=image
            ),
            key="budget-chart",
            name=f"{opened.score}-by-{budget}",
            alt=f"Validation {opened.score} against cost, for the ranking and its controls",
        )
        st.segmented_control(
            "Budget",
            charts_methods.costs_of(curves.values()),
            default="macs",
            format_func=lambda name: charts_methods.cost_name(name, image).removesuffix(" (bytes)"),
            key="budget",
            required=True,
            wrap=True,
            label_visibility="collapsed",
            persist_state="session",
        )
    st.subheader("Layer by layer", anchor=False)
    st.caption(f"The small network at {removed} % removed beside the full one; layers without weights left out.")
    tables.layers(small, full, image)
    measured.beside_the_full_one(opened, method=method, mode=mode, keep=keep, seed=seed)
    if opened.savings.convolves:
        measured.ways_of_convolutions(opened, method=method, keep=keep, seed=seed)
