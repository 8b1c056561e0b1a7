"""What the app is for, and what the chosen study found."""

import streamlit as st

from pages._ui import charts, charts_methods, frame, masks, registry, state
from pages._ui.formats import change, count, interval, percent, points, saved, size, title

CONTROLS = {"random", "variance"}

opened, run = frame.open_page(
    "Overview", "Which inputs does a neural network need, and what does it save to drop the rest?", live=True
)
study = opened.study
pixels, images, image = opened.words
over = "splits" if study.resplit else "seeds"

st.markdown(
    "Layer-wise relevance propagation traces each answer of a trained network back to the inputs it came from. "
    "Averaged over the training data, that ranks the inputs; the least relevant ones can be removed, and the network "
    "becomes smaller and cheaper. Every score here was measured on data that the network was not trained on."
)

with frame.refusals():
    method = state.value("method")
    n_groups = opened.n_groups
    margin = state.value("margin")
    headline = opened.headline(method, margin / 100)
    has_results = not opened.curve().empty

    if headline is None and (run.is_active or has_results):
        prefix = "So far: " if run.is_active else ""
        best = opened.recommend(method, margin=margin / 100)
        st.info(
            f"{prefix}{best.sentence}"
            if best is not None
            else "The first results appear here as soon as the first networks are trained.",
            icon=":material/hourglass_top:" if run.is_active else ":material/info:",
        )
    elif headline is not None:
        row, base = headline.row, headline.baseline
        st.subheader(
            f"{percent(row['removed'], 0)} of the {pixels} can go: {count(row['keep'])} of {n_groups} are enough",
            anchor=False,
        )
        st.markdown(
            f"On the test {images} the smaller network "
            + (
                f"is right in **{percent(row['score'])}** of all cases, the full one in **{percent(base['score'])}**. "
                if opened.data.target is None
                else f"has an R² of **{percent(row['score'])}**, the full one of **{percent(base['score'])}**; their "
                f"mean absolute errors are {row['absolute_error']:.4g} and {base['absolute_error']:.4g}. "
            )
            + "It takes "
            f"**{saved(row['macs'], base['macs'], 'fewer')}** multiplications and "
            f"**{saved(row['bytes'], base['bytes'])}** memory for its weights. "
            f"{pixels.capitalize()} ranked by {headline.recommendation.method}, smaller network: "
            f"{headline.recommendation.mode}."
        )
        st.markdown(f"Chosen on validation {images}: {headline.recommendation.reason}")
        with st.container(horizontal=True):
            st.metric(
                f"{pixels.capitalize()} removed",
                percent(row["removed"], 0),
                f"{count(n_groups - row['keep'])} of {n_groups}",
                delta_color="off",
                delta_arrow="off",
                border=True,
                help=f"The largest measured share whose validation {opened.score} differs from the full "
                + (
                    "network's of the same seed so little that the whole 95 % interval stays within a loss of "
                    f"{margin:g} points."
                    if headline.recommendation.is_certain
                    else f"network's of the same seed by a loss of at most {margin:g} points: the result of one seed."
                ),
            )
            st.metric(
                f"Test {opened.score}",
                percent(row["score"]),
                points(row["score"] - base["score"]),
                border=True,
                help=(f"Mean over {row['seeds']} {over}" if row["seeds"] > 1 else "Of one network")
                + f"; {interval(row['low'], row['high'])}. "
                f"Full network: {percent(base['score'])}, {interval(base['low'], base['high'])}.",
            )
            for name, label, text in (
                ("macs", "MACs", f"Multiply-accumulates for one {image}."),
                ("parameters", "Parameters", "Weights and biases."),
                ("bytes", "Weights", "Bytes that the weights take as float32."),
            ):
                shown = size(row[name]) if name == "bytes" else count(row[name])
                st.metric(
                    label, shown, change(row[name], base[name]), delta_color="inverse", border=True,
                    help=f"{text} Counted; the full network: {count(base[name])}.",
                )  # fmt: skip
            if "input_cost" in row and row["input_cost"] == row["input_cost"]:
                st.metric(
                    "Cost of inputs", f"{row['input_cost']:,.6g}", change(row["input_cost"], base["input_cost"]),
                    delta_color="inverse", border=True,
                    help=f"What the {pixels} that are read cost, as the data say; all of them: "
                    f"{base['input_cost']:,.6g}.",
                )  # fmt: skip
        st.caption(
            (
                f"Test {opened.score}: {interval(row['low'], row['high'])} for the smaller network, "
                f"{interval(base['low'], base['high'])} for the full one (over {over}). "
                if row["seeds"] > 1
                else "The test figures are those of one network each: without a second seed there is no interval. "
            )
            + f"The share was chosen on validation {images}; the test {images} only measured it."
            + (
                " The full network was fine-tuned for as many epochs as the smaller one."
                if headline.recommendation.mode == "fine-tune"
                else ""
            )
        )

    if has_results:
        left, right = st.columns([2, 3], gap="medium")
        seed = study.seeds[0]
        with left:
            st.markdown(f"**Which {pixels} stay**")
            slot = st.container()
            keep = int(headline.row["keep"]) if headline else opened.keep_for(state.REMOVED)
            if opened.rankings.is_ready(method, keep, seed):
                with slot:
                    masks.draw(opened, method, keep, seed)
                st.caption(f"{masks.says(opened, keep)} Mask of seed "
                           f"{opened.rankings.seed_of(seed)}.")  # fmt: skip
            else:
                st.caption(f"The mask shows when the {pixels} are ranked by {method}.")
        with right:
            st.markdown(f"**{title(opened.score)} as {pixels} go** (validation {images})")
            mode = headline.recommendation.mode if headline else study.modes[0]
            st.plotly_chart(
                charts_methods.score_curves(
                    opened.curves([n for n in study.methods if n == method or n in CONTROLS], mode),
                    study.methods,
                    chosen=method,
                    recommended=headline.recommendation.row if headline else None,
                    height=350,
                    score=opened.score,
                    counted=pixels,
                ),
                config=charts.CONFIG,
                key="curve",
                alt=f"Validation {opened.score} against the share of {pixels} removed, with the controls",
            )
            others = len(study.methods) - 1
            st.caption(
                (
                    f"Bands are 95 % intervals over {over}."
                    if len(study.seeds) > 1
                    else "One seed gives no interval: a study with several shows how far results scatter."
                )
                + (" The controls rank at random and by variance." if set(study.methods) >= CONTROLS else "")
                + (f" The page Pruning draws all {others + 1} methods." if others > len(CONTROLS) else "")
            )
        st.page_link(registry.page("Pruning"), label="Choose another threshold", icon=":material/content_cut:")
