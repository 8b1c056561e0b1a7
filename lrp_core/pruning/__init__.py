"""What is kept of a network, inputs and hidden units, the smaller network that has only that, and files of it."""

from .coupling import couple
from .files import load_network, save_network
from .mask import PixelMask
from .network import STRUCTURES, PrunedNetwork, Structure, build_pruned, loses_columns, prune_inputs
from .shrinking import couple_checked, resize, shrink, widths_of
from .units import Coupling

__all__ = [
    "STRUCTURES",
    "Coupling",
    "PixelMask",
    "PrunedNetwork",
    "Structure",
    "build_pruned",
    "couple",
    "couple_checked",
    "load_network",
    "loses_columns",
    "prune_inputs",
    "resize",
    "save_network",
    "shrink",
    "widths_of",
]
