"""Which inputs does a neural network really need, and what does it save to drop the rest?

    import lrp_core as lc
    data = lc.load_dataset("mnist")
    net = lc.fit(lc.build_model("mlp-300-100", data), data, seed=0)
    relevance = lc.attribute(net, images, target=labels, composite="epsilon-plus")
    ranking = lc.rank(net, data.train, criterion="lrp-0")
    small = lc.prune_inputs(net, ranking.mask(keep=150))
    lc.export(small, "out/", formats=("safetensors",))

Names are imported when they are first used, so that the command line and the pages start at once.
"""

from typing import TYPE_CHECKING

from .lazy import attach
from .version import __version__ as __version__

_HOMES = {
    "load_dataset": "data",
    "Dataset": "data",
    "Split": "data",
    "build_model": "models",
    "Network": "models",
    "fit": "training",
    "evaluate": "training",
    "Recipe": "training",
    "attribute": "lrp",
    "Explainer": "lrp",
    "Composite": "lrp",
    "PixelMask": "pruning",
    "PrunedNetwork": "pruning",
    "prune_inputs": "pruning",
    "build_pruned": "pruning",
    "rank": "ranking",
    "Ranking": "ranking",
    "compare": "ranking",
    "eliminate": "ranking",
    "exchange": "ranking",
    "settling": "ranking",
    "Removal": "evaluation",
    "attribute_images": "evaluation",
    "measure_cost": "evaluation",
    "perturbation_curves": "evaluation",
    "remove_features": "evaluation",
    "Study": "study",
    "preset": "study",
    "run_study": "study",
    "curve": "study.results",
    "study_trials": "views.study",
    "recommend": "study.results",
    "Ledger": "study.ledger",
    "export": "study.export",
    "load_export": "study.export",
    "LrpError": "errors",
}

__all__ = [
    "Composite",
    "Dataset",
    "Explainer",
    "Ledger",
    "LrpError",
    "Network",
    "PixelMask",
    "PrunedNetwork",
    "Ranking",
    "Recipe",
    "Removal",
    "Split",
    "Study",
    "attribute",
    "attribute_images",
    "build_model",
    "build_pruned",
    "compare",
    "curve",
    "eliminate",
    "evaluate",
    "exchange",
    "export",
    "fit",
    "load_dataset",
    "load_export",
    "measure_cost",
    "perturbation_curves",
    "preset",
    "prune_inputs",
    "rank",
    "recommend",
    "remove_features",
    "run_study",
    "settling",
    "study_trials",
]

if TYPE_CHECKING:
    from .data import Dataset, Split, load_dataset
    from .errors import LrpError
    from .evaluation import Removal, attribute_images, measure_cost, perturbation_curves, remove_features
    from .lrp import Composite, Explainer, attribute
    from .models import Network, build_model
    from .pruning import PixelMask, PrunedNetwork, build_pruned, prune_inputs
    from .ranking import Ranking, compare, eliminate, exchange, rank, settling
    from .study import Study, preset, run_study
    from .study.export import export, load_export
    from .study.ledger import Ledger
    from .study.results import curve, recommend
    from .training import Recipe, evaluate, fit
    from .views.study import study_trials


__getattr__, __dir__ = attach(__name__, _HOMES)
