"""A figure with what saves it: as a picture, as a drawing, and as the numbers behind it.

PNG and SVG are made in the browser, by the plotly.js that drew the figure, light whatever the page is. The numbers are
written when they are asked for. A closed "Save" has nothing in the page but its button.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from lrp_core.storage import cache_dir
from lrp_core.study.ledger import Ledger

from . import charts, figure_data

_HTML = """
<div class="save">
  <button type="button" data-format="png">PNG</button>
  <button type="button" data-format="svg">SVG</button>
  <span role="status"></span>
</div>
"""

_CSS = """
.save { display: flex; flex-wrap: wrap; gap: 0.5rem; align-items: center; }
button {
  font: inherit; font-size: 0.875rem; color: var(--st-text-color); background: var(--st-background-color);
  padding: 0.25rem 0.75rem; min-height: 2.5rem; border: 1px solid var(--st-border-color);
  border-radius: var(--st-button-radius); cursor: pointer;
}
button:hover { border-color: var(--st-primary-color); color: var(--st-primary-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
span { flex-basis: 100%; }
span:empty { display: none; }
"""

# Streamlit writes the colours of the page's theme into the figure's template: there they become those of paper.
_JS = """
const INK = "#33404b", LINE = "#dde2e6", PAPER = "#ffffff", FONT = "Arial, Helvetica, sans-serif";
const onPaper = (template) => {
  for (const [name, value] of Object.entries(template)) {
    if (name.includes("colorscale") || name === "colorway" || value === "transparent") continue;
    if (value && typeof value === "object") onPaper(value);
    else if (["gridcolor", "zerolinecolor", "tickcolor"].includes(name)) template[name] = LINE;
    else if (name.endsWith("bgcolor")) template[name] = PAPER;
    else if (name === "color") template[name] = INK;
    else if (name === "family") template[name] = FONT;
  }
};
const picture = async (chart, format) => {
  const layout = JSON.parse(JSON.stringify(chart.layout));
  onPaper(layout.template?.layout ?? {});
  layout.paper_bgcolor = layout.plot_bgcolor = PAPER;
  const { width, height } = chart.getBoundingClientRect();
  const scale = format === "png" ? 2 : 1;
  const size = { width: Math.round(width), height: Math.round(height), scale };
  const url = await window.Plotly.toImage({ data: chart.data, layout }, { format, ...size });
  return (await fetch(url)).blob();
};
export default function ({ data, parentElement }) {
  const says = parentElement.querySelector("[role=status]");
  for (const button of parentElement.querySelectorAll("button")) {
    const format = button.dataset.format;
    button.setAttribute("aria-label", `${format.toUpperCase()} of ${data.name}`);
    button.onclick = async () => {
      says.textContent = "";
      try {
        const chart = document.querySelector(`.st-key-${CSS.escape(data.chart)} .js-plotly-plot`);
        const link = document.createElement("a");
        link.href = URL.createObjectURL(await picture(chart, format));
        link.download = `${data.name}.${format}`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      } catch (error) {
        says.textContent = `This browser could not make the file: ${error.message}`;
      }
    };
  }
}
"""

_pictures = st.components.v2.component("save_figure", html=_HTML, css=_CSS, js=_JS)


def draw(
    figure: go.Figure,
    *,
    key: str,
    alt: str,
    name: str | None = None,
    data: pd.DataFrame | Callable[[], pd.DataFrame] | None = None,
    height: int | str = "content",
) -> None:
    """Draw a figure, and below it what saves it as PNG, SVG and CSV.

    `alt` says what it shows. The files are called by the study and by `name` (by default the key). `data` is the table
    for the CSV, or what makes it when it is asked for; without one it is what the traces draw (`figure_data`).
    """
    with st.container(gap="xxsmall"):
        st.plotly_chart(figure, config=charts.CONFIG, key=key, alt=alt, height=height)
        with st.popover("Save", icon=":material/download:", type="tertiary", key=f"{key}-save"):
            stem = file_stem(name or key)
            with st.container(horizontal=True, gap="small", width="content"):
                _pictures(key=f"{key}-pictures", data={"chart": _css_name(key), "name": stem}, width="content")
                st.download_button(
                    "CSV",
                    data=lambda: figure_data.csv_of(_table(figure, data)),
                    file_name=f"{stem}.csv",
                    mime="text/csv",
                    key=f"{key}-csv",
                    on_click="ignore",
                    help="The numbers behind the figure",
                )


def file_stem(name: str) -> str:
    """What the files of a figure are called, after the study that the page is about: "mnist-mlp-300-100-curve"."""
    study = st.session_state.get("study")
    words = [*(_words_of(study, cache_dir()) if study else ()), name]
    return "-".join(filter(None, (_plain(word) for word in words)))


def _table(figure: go.Figure, data: pd.DataFrame | Callable[[], pd.DataFrame] | None) -> pd.DataFrame:
    if data is None:
        return figure_data.table_of(figure)
    return data() if callable(data) else data


@lru_cache(maxsize=64)
def _words_of(study: str, folder: Path) -> tuple[str, ...]:
    """Data set and network of a study of the ledger in a folder, which never change."""
    run = Ledger(folder).run(study)
    return () if run is None else (run.spec["dataset"], run.spec["architecture"])


def _plain(word: str) -> str:
    """A word as part of a file's name: letters, digits and single dashes.

    >>> _plain("Wine <quality>/2, R²")
    'wine-quality-2-r²'
    """
    return re.sub(r"\W+", "-", word).strip("-").lower()[:60]


def _css_name(key: str) -> str:
    """A key as Streamlit has it in the class of an element."""
    return re.sub(r"[^a-zA-Z0-9_-]", "-", key.strip())
