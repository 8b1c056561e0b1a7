"""The slider of the first page: what each place means, drawn in the browser from numbers that were sent once.

`told` makes the numbers out of a summary; `show` draws them and says where the slider came to rest.
"""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from lrp_core.study import results

from .. import charts_methods
from ..formats import title

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lrp_core.views.summary import Summary

_HERE = Path(__file__).parent
_DASHES = {
    "solid": "",
    "dash": "7 4",
    "dot": "2 3",
    "dashdot": "7 3 2 3",
    "longdash": "11 4",
    "longdashdot": "11 3 2 3",
}
_COSTS = ("macs", "bytes")

_explorer = st.components.v2.component(
    "threshold_explorer",
    html=(_HERE / "explorer.html").read_text(encoding="utf-8"),
    css=(_HERE / "explorer.css").read_text(encoding="utf-8"),
    js=(_HERE / "explorer.js").read_text(encoding="utf-8"),
)


def show(told: dict[str, Any], key: str, on_move: Callable[[int], None]) -> None:
    """Draw the explorer; `on_move` is called with the per cent removed where its slider came to rest.

    It stays where a person moved it, until `told` says a place that came from elsewhere: a link, or new results.
    """
    seen = f"{key}-seen"

    def moved() -> None:
        place = getattr(st.session_state.get(key), "place", None)
        removed = place.get("removed") if isinstance(place, dict) else None
        if isinstance(removed, int) and 0 <= removed < 100:
            st.session_state[seen] = (st.session_state.get(seen, (0, 0))[0], removed)
            on_move(removed)

    asked, at = st.session_state.get(seen, (0, None))
    if at != told["removed"]:
        st.session_state[seen] = (asked := asked + 1, told["removed"])
    _explorer(key=key, data=told | {"asked": asked}, on_place_change=moved)


def told(
    summary: Summary, *, method: str, mode: str, removed: int, margin: float, drawn: Sequence[str]
) -> dict[str, Any]:
    """What the browser needs to draw every place of the slider, as plain values.

    `margin` is a share; `drawn` are the methods whose curves are shown, the chosen `method` among them.
    """
    inputs, images, image = summary.words
    table, n = summary.validation, summary.n_groups
    places = _places(summary, method, mode)
    own = _rows(results.with_baseline(table, method, mode)) if len(table) else []
    best = summary.recommend(method, mode=mode, margin=margin) if len(table) else None
    keep = None if best is None or best.row is None else int(best.row["keep"])
    order = summary.places_at(method, keep or n)
    base = own[0]["score"] if own and own[0]["keep"] == n else None
    return {
        "key": f"{summary.key}-{method}-{mode}",
        "words": {"inputs": inputs, "images": images, "image": image, "score": summary.score},
        "n": n,
        "places": places,
        "exact": _is_linear(table, method, mode, n),
        "removed": removed,
        "at": _nearest(places, summary.keep_for(removed)),
        "recommended": None if keep is None else _nearest(places, keep),
        "margin": margin,
        "limit": None if base is None else base - margin,
        "limitText": f"your margin: {100 * margin:g} points",
        "chosen": own,
        "curves": [_curve(summary, name, mode, name == method) for name in drawn] if len(table) else [],
        "title": f"{title(summary.score)} as {inputs} go (validation {images})",
        "axes": {"x": f"{title(inputs)} removed (%)", "y": f"{title(summary.score)} (%)"},
        "alt": f"Validation {summary.score} against the share of {inputs} removed: {', '.join(drawn)}",
        "order": [] if order is None else order.tolist(),
        "drawn": {"bars": "names"}.get(summary.drawn_as, summary.drawn_as),
        "shape": _shape(summary),
        "samples": _samples(summary),
        "sampleNames": list(summary.sample_names),
        "names": list(summary.names),
        "note": f"Tinted: what it reads. Order by seed {summary.seeds[0]}.",
        "waiting": f"The {inputs} are not ranked by {method} yet.",
        "file": f"{summary.dataset}-{summary.architecture}-curve",
    }


def _places(summary: Summary, method: str, mode: str) -> list[dict[str, Any]]:
    """The slider's places: every number of inputs that a whole per cent leaves, with what it costs."""
    known = results.with_baseline(summary.validation, method, mode) if len(summary.validation) else pd.DataFrame()
    known = known.sort_values("keep") if len(known) else known
    places: dict[int, dict[str, Any]] = {}
    for removed in range(100):
        keep = summary.keep_for(removed)
        if keep in places:
            continue
        places[keep] = {"removed": removed, "keep": keep}
        for name in _COSTS:
            within = len(known) > 0 and known["keep"].iloc[0] <= keep <= known["keep"].iloc[-1]
            places[keep][name] = float(np.interp(keep, known["keep"], known[name])) if within else None
        if results.INPUT_COST in known:  # which groups go decides: between measured places nothing is known
            measured = known.loc[known["keep"] == keep, results.INPUT_COST]
            places[keep][results.INPUT_COST] = float(measured.iloc[0]) if len(measured) else None
    return list(places.values())


def _nearest(places: list[dict[str, Any]], keep: int) -> int:
    return min(range(len(places)), key=lambda i: abs(places[i]["keep"] - keep))


def _is_linear(table: pd.DataFrame, method: str, mode: str, n: int) -> bool:
    """Whether MACs follow from the number of inputs alone, as those of a dense layer do: then places between measured
    ones are exact."""
    if not len(table):
        return False
    known = results.with_baseline(table, method, mode)
    if len(known) < 3:
        return False
    at, macs = known["keep"].to_numpy(float), known["macs"].to_numpy(float)
    slope = (macs[0] - macs[-1]) / (at[0] - at[-1]) if at[0] != at[-1] else 0.0
    return bool(np.allclose(macs, macs[0] + slope * (at - at[0]), rtol=1e-6, atol=0.5))


def _curve(summary: Summary, method: str, mode: str, is_chosen: bool) -> dict[str, Any]:
    style = charts_methods.style_of(method, summary.methods)
    dash = _DASHES.get(style.dash, style.dash.replace(",", " ").replace("px", ""))
    rows = _rows(results.with_baseline(summary.validation, method, mode))
    return {"label": method, "color": style.color, "dash": dash, "chosen": is_chosen, "rows": rows}


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A curve from no input removed on; what is not known is None."""
    columns = ["keep", "removed", "score", "low", "high"]
    return [
        {name: None if math.isnan(value) else value for name, value in row.items()}
        for row in table[columns].astype(float).to_dict("records")
    ]


def _shape(summary: Summary) -> list[int]:
    if summary.drawn_as == "picture":
        return list(summary.samples.shape[1:])
    return list(summary.shape[-2:])


def _samples(summary: Summary) -> list[str]:
    """Examples as bytes in base64, each scaled to its own range if it is no picture."""
    samples = []
    for sample in summary.samples:
        values = sample
        if summary.drawn_as != "picture":
            low, high = float(values.min()), float(values.max())
            values = (values - low) / ((high - low) or 1.0)
        samples.append(base64.b64encode(np.round(255 * np.clip(values, 0, 1)).astype(np.uint8).tobytes()).decode())
    return samples
