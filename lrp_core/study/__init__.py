"""Studies: described, run, recorded, read and exported.

`trials` and `describe` say what trials and studies are; `run` is the whole path from data to results, top to bottom.
Names are imported when they are first used: what only reads the ledger does not wait for torch.
"""

from typing import TYPE_CHECKING

from ..lazy import attach

__all__ = [
    "MODES",
    "PRESETS",
    "REMOVED_SHARES",
    "STAGE_VERSION",
    "Base",
    "Ledger",
    "RankingSpec",
    "Study",
    "Trial",
    "make_network",
    "plan",
    "preset",
    "run_study",
    "run_trial",
    "trial_at",
    "trial_network",
    "weights_path",
]

_HOMES = (
    dict.fromkeys(__all__, "describe")
    | dict.fromkeys(["MODES", "STAGE_VERSION", "Base", "RankingSpec", "Trial"], "trials")
    | dict.fromkeys(["make_network", "run_study", "run_trial", "trial_network", "weights_path"], "run")
    | {"Ledger": "ledger"}
)

if TYPE_CHECKING:
    from .describe import PRESETS, REMOVED_SHARES, Study, plan, preset, trial_at
    from .ledger import Ledger
    from .run import make_network, run_study, run_trial, trial_network, weights_path
    from .trials import MODES, STAGE_VERSION, Base, RankingSpec, Trial

__getattr__, __dir__ = attach(__name__, _HOMES)
