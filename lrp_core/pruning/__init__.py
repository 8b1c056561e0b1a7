"""Which inputs are kept, the smaller network that needs only those, and the files that hold it."""

from .files import load_network, save_network
from .mask import PixelMask
from .network import STRUCTURES, PrunedNetwork, Structure, build_pruned, loses_columns, prune_inputs

__all__ = [
    "STRUCTURES",
    "PixelMask",
    "PrunedNetwork",
    "Structure",
    "build_pruned",
    "load_network",
    "loses_columns",
    "prune_inputs",
    "save_network",
]
