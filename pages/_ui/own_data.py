"""Data of your own, dropped on the page: what was understood of the file, corrections, and a study of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from lrp_core import views
from lrp_core.errors import LrpError

from .fields import field
from .formats import count

if TYPE_CHECKING:
    from lrp_core.data import Dataset
    from lrp_core.study import Study

BY_LOOK = "by its look"
LAYOUTS = {"": "as they are", "image": "images", "series": "series"}
TOGETHER = {
    "": "channels, and columns of words",
    "none": "each by itself",
    "channels": "channels",
    "windows": "neighbours",
    "file": "as a file says, with costs",
}


def drop(use: Callable[[Study], None]) -> None:
    """The place for a file, what was understood of it, and the button that has the form below be about it."""
    with st.expander("Your own data", icon=":material/upload_file:", key="own-data", expanded=False):
        st.caption(
            "A table with a column of labels (.csv, .tsv, .parquet), or arrays (.npz, .mat). Nothing in it is run. "
            "Folders of pictures, and files above 200 MB, are read from their path: "
            '`make app ARGS="-- --data PATH"`.'
        )
        file = st.file_uploader("File", type=list(views.UPLOADS), key="own-file", max_upload_size=200)
        if file is None:
            return
        content = file.getvalue()
        how = _how(content, file.name)
        try:
            with st.spinner("Reading the file", show_time=True):
                data = st.cache_data(views.read_upload, max_entries=4, show_spinner=False)(content, file.name, **how)
        except LrpError as error:
            text = str(error)
            st.error(f"{text[:1].upper()}{text[1:]}.", icon=":material/error:")
            return
        _show(data)
        st.button(
            "Use these data",
            type="primary",
            icon=":material/check:",
            key="own-use",
            on_click=lambda: use(views.own_study(data)),
            help="Fills the form below with a quick study of them; nothing starts yet.",
        )


def _how(content: bytes, name: str) -> dict[str, Any]:
    """Corrections of what would be understood."""
    columns = views.columns_of(content, name)
    how: dict[str, Any] = {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label = field(st.selectbox, "Labels are in", [BY_LOOK, *columns], key="own-label", width=220,
                      help="The column, or the array, that says which class, or number, each row has.")  # fmt: skip
        rest = [column for column in columns if column != label]
        groups = field(st.selectbox, "Rows that belong together", ["", *rest], key="own-groups", width=220,
                       format_func=lambda column: column or "each row by itself",
                       help="A column of patients, devices or the like: rows of one never get into two parts."
                       )  # fmt: skip
        if st.checkbox("Labels are numbers", key="own-numbers",
                       help="To be predicted, as a price or a yield; else each value is a class."):  # fmt: skip
            how["task"] = "regression"
        drop = field(st.multiselect, "Leave out", rest, key="own-drop", width=300,
                     placeholder="no column", help="Numbers of rows, dates, names: what no network should see."
                     )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        layout = field(st.selectbox, "Rows are", list(LAYOUTS), key="own-layout", width=160, format_func=LAYOUTS.get,
                       help="A row of numbers can be an image, or a series of one or more channels.")  # fmt: skip
        if layout:
            size = "height x width, such as 28x28" if layout == "image" else "channels x length, such as 3x100"
            sides = field(st.text_input, "Size", key="own-size", width=200, placeholder=size, max_chars=30, help=size)
            if sizes := [int(side) for side in sides.lower().replace(" ", "").split("x") if side.isdecimal()]:
                how["image_size" if layout == "image" else "series"] = sizes
        if st.checkbox("Fill in missing numbers", key="own-impute",
                       help="With their column's median over the training rows; else they are refused."):  # fmt: skip
            how["impute"] = "median"
        seed = field(st.number_input, "Split seed", 0, 2**31, 0, step=1, key="own-seed", width=130,
                     help="Of the 70 % training, 15 % validation and 15 % test rows, where the file has no parts."
                     )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        together = field(st.selectbox, "Inputs kept or dropped as one", list(TOGETHER), key="own-together", width=300,
                         format_func=TOGETHER.get,
                         help="A sensor is all its samples, a column of words all its indicators.")  # fmt: skip
        if together == "windows":
            width = field(st.number_input, "Neighbours", 1, 10_000, 10, step=1, key="own-window", width=130,
                          help="So many neighbours of a channel or table; of images, squares of that side."
                          )  # fmt: skip
            how["input_groups"] = f"windows:{int(width)}"
        elif together == "file":
            table = st.file_uploader("Groups and costs", type=["csv"], key="own-group-file", max_upload_size=10,
                                     help="A table with the columns group, input and cost (input or cost may lack)."
                                     )  # fmt: skip
            if table is not None:
                how["group_file"] = (table.getvalue(), table.name)
        elif together:
            how["input_groups"] = together
    if label != BY_LOOK:
        how["label"] = label
    if groups:
        how["groups_column"] = groups
    return how | {"drop": tuple(drop), "split_seed": int(seed)}


def _show(data: Dataset) -> None:
    picture = views.picture_of_data(data)
    st.markdown(f"**{data.name}:** {picture.summary}.")
    if picture.notes:
        st.caption("  \n".join(f"{note[:1].upper()}{note[1:]}." for note in picture.notes))
    left, right = st.columns(2, gap="medium")
    with left:
        st.dataframe(picture.parts, hide_index=True, height=min(35 * (len(picture.parts) + 1) + 3, 300))
    with right:
        st.dataframe(picture.inputs, hide_index=True, height=min(35 * (len(picture.inputs) + 1) + 3, 300))
        if data.n_inputs > len(picture.inputs):
            st.caption(f"The first {count(len(picture.inputs))} of {count(data.n_inputs)} inputs.")
