"""How a model becomes a list of steps: its graph, the modules and calls in it, and people's own layer types."""

from .graph import trace
from .registry import own_layers, register

__all__ = ["own_layers", "register", "trace"]
