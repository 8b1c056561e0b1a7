"""What the page on feature removal calls things."""

from __future__ import annotations

SHARE = 15
"""Percent of the pixels that are removed until someone moves the slider: the paper's."""

SCOPES = {"all": "all pixels", "active": "those often lit", "lit": "those lit in the image"}
FILLS = {"zero": "zero", "mean": "mean", "noise": "noise", "blur": "blur", "road": "ROAD"}
VARIANTS = {
    "original": "Original",
    "important-feature": "Important features",
    "unimportant-feature": "Unimportant features",
}
"""The three images as the page calls them, in the core's order."""

WENT = ("nothing removed", "least relevant removed", "most relevant removed")
