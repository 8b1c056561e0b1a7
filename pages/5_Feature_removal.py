"""Does relevance find what matters? Pixels are taken away, and the network is asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

from pages._ui import charts, charts_removal, data, drawing, frame, jobs, picker, removal, state, tables
from pages._ui.formats import percent, points

if TYPE_CHECKING:
    from lrp_core.views.removal import Picture

opened = frame.open_page(
    "Feature removal",
    "Take away the least relevant pixels, or the most relevant ones: does the network notice?",
)

SOURCES = ("Test image", "Own picture", "Drawing")


def choose() -> tuple[removal.Choice, float]:
    """The controls that the test set and the single picture share; the share of the pixels apart."""
    study = opened.study
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=200):
            names = removal.criteria()
            criterion = st.selectbox(
                "Relevance by",
                names,
                index=names.index("epsilon-plus"),
                key="by",
                bind="query-params",
                help="A set of propagation rules, or what they have to beat. data-set: one order for all images, the "
                "study's own. random and centre look at neither network nor image.",
            )
        with st.container(width=130):
            start = st.selectbox(
                "Start",
                data.starts(),
                key="start",
                bind="query-params",
                help="What of the output is explained, for the class that the network says.",
            )
        with st.container(width=130):
            ranking = st.selectbox(
                "Order",
                removal.rankings(),
                key="order",
                bind="query-params",
                help="signed: pixels against the class are the least relevant. magnitude: pixels around zero are.",
            )
        with st.container(width=220):
            scope = st.selectbox(
                "Among",
                list(removal.SCOPES),
                format_func=removal.SCOPES.get,
                key="scope",
                bind="query-params",
                help="Which pixels are in question: all; those lit in at least 1 % of the training images; those lit "
                "in the image itself. On MNIST the least relevant of all are mostly border, which is black anyway.",
            )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=120):
            fill = st.selectbox(
                "Fill",
                list(removal.FILLS),
                format_func=removal.FILLS.get,
                key="fill",
                bind="query-params",
                help="What a removed pixel becomes. zero: black. mean: its mean over the training images. noise: "
                "uniform. blur: the image blurred. ROAD: imputed from its neighbours, with a little noise.",
            )
        with st.container(width=100):
            seed = state.seed(study)
        with st.container(width="stretch"):
            share = st.slider(
                "Share removed", 1, 99, removal.SHARE, format="%d %%", key="share", bind="query-params",
                help="Of the pixels in question; 15 % in the original experiment. Arrow keys work.",
            )  # fmt: skip
    return removal.Choice(study, opened.ledger.folder, seed, criterion, start, ranking, scope, fill), share / 100


def pick() -> Picture | None:
    """The picture to look at; None as long as there is none."""
    source = st.segmented_control(
        "Picture", SOURCES, default=SOURCES[0], key="source", required=True, persist_state="session",
        help="An image of the test set, or one of your own: it never leaves this server's memory.",
    )  # fmt: skip
    study, folder = opened.study, opened.ledger.folder
    if source == "Test image":
        index = picker.pick_test_image(
            study, wrong=lambda label: removal.wrong_indices(study, folder, state.value("seed"), label)
        )
        return removal.picture_of_test(study, index)
    if source == "Own picture":
        file = st.file_uploader(
            "Picture file",
            type=["png", "jpg", "jpeg", "gif", "webp", "bmp"],
            max_upload_size=20,
            key="upload",
            help="Any size. It becomes grey, light on dark, and its ink is scaled and centred as in MNIST.",
        )
        content, name = (file.getvalue(), file.name) if file else (None, "")
    else:
        content, name = drawing.sheet("sheet"), "the drawing"
        st.caption("Draw a digit, with mouse, finger, or Shift and the arrow keys.")
    if content is None:
        return None
    with frame.refusals():
        found = removal.picture_of_file(study, content, name)
        if found.said and source == "Own picture":
            st.caption(f"What the network sees: {'; '.join(found.said)}.")
        return found
    return None


def pictures(choice: removal.Choice, picture: Picture, share: float, classes: tuple[str, ...]) -> None:
    """The three images side by side with what the network says, and the heat map."""
    scores = removal.relevance(choice, picture)
    found = removal.remove(choice, picture, scores, share)
    st.markdown(found.finding)
    first = found.table.iloc[0]
    columns = st.columns(4, gap="medium")
    for place, (column, row) in enumerate(zip(columns, found.table.to_dict("records"), strict=False)):
        name = removal.VARIANTS[row["image"]]
        said = classes[row["prediction"]]
        with column:
            st.markdown(f"**{name}**  \n:small[{removal.WENT[place]}]")
            st.plotly_chart(
                charts_removal.without(found.images[place], found.removed[place]),
                config=charts.CONFIG,
                key=f"image-{place}",
                alt=f"{name}, {row['removed']} pixels removed: the network says {said}",
            )
            st.markdown(f"The network says **{said}** {verdict(row, picture.label, classes)}")
            kept = row["original_confidence"]
            change = f"  \n:small[{points(kept - first['original_confidence'])}]" if place else ""
            st.markdown(
                f"Confidence: **{percent(row['confidence'])}**  \n"
                f"First answer, {classes[first['prediction']]}: **{percent(kept)}**{change}".replace(" %", "\u00a0%")
            )
    with columns[3]:
        st.markdown(f"**Relevance**  \n:small[by {choice.criterion}]")
        st.plotly_chart(
            charts.relevance(scores.sum(0), 220),
            config=charts.CONFIG,
            key="heat",
            alt=f"Relevance of each pixel for class {classes[first['prediction']]}: red for it, blue against it",
        )
        st.caption("Red is relevant for what the network says, blue speaks against it.")
    least, most = (found.table.iloc[place] for place in (1, 2))
    st.caption(f"{least['removed']} of {found.candidates} pixels go, tinted in the pictures. {ties(least, most)}")


def verdict(row: Mapping, label: int, classes: tuple[str, ...]) -> str:
    """Right or wrong, as a badge; for a picture whose class nobody knows, whether the answer stayed."""
    if label >= 0:
        return ":green-badge[right]" if row["correct"] else f":red-badge[wrong: it is {classes[label]}]"
    if row["image"] == "original":
        return ""
    return ":orange-badge[another answer]" if row["flipped"] else ":gray-badge[the same answer]"


def ties(least: Mapping, most: Mapping) -> str:
    """How many of the removed pixels the seed picked, in words; both are rows with `removed` and `tied`."""
    if not least["tied"] and not most["tied"]:
        return "No choice between pixels of equal relevance was left to chance."
    return (
        f"{least['tied']:.0f} of the {least['removed']:.0f} least relevant ones and {most['tied']:.0f} of the "
        f"{most['removed']:.0f} most relevant ones were picked by the seed from pixels of equal relevance, which "
        "are common: blank pixels have a relevance of zero."
    )


def over_test_set(choice: removal.Choice, share: float) -> None:
    """The table over the whole test set."""
    st.subheader("Over the whole test set", anchor=False)
    work = removal.measure_removal(choice, share)
    found = jobs.ask("removal", (choice, share), work, is_cached=removal.is_measured(choice, share))
    if found is None:
        return
    st.markdown(found.finding)
    whole = found.table[found.table["class"] == "all"]
    tables.removal(whole, removal.VARIANTS)
    _, least, most = whole.to_dict("records")
    st.caption(f"In brackets: 95 % intervals over images. Ties, as a mean over images: {ties(least, most)}")
    with st.expander("Class by class", icon=":material/table_rows:"):
        tables.removal(found.table[found.table["class"] != "all"], removal.VARIANTS, by_class=True)


def curves(choice: removal.Choice, share: float) -> None:
    """Perturbation curves of the chosen criterion and others."""
    st.subheader("Ever more pixels", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=400):
            others = st.multiselect(
                "Compared with",
                removal.criteria(),
                ["gradient-x-input", "data-set", "random"],
                max_selections=6,
                key="others",
                persist_state="session",
                help="Each is measured with the same order, pixels and fill as above.",
            )
        with st.container(width=150):
            measure = st.selectbox(
                "Shown",
                list(charts_removal.MEASURES),
                format_func=lambda name: charts_removal.MEASURES[name][0],
                key="measure",
                persist_state="session",
            )
        with st.container(width=100):
            n_images = st.selectbox(
                "Images",
                [500, 1000, None],
                index=1,
                format_func=lambda n: f"{n:,}" if n else "all",
                key="images",
                persist_state="session",
                help="Of the test set, each class in its proportion. ROAD, and all of them on a large network, take "
                "minutes.",
            )
        with st.container(width=90):
            n_steps = st.selectbox("Steps", [10, 20, 40], index=1, key="steps", persist_state="session",
                                   help="Into how many equal shares the pixels are parted.")  # fmt: skip
    names = tuple(dict.fromkeys([choice.criterion, *others]))
    asked = (choice, names, n_steps, n_images)
    found = jobs.ask("curves", asked, removal.measure_curves(*asked), is_cached=removal.curves_are_measured(*asked))
    if found is None:
        return
    best, own = found.areas.iloc[0], found.areas.set_index("criterion").loc[choice.criterion]
    ahead = "" if best["criterion"] == choice.criterion else (
        f" The largest is that of **{best['criterion']}**, **{best['area_between']:.3f}**."
    )  # fmt: skip
    st.markdown(
        f"Between its two curves **{choice.criterion}** has an area of **{own['area_between']:.3f}** (95 % interval "
        f"{own['area_between_low']:.3f} to {own['area_between_high']:.3f}); a random order has none.{ahead}"
    )
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.plotly_chart(
            charts_removal.perturbation(found.points, measure, chosen=choice.criterion, marker=share),
            config=charts.CONFIG,
            key="curves",
            alt=f"{charts_removal.MEASURES[measure][1]} against the share of pixels removed, least and most relevant "
            "first, for each criterion; the line marks the slider",
        )
        st.caption(
            "Solid: least relevant first (LeRF), best when high. Dashed: most relevant first (MoRF), best when low. "
            "Band: 95 % interval over images."
        )
    with right:
        st.plotly_chart(
            charts_removal.areas(found.areas, chosen=choice.criterion),
            config=charts.CONFIG,
            key="area-chart",
            alt="Area between the two curves of each criterion with its 95 % interval, the largest on top",
        )
    tables.areas(found.areas)


@st.fragment
def explore() -> None:
    _, _, classes = data.facts(opened.study)
    seed = state.value("seed")
    if not data.is_ready(opened.study, seed, opened.ledger.folder):
        with st.container(border=True):
            state.seed(opened.study)
        frame.not_yet(seed)
        return
    with st.container(border=True):
        picture = pick()
    with st.container(border=True):
        choice, share = choose()
    with frame.refusals():
        if picture is None:
            st.info("The pictures appear here as soon as there is one.", icon=":material/image:")
        else:
            pictures(choice, picture, share, classes)
    with frame.refusals():
        over_test_set(choice, share)
    with frame.refusals():
        curves(choice, share)


with frame.refusals():
    explore()
