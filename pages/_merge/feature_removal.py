"""Does relevance find what matters? Pixels are taken away, and the network is asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from lrp_core import views
from pages._ui import charts, charts_removal, drawing, frame, jobs, picker, removal, state, tables
from pages._ui.data import ask
from pages._ui.fields import field
from pages._ui.formats import percent, points

if TYPE_CHECKING:
    from lrp_core.views import Picture

opened, _ = frame.open_page(
    "Feature removal",
    "Take away the least relevant pixels, or the most relevant ones: does the network notice?",
)

PIXELS = "pixels" if opened.data.shape[0] == 1 else "inputs"  # of colours, a pixel has several
SOURCES = {"test": "Test image", "file": "Own picture", "drawing": "Drawing"}


def choose() -> tuple[dict[str, Any], float]:
    """The controls that the test set and the single picture share, as the core calls them; the share apart."""
    offers = views.offers()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        names = offers.removal_criteria
        criterion = field(
            st.selectbox, "Relevance by", names, names.index("epsilon-plus"), key="by", width=200, in_url=True,
            help="A set of propagation rules, or what they have to beat. data-set: one order for all images, the "
            "study's own. random and centre look at neither network nor image.",
        )  # fmt: skip
        start = field(st.selectbox, "Start", offers.starts, key="start", width=130, in_url=True,
                      help="What of the output is explained, for the class that the network says.")  # fmt: skip
        ranking = field(
            st.selectbox, "Order", offers.removal_rankings, key="order", width=130, in_url=True,
            help="signed: pixels against the class are the least relevant. magnitude: pixels around zero are.",
        )  # fmt: skip
        scope = field(
            st.selectbox, "Among", list(removal.SCOPES), format_func=removal.SCOPES.get, key="scope", width=220,
            in_url=True, help="Which pixels may be removed: all; those lit in at least 1 % of the training images; "
            "those lit in the image itself. On MNIST the least relevant of all are mostly border, which is black "
            "anyway.",
        )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        fill = field(
            st.selectbox, "Fill", list(removal.FILLS), format_func=removal.FILLS.get, key="fill", width=120,
            in_url=True, help="What a removed pixel becomes. zero: black, or the mean of data that are standardised. "
            "mean: its mean over the training images. "
            "noise: uniform. blur: the image blurred. ROAD: imputed from its neighbours, with a little noise.",
        )  # fmt: skip
        seed = state.seed(opened)
        with st.container(width="stretch"):
            share = st.slider(
                "Share removed", 1, 99, removal.SHARE, format="%d %%", key="share", bind="query-params",
                help="Of the pixels that may be removed; 15 % in the original experiment. Arrow keys work.",
            )  # fmt: skip
    chosen = views.Removal(ranking, scope, fill, seed)  # its seed breaks ties
    return {"seed": seed, "criterion": criterion, "start": start, "removal": chosen}, share / 100


def pick() -> Picture | None:
    """The picture to look at; None as long as there is none."""
    sources = [SOURCES[name] for name in opened.removals.sources]
    if st.session_state.get("source") not in sources:  # another study may take other pictures
        st.session_state["source"] = sources[0]
    if len(sources) == 1:
        st.caption(
            "There are test images alone: a picture file has pixels between 0 and 1 in one or three channels, and "
            "these data have not."
        )
    source = st.segmented_control(
        "Picture", sources, key="source", required=True, persist_state="session",
        help="An image of the test set, or one of your own: it never leaves this server's memory.",
    )  # fmt: skip
    if source == SOURCES["test"]:
        seed = state.value("seed")
        index = picker.pick_test_image(opened, seed, with_wrong=True)
        return ask(opened.removals, "picture_of_test", index=index, seed=seed)
    if is_file := source == SOURCES["file"]:
        file = st.file_uploader(
            "Picture file",
            type=["png", "jpg", "jpeg", "gif", "webp", "bmp"],
            max_upload_size=20,
            key="upload",
            help="Any size. It is resized as your data's pictures are."
            if opened.study.digest
            else "Any size. It becomes grey, light on dark, and its ink is scaled and centred as in MNIST.",
        )
        content, name = (file.getvalue(), file.name) if file else (None, "")
    else:
        content, name = drawing.sheet("sheet"), "the drawing"
        what = "a digit" if opened.study.dataset == "mnist" else "what the network knows"
        st.caption(f"Draw {what}, with mouse, finger, or Shift and the arrow keys.")
    if content is None:
        return None
    with frame.refusals():
        picture = ask(opened.removals, "picture_of_file", content=content, name=name, is_drawing=not is_file)
        if picture.notes and is_file:
            st.caption(f"What the network sees: {'; '.join(picture.notes)}.")
        return picture
    return None


def pictures(choice: dict[str, Any], picture: Picture, share: float, classes: Sequence[str]) -> None:
    """The three images side by side with what the network says, and the heat map."""
    how = {name: choice[name] for name in ("seed", "criterion", "start")}
    scores = ask(opened.removals, "relevance", pixels=picture.pixels, **how)
    removed_picture = opened.removals.remove(picture, scores, choice["seed"], choice["removal"], share)
    st.markdown(removed_picture.finding)
    first = removed_picture.table.iloc[0]
    columns = st.columns(4, gap="medium")
    for place, (column, row) in enumerate(zip(columns, removed_picture.table.to_dict("records"), strict=False)):
        name = removal.VARIANTS[row["image"]]
        predicted = classes[row["prediction"]]
        with column:
            st.markdown(f"**{name}**  \n:small[{removal.WENT[place]}]")
            st.plotly_chart(
                charts_removal.without(removed_picture.images[place], removed_picture.removed[place]),
                config=charts.CONFIG,
                key=f"image-{place}",
                alt=f"{name}, {row['removed']} pixels removed: the network says {predicted}",
            )
            st.markdown(f"The network says **{predicted}** {verdict(row, picture.label, classes)}")
            kept = row["original_confidence"]
            change = f"  \n:small[{points(kept - first['original_confidence'])}]" if place else ""
            st.markdown(
                f"Confidence: **{percent(row['confidence'])}**  \n"
                f"First answer, {classes[first['prediction']]}: **{percent(kept)}**{change}".replace(" %", "\u00a0%")
            )
    with columns[3]:
        st.markdown(f"**Relevance**  \n:small[by {choice['criterion']}]")
        st.plotly_chart(
            charts.relevance(scores.sum(0), 220),
            config=charts.CONFIG,
            key="heat",
            alt=f"Relevance of each pixel for class {classes[first['prediction']]}: red for it, blue against it",
        )
        st.caption("Red is relevant for what the network says, blue speaks against it.")
    least, most = (removed_picture.table.iloc[place] for place in (1, 2))
    st.caption(
        f"{least['removed']} of {removed_picture.candidates} {PIXELS} go, tinted in the pictures. {ties(least, most)}"
    )


def verdict(row: Mapping, label: int, classes: Sequence[str]) -> str:
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


def over_test_set(choice: dict[str, Any], share: float) -> None:
    """The table over the whole test set."""
    st.subheader("Over the whole test set", anchor=False)
    removals = opened.removals
    measured = jobs.ask(
        "removal",
        (removals, choice, share),
        lambda report: removals.measure(**choice, share=share, report=report),
        is_cached=removals.is_measured(**choice, share=share),
    )
    if measured is None:
        return
    st.markdown(measured.finding)
    whole = measured.table[measured.table["class"] == "all"]
    tables.removal(whole, removal.VARIANTS)
    _, least, most = whole.to_dict("records")
    st.caption(f"In brackets: 95 % intervals over images. Ties, as a mean over images: {ties(least, most)}")
    with st.expander("Class by class", icon=":material/table_rows:"):
        tables.removal(measured.table[measured.table["class"] != "all"], removal.VARIANTS, by_class=True)


def curves(choice: dict[str, Any], share: float) -> None:
    """Perturbation curves of the chosen criterion and others."""
    st.subheader("Ever more pixels", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        others = field(
            st.multiselect, "Compared with", views.offers().removal_criteria,
            ["gradient-x-input", "data-set", "random"], key="others", width=400, max_selections=6,
            help="Each is measured with the same order, pixels and fill as above.",
        )  # fmt: skip
        measure = field(st.selectbox, "Shown", list(charts_removal.MEASURES), key="measure", width=150,
                        format_func=lambda name: charts_removal.MEASURES[name][0])  # fmt: skip
        n_images = field(
            st.selectbox, "Images", [500, 1000, None], 1, key="images", width=100,
            format_func=lambda n: f"{n:,}" if n else "all", help="Of the test set, each class in its proportion. ROAD, "
            "and all of them on a large network, take minutes.",
        )  # fmt: skip
        n_steps = field(st.selectbox, "Steps", [10, 20, 40], 1, key="steps", width=90,
                        help="In how many equal shares the pixels are removed.")  # fmt: skip
    criterion, removals = choice["criterion"], opened.removals
    asked = {name: choice[name] for name in ("seed", "start", "removal")} | {
        "criteria": tuple(dict.fromkeys([criterion, *others])), "n_steps": n_steps, "n_images": n_images
    }  # fmt: skip
    measured = jobs.ask(
        "curves",
        (removals, asked),
        lambda report: removals.measure_curves(**asked, report=report),
        is_cached=removals.curves_are_measured(**asked),
    )
    if measured is None:
        return
    best, own = measured.areas.iloc[0], measured.areas.set_index("criterion").loc[criterion]
    ahead = "" if best["criterion"] == criterion else (
        f" The largest is that of **{best['criterion']}**, **{best['area_between']:.3f}**."
    )  # fmt: skip
    st.markdown(
        f"Between its two curves **{criterion}** has an area of **{own['area_between']:.3f}** (95 % interval "
        f"{own['area_between_low']:.3f} to {own['area_between_high']:.3f}); a random order has none.{ahead}"
    )
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.plotly_chart(
            charts_removal.perturbation(measured.points, measure, chosen=criterion, marker=share),
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
            charts_removal.areas(measured.areas, chosen=criterion),
            config=charts.CONFIG,
            key="area-chart",
            alt="Area between the two curves of each criterion with its 95 % interval, the largest on top",
        )
    tables.areas(measured.areas)


@st.fragment
def explore() -> None:
    seed = state.value("seed")
    if not opened.baseline_is_ready(seed):
        with st.container(border=True):
            state.seed(opened)
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
            pictures(choice, picture, share, opened.data.classes)
    with frame.refusals():
        over_test_set(choice, share)
    with frame.refusals():
        curves(choice, share)


with frame.refusals():
    if opened.data.target is not None:
        st.info(
            "This page measures how sure a network is of its class when pixels go, and these data have numbers to "
            "predict. The page Pruning shows what is left of R² as inputs go.",
            icon=":material/info:",
        )
    elif opened.are_images:
        explore()
    else:
        st.info(
            "This page takes pixels of images away, and these data are no images. The command line takes inputs of "
            "tables and series away: `python -m lrp_core remove --data PATH --scopes all`.",
            icon=":material/info:",
        )
