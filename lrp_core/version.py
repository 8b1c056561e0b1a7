"""The version of this project, and of what it computes."""

__version__ = "0.1.0"

STAGE_VERSION = 5
"""Part of every cache key and trial key: raise it when a change makes results differ."""
