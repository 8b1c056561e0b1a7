"""What the pages show, computed: an opened study answers what they ask, with plain arrays and tables.

Names are imported when they are first used: a page paints its title before torch is loaded.
"""

from typing import TYPE_CHECKING

from ..lazy import attach

_HOMES = (
    dict.fromkeys(["OpenedStudy", "open_study", "score_of", "study_trials"], "study")
    | dict.fromkeys(["comparison_of", "export_formats"], "study")
    | dict.fromkeys(
        ["picture_of_ranking", "ranking_bytes", "ranking_of_file", "agreement", "kept_apart", "kept_by"], "ranking"
    )
    | dict.fromkeys(["MAX_FILE_BYTES", "ENOUGH"], "ranking")
    | dict.fromkeys(["Picture", "Removal"], "removal")
    | dict.fromkeys(["report"], "reporting")
    | {"verdict_of": "verdict"}
    | dict.fromkeys(["UNSTEADY", "conv_table", "speed_table"], "savings")
    | dict.fromkeys(["draft_study", "preset_study", "write_shares", "read_shares", "read_seeds", "name_study"], "draft")
    | dict.fromkeys(
        ["outlook", "measured_timings", "offers", "can_resplit", "choice_of_data", "data_choices", "data_of_choice"],
        "draft",
    )
    | dict.fromkeys(["repeat_of", "seconds_left"], "draft")
    | dict.fromkeys(["allowed_folders", "check_folder"], "folders")
    | dict.fromkeys(["MAX_UPLOAD", "UPLOADS", "columns_of", "own_study", "picture_of_data", "read_upload"], "own")
    | dict.fromkeys(["Answer", "Pair", "Standing"], "trying")
    | dict.fromkeys(["Predictions", "Tested", "confusion", "gallery"], "tested")
)

_HOMES |= dict.fromkeys(["Summary", "packed", "read_summary", "unpacked", "write_summary"], "summary")
_HOMES |= dict.fromkeys(["summarise", "write_when_due"], "summarising")

__all__ = [
    "ENOUGH",
    "MAX_FILE_BYTES",
    "MAX_UPLOAD",
    "UNSTEADY",
    "UPLOADS",
    "Answer",
    "OpenedStudy",
    "Pair",
    "Picture",
    "Predictions",
    "Removal",
    "Standing",
    "Summary",
    "Tested",
    "agreement",
    "allowed_folders",
    "can_resplit",
    "check_folder",
    "choice_of_data",
    "columns_of",
    "comparison_of",
    "confusion",
    "conv_table",
    "data_choices",
    "data_of_choice",
    "draft_study",
    "export_formats",
    "gallery",
    "kept_apart",
    "kept_by",
    "measured_timings",
    "name_study",
    "offers",
    "open_study",
    "outlook",
    "own_study",
    "packed",
    "picture_of_data",
    "picture_of_ranking",
    "preset_study",
    "ranking_bytes",
    "ranking_of_file",
    "read_seeds",
    "read_shares",
    "read_summary",
    "read_upload",
    "repeat_of",
    "report",
    "score_of",
    "seconds_left",
    "speed_table",
    "study_trials",
    "summarise",
    "unpacked",
    "verdict_of",
    "write_shares",
    "write_summary",
    "write_when_due",
]

if TYPE_CHECKING:
    from .draft import (
        can_resplit,
        choice_of_data,
        data_choices,
        data_of_choice,
        draft_study,
        measured_timings,
        name_study,
        offers,
        outlook,
        preset_study,
        read_seeds,
        read_shares,
        repeat_of,
        seconds_left,
        write_shares,
    )
    from .own import MAX_UPLOAD, UPLOADS, columns_of, own_study, picture_of_data, read_upload
    from .ranking import (
        ENOUGH,
        MAX_FILE_BYTES,
        agreement,
        kept_apart,
        kept_by,
        picture_of_ranking,
        ranking_bytes,
        ranking_of_file,
    )
    from .removal import Picture, Removal
    from .reporting import report
    from .savings import UNSTEADY, conv_table, speed_table
    from .study import OpenedStudy, comparison_of, export_formats, open_study, score_of, study_trials
    from .summarising import summarise, write_when_due
    from .summary import Summary, packed, read_summary, unpacked, write_summary
    from .tested import Predictions, Tested, confusion, gallery
    from .trying import Answer, Pair, Standing
    from .verdict import verdict_of

__getattr__, __dir__ = attach(__name__, _HOMES)
