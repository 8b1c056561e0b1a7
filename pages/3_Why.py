"""One test image or row: which inputs the answer came from, and what each layer did with the relevance."""

import streamlit as st

from lrp_core import views
from pages._ui import charts, charts_inputs, frame, picker, state, tables
from pages._ui.data import ask
from pages._ui.fields import field
from pages._ui.formats import percent

opened, _ = frame.open_page(
    "Relevance",
    "One answer explained: which inputs speak for it, and which against it.",
)

with frame.refusals():
    classes, offers = opened.data.classes, views.offers()
    with st.container(border=True):
        index = picker.pick_test_image(opened, state.value("seed"))
        with st.container(horizontal=True, vertical_alignment="bottom"):
            names = list(offers.composites)
            composite = field(st.selectbox, "Rules", names, names.index("epsilon-plus"), key="rules", width=210,
                              in_url=True, help="Which propagation rule each kind of layer uses.")  # fmt: skip
            start, target = "logit", None  # a number is explained by itself
            if classes:
                start = field(st.selectbox, "Start", offers.starts, key="start", width=150, in_url=True,
                              help="What is explained: the class's logit, its contrast to the best other one, or its "
                              "log-odds; one-hot starts with a relevance of 1, whatever the logit is.")  # fmt: skip
                target = field(st.selectbox, "Explained class", [None, *range(len(classes))], key="target", width=170,
                               format_func=lambda i: "the predicted one" if i is None else classes[i],
                               help="Red inputs speak for this class, blue ones against it.")  # fmt: skip
            seed = state.seed(opened)
        st.caption(f"{composite}: {offers.composites[composite]}.")

    if not opened.baseline_is_ready(seed):
        frame.not_yet(seed)
        st.stop()

    explanation = ask(opened.images, "explain", seed=seed, index=index, composite=composite, start=start, target=target)
    if classes:
        predicted = int(explanation.probabilities.argmax())
        explained, answered = f"class {classes[explanation.target]}", classes[predicted]
        confidence = percent(float(explanation.probabilities[predicted]))
        verdict = "rightly" if predicted == explanation.label else f"wrongly: it is **{classes[explanation.label]}**"
        st.markdown(
            f"The network says **{classes[predicted]}** ({confidence}), {verdict}. Explained is class "
            f"**{classes[explanation.target]}**."
        )
    else:
        number = opened.data.target
        explained = f"{explanation.answer:.6g} against the mean of {number.mean:.6g}"
        st.markdown(
            f"The network predicts **{explanation.answer:.6g}** for {number.name}; it is **{explanation.label:.6g}**. "
            f"Explained is why it is not the mean of the training rows, {number.mean:.6g}: red inputs raise it, blue "
            "ones lower it."
        )
    names, has_groups = opened.group_names(), not opened.data.grouping.is_single
    if opened.are_images:
        picture, heat, *rest = st.columns(3 if classes else 2, gap="medium")
        with picture:
            st.markdown("**Image**")
            st.plotly_chart(
                charts.digit(explanation.image),
                config=charts.CONFIG,
                key="digit",
                alt=f"Test image {index}, {classes[explanation.label] if classes else explanation.label}",
            )
    else:
        heat, *rest = st.columns(2 if classes else 1, gap="medium")
    with heat:
        st.markdown(f"**Relevance of each {'pixel' if opened.are_images else opened.words[0].removesuffix('s')}**")
        held = None if has_groups else explanation.image[0]
        st.plotly_chart(
            charts.relevance(explanation.relevance)
            if opened.are_images
            else charts_inputs.signed(names, explanation.of_groups, held),
            config=charts.CONFIG,
            key="heat",
            alt=f"Relevance of each input for {explained}: red for it, blue against it",
        )
        if opened.are_images and opened.data.shape[0] > 1:
            st.caption(f"The sum over the {opened.data.shape[0]} channels.")
        elif len(names) > charts_inputs.MOST and not opened.are_images:
            st.caption(f"The {charts_inputs.MOST} of {len(names):,} {opened.words[0]} with the most relevance.")
    for bars in rest:
        with bars:
            st.markdown("**What the network answers**")
            st.plotly_chart(
                charts.probabilities(explanation.probabilities, classes, explanation.label, explanation.target),
                config=charts.CONFIG,
                key="probabilities",
                alt=f"Probability of each class, highest for {answered}",
            )

    if opened.are_images and has_groups:
        st.markdown("**Relevance of each group**")
        st.plotly_chart(
            charts_inputs.signed(names, explanation.of_groups, None),
            config=charts.CONFIG,
            key="groups",
            alt=f"Relevance of each group of pixels for {explained}: red for it, blue against it",
        )
        if len(names) > charts_inputs.MOST:
            st.caption(f"The {charts_inputs.MOST} of {len(names):,} groups with the most relevance.")

    st.subheader("Layer by layer", anchor=False)
    colours = "Red speaks for the class, blue against it." if classes else "Red raises the number, blue lowers it."
    rows = "" if len(opened.data.shape) != 2 else (
        " Each map of a convolution is a row, and so is each position that a transformer looks at."
    )  # fmt: skip
    st.caption(f"Relevance at the output of each hidden layer. {colours}{rows}")
    weighted = [name for name in explanation.balance["layer"] if name in explanation.layers]
    hidden = {name: explanation.layers[name] for name in weighted[:-1]}
    if hidden:
        for tab, (name, values) in zip(st.tabs(list(hidden)), hidden.items(), strict=True):
            with tab:
                st.plotly_chart(
                    charts.of_layer(values),
                    config=charts.CONFIG,
                    key=f"layer-{name}",
                    alt=f"Relevance at the output of layer {name}",
                )
    else:
        st.caption("This network has no hidden layer.")

    st.subheader("Conservation", anchor=False)
    balance = explanation.balance[::-1].reset_index(drop=True)  # in the order in which relevance passes
    absorbed, arrived = float(balance["absorbed"].sum()), float(balance["arrived"].iloc[0])
    st.markdown(
        "Relevance is neither made nor lost on its way back, except for what biases and the stabiliser epsilon absorb. "
        f"It starts with **{arrived:.4g}** at the output; **{absorbed:.4g}** is absorbed on the way, and "
        f"**{float(explanation.relevance.sum()):.4g}** reaches the inputs."
    )
    st.plotly_chart(
        charts.conservation(balance),
        config=charts.CONFIG,
        key="conservation",
        alt="Relevance that arrived at each layer as what it handed on and what it absorbed",
    )
    tables.balance(balance)
