"""The threshold: which pixels go, what that saves, what accuracy it leaves."""

import streamlit as st

from pages._ui import charts, data, frame, state, tables
from pages._ui.formats import change, count, interval, percent, points, size

opened = frame.open_page(
    "Pruning",
    "Move the threshold: the least relevant pixels go first, and the numbers follow at once.",
    live=True,
)


@st.fragment
def explore(opened: frame.Open) -> None:
    study = opened.study
    table = data.curve(*opened.source)
    n_inputs, _, _ = data.facts(study)
    method, mode, seed, removed = state.choose(study)
    keep = data.keep_for(removed, n_inputs)
    if not data.is_ready(study, seed, opened.ledger.folder):
        frame.not_yet(seed)
        return
    found = data.threshold(study, table, method, mode, keep, seed)
    small, full = found.cost, found.full_cost
    with st.container(horizontal=True):
        st.metric(
            "Pixels kept",
            count(keep),
            f"of {n_inputs}",
            delta_color="off",
            delta_arrow="off",
            border=True,
            help="The pixels that the smaller network reads.",
        )
        expected, baseline = found.accuracy, found.baseline
        st.metric(
            "Expected accuracy",
            percent(expected.estimate) if expected else "not measured",
            points(expected.estimate - baseline.estimate) if expected and baseline else None,
            border=True,
            help="On validation images, interpolated between the measured points of the curve. "
            + (interval(expected.low, expected.high) if expected else "The study has no network this small."),
        )
        st.metric("MACs", count(small.macs), change(small.macs, full.macs), delta_color="inverse", border=True,
                  help=f"Multiply-accumulates for one image; the full network: {count(full.macs)}.")  # fmt: skip
        st.metric("Parameters", count(small.parameters), change(small.parameters, full.parameters),
                  delta_color="inverse", border=True,
                  help=f"Weights and biases; the full network: {count(full.parameters)}.")  # fmt: skip
        st.metric("Weights", size(small.bytes), change(small.bytes, full.bytes), delta_color="inverse", border=True,
                  help=f"Bytes as float32; the full network: {size(full.bytes)}.")  # fmt: skip
        st.metric("One input", size(small.input_bytes), change(small.input_bytes, full.input_bytes),
                  delta_color="inverse", border=True,
                  help=f"Bytes of one image as float32; the full network: {size(full.input_bytes)}.")  # fmt: skip
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.markdown("**Which pixels stay**")
        st.plotly_chart(
            charts.mask(found.kept, data.mean_image(study), 330),
            config=charts.CONFIG,
            key="mask",
            alt=f"The mean digit: {keep} pixels that stay in colour, the others dimmed",
        )
        st.caption(f"Mean training image; kept pixels in colour, removed ones grey. Mask of seed {seed}.")
    with right:
        st.markdown("**Accuracy as pixels go** (validation images)")
        st.plotly_chart(
            charts.accuracy_curves(
                data.curves(table, study.methods, mode), chosen=method, marker=found.removed, height=350
            ),
            config=charts.CONFIG,
            key="curve",
            alt="Validation accuracy against the share of pixels removed; the line marks the slider",
        )
        st.caption(
            "Points are measured, lines between them interpolated. "
            + ("Bands: 95 % intervals over seeds." if len(study.seeds) > 1 else "No bands: one seed gives no interval.")
        )


with frame.refusals():
    explore(opened)
    st.caption(
        "This is accuracy on validation images, which is for choosing. Final figures on test images are on the "
        "overview and in the card of every export."
    )
    table = data.curve(*opened.source)
    if not table.empty:
        st.subheader("Measured points", anchor=False)
        tables.curve(table)
