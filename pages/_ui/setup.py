"""Setting up a study: the form, what it would take, and the button that starts it.

Every field keeps its value in the session under "new-..."; `fill` writes them all, from a preset or another study.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from lrp_core import views
from lrp_core.errors import InputError, LrpError
from lrp_core.study import launch
from lrp_core.study.ledger import Ledger, Run

from . import given, own_data, state, studies
from .fields import field
from .formats import duration

if TYPE_CHECKING:
    from lrp_core.study import Study
    from lrp_core.views.draft import Offers

MAX_SEEDS = 100

PLAIN = (
    *("n_train", "rank_images", "statistic", "start", "epochs", "retrain_epochs", "precision"),
    *("optimizer", "batch_size", "lr", "patience"),
)
"""Fields that the form and a study have in common, under the same name and with the same values."""

TERMS = {
    "n_train": "the number of training images",
    "rank_images": "the number of images for relevance",
    "retrain_epochs": "fine-tuning epochs",
    "batch_size": "the batch size",
    "lr above": "the learning rate above",
    "mask_seeds": "mask seeds",
    "resplit": "a split for each seed",
}
"""What the core's refusals call fields, and what the form calls them."""


def fill(study: Study) -> None:
    """Have the form say what a study is."""
    held = st.session_state
    held["new-dataset"], held["new-root"] = views.choice_of_data(study), study.root or ""
    held["new-architecture"] = study.architecture
    held["new-criteria"], held["new-strategies"] = list(study.criteria), list(study.strategies)
    held["new-order"], held["new-ends-early"] = study.strategies, study.fewest is not None
    held["new-shares"], held["new-modes"] = views.write_shares(study), list(study.modes)
    is_counted = study.seeds == tuple(range(len(study.seeds)))
    held["new-n-seeds"] = len(study.seeds)
    held["new-seeds"] = "" if is_counted else " ".join(map(str, study.seeds))
    held["new-resplit"] = study.resplit
    held["new-masks"] = " ".join(map(str, study.mask_seeds))
    for name in PLAIN:
        held[f"new-{name}"] = getattr(study, name)
    held["new-name"] = ""


def use(study: Study) -> None:
    """Start from an earlier study; for callbacks, which run before the form is drawn."""
    st.session_state["new-from"] = "chosen"
    fill(study)


def form(chosen: Study | None, run: Run, known: list[Run], ledger: Ledger) -> None:
    """The form, what running it would take, and the button; the study that it starts is then the chosen one."""
    offers = views.offers()
    names = {name: f"preset {name}" for name in offers.presets}
    if chosen is not None:
        names["chosen"] = f"as “{run.name}”, the chosen study"
    if st.session_state.get("new-from") not in names:
        st.session_state["new-from"] = next(iter(names))
        fill(views.preset_study(st.session_state["new-from"], given.study()))

    def start_over() -> None:
        name = st.session_state["new-from"]
        fill(chosen if name == "chosen" and chosen is not None else views.preset_study(name, given.study()))

    own_data.drop(use)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            field(
                st.selectbox, "Start from", list(names), format_func=names.get, key="new-from", width=300,
                on_change=start_over, help="Fills every field below; then change what you like. quick: under a minute "
                "on two cores. full: all training images, five seeds, every network from scratch.",
            )  # fmt: skip
            st.button("Fill in again", icon=":material/restart_alt:", on_click=start_over,
                      help="Drop the changes made below.")  # fmt: skip
        _what(offers)
        _how_often()
        with st.expander("Advanced", icon=":material/tune:"):
            _advanced(offers)
        _start(known, ledger)


def _what(offers: Offers) -> None:
    """Data, network, methods, shares."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choices = views.data_choices()
        if st.session_state.get("new-dataset") not in choices:
            st.session_state["new-dataset"] = "mnist"
        dataset = field(st.selectbox, "Data set", list(choices), key="new-dataset", width=260,
                        format_func=choices.get, help="MNIST is there. Your own are those that were given "
                        "above, or by --data. The others are read from a folder with their original files."
                        )  # fmt: skip
        if dataset in offers.datasets and dataset != "mnist":
            field(st.text_input, "Folder with its files", key="new-root", width=300, max_chars=1000,
                  placeholder="/home/me/data", help="On the machine that this app runs on, in a folder that it was "
                  "started with (--allow FOLDER). Leave it empty if the files were downloaded with the command line's "
                  "--download.")  # fmt: skip
        field(st.selectbox, "Network", offers.architectures, key="new-architecture", width=200,
              help="softmax trains in seconds, cnn-32-64 takes minutes. lenet-5 and cnn-32-64 are for images, cnn-1d "
              "and transformer-1d for series; the others take any data.")  # fmt: skip
    st.multiselect("Criteria", list(offers.criteria), key="new-criteria", persist_state="session",
                   placeholder="What the inputs are ranked by", help=state.method_help(offers.controls))  # fmt: skip
    with st.container(horizontal=True):
        st.pills("Strategies", list(offers.strategies), key="new-strategies", selection_mode="multi",
                 persist_state="session", wrap=True,
                 help=" ".join(f"{name}: {text}." for name, text in offers.strategies.items())
                 + " Only criteria that explain single answers have a choice.")  # fmt: skip
        st.pills("Small networks", list(state.MODES), key="new-modes", selection_mode="multi",
                 persist_state="session", wrap=True, help=state.MODE_HELP)  # fmt: skip


def _how_often() -> None:
    """Shares and seeds."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        field(st.text_input, "Inputs removed (%)", key="new-shares", width=330, max_chars=2000,
              placeholder="15 30 50 70 80 90 95", help="One network for each share, method, small network and seed. "
              "Blanks or commas between them; decimals are fine. "
              "Where inputs are kept or dropped as groups, shares are of these.")  # fmt: skip
        field(st.number_input, "Seeds", 1, MAX_SEEDS, step=1, key="new-n-seeds", width=150,
              disabled=bool(st.session_state.get("new-seeds", "").strip()),
              help="How many networks are trained alike, from other first weights: 0, 1, 2 and so on. Intervals need "
              "at least two, and get narrow from five on.")  # fmt: skip
        if views.can_resplit(st.session_state["new-dataset"]):
            field(st.checkbox, "A split for each seed", key="new-resplit", width=200,
                  help="Each seed draws its own training, validation and test rows, and the intervals allow for the "
                  "rows that these splits share. With few rows one split says little; ten say more.")  # fmt: skip
        field(st.text_input, "Name", key="new-name", width=250, max_chars=60, placeholder="made of its parts",
              help="What the study is called in lists.")  # fmt: skip


def _advanced(offers: Offers) -> None:
    """What most leave as it is."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        field(st.text_input, "Seeds by name", key="new-seeds", width=260, max_chars=1000,
              placeholder="as many as above", help="Instead of their number, such as 7 11 13.")  # fmt: skip
        field(
            st.text_input, "Mask seeds", key="new-masks", width=260, max_chars=1000,
            placeholder="each network its own mask", help="Left empty, each seed's network is pruned by the mask that "
            "its own relevance gives. With seeds here, every one of these networks' masks is tried with every seed of "
            "training: that tells the scatter of the mask from that of training, and multiplies the number of "
            "networks.",
        )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, label, text in (
            ("n_train", "Training images", "A stratified sample of this size; empty: all."),
            ("rank_images", "Images for relevance", "Of the training images; empty: all, for elimination its own "
             "number in each step. The page Ranking tells whether they suffice."),
            ("epochs", "Epochs", "Passes over the images on all inputs and from scratch; empty: the network's recipe."),
            ("retrain_epochs", "Fine-tuning epochs", "Empty: a quarter of the epochs."),
        ):  # fmt: skip
            field(st.number_input, label, 1, None, None, step=1, key=f"new-{name}", width=170,
                  placeholder="default" if "epochs" in name else "all", help=text)  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        field(st.selectbox, "Optimizer", offers.optimizers, key="new-optimizer", width=170,
              help="adamw: Adam. sgd: gradient descent with Nesterov momentum; it wants a higher learning rate, "
              "such as 0.1. Both have decoupled weight decay and a one-cycle learning rate.")  # fmt: skip
        field(st.number_input, "Learning rate", 1e-8, 1e3, None, step=1e-3, format="%g", key="new-lr", width=170,
              placeholder="default", help="The highest one; empty: the network's recipe. Fine-tuning takes half of it."
              )  # fmt: skip
        for name, label, placeholder, text in (
            ("batch_size", "Batch size", "default", "Images in each step; empty: the network's recipe."),
            ("patience", "Patience", "all epochs", "End training after so many epochs without a lower loss on "
             "validation images, and take the best epoch's weights; empty: train all epochs."),
        ):  # fmt: skip
            field(st.number_input, label, 1, None, None, step=1, key=f"new-{name}", width=170,
                  placeholder=placeholder, help=text)  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, label, options, text in (
            ("statistic", "Statistic", offers.statistics, "How relevance R is reduced over images: the mean of R, of "
             "its size, of its square or of its positive part; with max-, the largest of the classes' means."),
            ("start", "Start", offers.starts, "What of the output is explained: the class's logit, its contrast to the "
             "best other one, its log-odds, or one-hot."),
            ("precision", "Precision", offers.precisions, "Of the products in training. bfloat16 is faster on "
             "processors made for it (AVX512-BF16, AMX) and slower on others; weights stay in float32."),
        ):  # fmt: skip
            field(st.selectbox, label, options, key=f"new-{name}", width=220, help=text)


def _draft() -> Study:
    """The study that the form describes. Raises `LrpError` for what cannot be run."""
    chosen: Any = {name: st.session_state[f"new-{name}"] for name in ("architecture", *PLAIN)}
    chosen |= views.data_of_choice(st.session_state["new-dataset"])
    root = st.session_state.get("new-root", "").strip()
    chosen["root"] = root if root and chosen["dataset"] != "mnist" and "digest" not in chosen else None
    for name, what in (("criteria", "criterion"), ("strategies", "strategy"), ("modes", "kind of small network")):
        chosen[name] = tuple(st.session_state[f"new-{name}"])
        if not chosen[name]:
            raise InputError(f"choose at least one {what}")
    # The pills forget in which order strategies were chosen, which is part of what a study is.
    order = st.session_state.get("new-order", ())
    first = [name for name in order if name in chosen["strategies"]]
    chosen["strategies"] = tuple(dict.fromkeys([*first, *chosen["strategies"]]))
    seeds, masks = (st.session_state[f"new-{name}"].strip() for name in ("seeds", "masks"))
    n_seeds = min(int(st.session_state["new-n-seeds"]), MAX_SEEDS)
    chosen["seeds"] = views.read_seeds(seeds) if seeds else tuple(range(n_seeds))
    chosen["mask_seeds"] = views.read_seeds(masks) if masks else ()
    chosen["resplit"] = bool(st.session_state.get("new-resplit")) and views.can_resplit(st.session_state["new-dataset"])
    shares = views.read_shares(st.session_state["new-shares"])
    study = views.draft_study(shares, allowed=given.folders(), **chosen)
    ends_early = st.session_state.get("new-ends-early") and "elimination" in study.strategies
    return replace(study, fewest=min(study.keeps)) if ends_early else study


def _start(known: list[Run], ledger: Ledger) -> None:
    """What the study would take, and the button; or why there is nothing to start."""
    study, refusal, failed = None, "", st.session_state.pop("start-error", None)
    try:
        with st.spinner("Reading the data set", show_time=True):
            study = _draft()
    except LrpError as error:
        refusal = _in_terms_of_the_form(error)
    if study is None:
        st.error(f"{refusal[:1].upper()}{refusal[1:]}.", icon=":material/error:")
        st.button("Start", type="primary", icon=":material/play_arrow:", disabled=True, key="start",
                  help=f"It cannot start: {refusal}.")  # fmt: skip
        return
    st.markdown(f"**{_name(study)}:** {_outlook(study, ledger)}")
    if len(study.seeds) == 1:
        st.caption("One seed: there will be no intervals, because one network does not show how far results scatter.")
    if study.resplit:
        st.caption("Each seed draws its own 70 % training, 15 % validation and 15 % test rows.")
    if failed:
        st.error(f"It could not be started: {failed}.", icon=":material/error:")
    if _can_be_opened(study, known, ledger):
        label, icon = "Open it", ":material/folder_open:"
        text = "It is running, or was run before and all of it is there."
    else:
        label, icon = "Start", ":material/play_arrow:"
        text = "In a process of its own: it goes on when you leave, and when the server stops."
    st.button(label, type="primary", icon=icon, key="start", on_click=_start_or_open, args=(ledger,), help=text)


def _start_or_open(ledger: Ledger) -> None:
    """Start what the form says by now: a click can overtake the run of the page that a changed field asked for."""
    try:
        study = _draft()
        if not _can_be_opened(study, ledger.runs("study"), ledger):
            name = _name(study)
            launch.start_study(study, ledger, name=name)
            st.toast(f"“{name}” has started: its progress is at the top of the page", icon=":material/play_arrow:")
        studies.choose(study.key)
    except LrpError as error:
        st.session_state["start-error"] = _in_terms_of_the_form(error)


def _can_be_opened(study: Study, known: list[Run], ledger: Ledger) -> bool:
    """Whether a study runs already, or has run and nothing of it is missing."""
    run = next((run for run in known if run.id == study.key), None)
    if run is None or run.is_active:
        return run is not None
    outlook = views.outlook(study, ledger, views.measured_timings(ledger))
    return run.state == "done" and outlook.there == outlook.total


def _name(study: Study) -> str:
    return st.session_state["new-name"].strip() or views.name_study(study)


def _in_terms_of_the_form(error: LrpError) -> str:
    text = str(error)
    for name, label in TERMS.items():
        text = text.replace(name, label)
    return text


def _outlook(study: Study, ledger: Ledger) -> str:
    """What running a study would take, in words."""
    outlook = views.outlook(study, ledger, views.measured_timings(ledger))
    text = f"{outlook.total} networks. "
    if outlook.there == outlook.total:
        return text + "All of them are there already."
    if outlook.there:
        text += f"{outlook.there} of them are there already. "
    if outlook.seconds is None:
        return text + "The network is not known here, so there is no estimate of how long it takes."
    return text + (
        f"{'The rest takes' if outlook.there else 'They take'} roughly **{duration(outlook.seconds)}** on "
        f"{outlook.cores} cores, rankings and the start included, going by {outlook.basis}."
    )
