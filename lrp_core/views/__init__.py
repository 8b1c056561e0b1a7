"""What the pages show, computed: an opened study answers what they ask, with plain arrays and tables.

Names are imported when they are first used: a page paints its title before torch is loaded.
"""

from typing import TYPE_CHECKING

from ..lazy import attach

_HOMES = (
    dict.fromkeys(["OpenedStudy", "open_study", "study_trials"], "study")
    | dict.fromkeys(["picture_of_ranking", "ranking_bytes", "ranking_of_file", "agreement", "kept_by"], "ranking")
    | dict.fromkeys(["MAX_FILE_BYTES", "ENOUGH"], "ranking")
    | dict.fromkeys(["Picture", "Removal"], "removal")
    | dict.fromkeys(["draft_study", "preset_study", "write_shares", "read_shares", "read_seeds", "name_study"], "draft")
    | dict.fromkeys(["outlook", "measured_timings", "offers"], "draft")
)

__all__ = [
    "ENOUGH",
    "MAX_FILE_BYTES",
    "OpenedStudy",
    "Picture",
    "Removal",
    "agreement",
    "draft_study",
    "kept_by",
    "measured_timings",
    "name_study",
    "offers",
    "open_study",
    "outlook",
    "picture_of_ranking",
    "preset_study",
    "ranking_bytes",
    "ranking_of_file",
    "read_seeds",
    "read_shares",
    "study_trials",
    "write_shares",
]

if TYPE_CHECKING:
    from .draft import (
        draft_study,
        measured_timings,
        name_study,
        offers,
        outlook,
        preset_study,
        read_seeds,
        read_shares,
        write_shares,
    )
    from .ranking import ENOUGH, MAX_FILE_BYTES, agreement, kept_by, picture_of_ranking, ranking_bytes, ranking_of_file
    from .removal import Picture, Removal
    from .study import OpenedStudy, open_study, study_trials

__getattr__, __dir__ = attach(__name__, _HOMES)
