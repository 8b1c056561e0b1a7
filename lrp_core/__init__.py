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
    "Dataset": "data",
    "InputGroup": "data",
    "Split": "data",
    "Target": "data",
    "load_dataset": "data",
    "read_data": "data",
    "register_dataset": "data",
    "Network": "models",
    "build_model": "models",
    "register_model": "models",
    "open_network": "loading",
    "Recipe": "training",
    "evaluate": "training",
    "Teacher": "training",
    "fit": "training",
    "BagOfWords": "neuralised",
    "At": "lrp",
    "Composite": "lrp",
    "Explainer": "lrp",
    "attribute": "lrp",
    "register": "lrp",
    "neuralise": "neuralised",
    "refit": "neuralised",
    "PixelMask": "pruning",
    "PrunedNetwork": "pruning",
    "build_pruned": "pruning",
    "prune_inputs": "pruning",
    "Criterion": "ranking",
    "Ranking": "ranking",
    "compare": "ranking",
    "eliminate": "ranking",
    "exchange": "ranking",
    "rank": "ranking",
    "register_criterion": "ranking",
    "register_strategy": "ranking",
    "settling": "ranking",
    "Removal": "evaluation",
    "attribute_images": "evaluation",
    "conv_savings": "evaluation",
    "measure_cost": "evaluation",
    "measure_speed": "evaluation",
    "perturbation_curves": "evaluation",
    "remove_features": "evaluation",
    "Budget": "shrinking",
    "Descent": "shrinking",
    "Pruning": "shrinking",
    "prune": "shrinking",
    "score_units": "shrinking",
    "Ledger": "study.ledger",
    "Study": "study.describe",
    "StudyResult": "study.finished",
    "curve": "study.results",
    "export": "study.export",
    "load_export": "study.export",
    "preset": "study.describe",
    "recommend": "study.results",
    "run": "study.finished",
    "run_study": "study.run",
    "study_trials": "views.study",
    "LrpError": "errors",
}

__all__ = [
    "At",
    "BagOfWords",
    "Budget",
    "Composite",
    "Criterion",
    "Dataset",
    "Descent",
    "Explainer",
    "InputGroup",
    "Ledger",
    "LrpError",
    "Network",
    "PixelMask",
    "PrunedNetwork",
    "Pruning",
    "Ranking",
    "Recipe",
    "Removal",
    "Split",
    "Study",
    "StudyResult",
    "Target",
    "Teacher",
    "attribute",
    "attribute_images",
    "build_model",
    "build_pruned",
    "compare",
    "conv_savings",
    "curve",
    "eliminate",
    "evaluate",
    "exchange",
    "export",
    "fit",
    "load_dataset",
    "load_export",
    "measure_cost",
    "measure_speed",
    "neuralise",
    "open_network",
    "perturbation_curves",
    "preset",
    "prune",
    "prune_inputs",
    "rank",
    "read_data",
    "recommend",
    "refit",
    "register",
    "register_criterion",
    "register_dataset",
    "register_model",
    "register_strategy",
    "remove_features",
    "run",
    "run_study",
    "score_units",
    "settling",
    "study_trials",
]

if TYPE_CHECKING:
    from .data import Dataset, InputGroup, Split, Target, load_dataset, read_data, register_dataset
    from .errors import LrpError
    from .evaluation import (
        Removal,
        attribute_images,
        conv_savings,
        measure_cost,
        measure_speed,
        perturbation_curves,
        remove_features,
    )
    from .loading import open_network
    from .lrp import At, Composite, Explainer, attribute, register
    from .models import Network, build_model, register_model
    from .neuralised import BagOfWords, neuralise, refit
    from .pruning import PixelMask, PrunedNetwork, build_pruned, prune_inputs
    from .ranking import (
        Criterion,
        Ranking,
        compare,
        eliminate,
        exchange,
        rank,
        register_criterion,
        register_strategy,
        settling,
    )
    from .shrinking import Budget, Descent, Pruning, prune, score_units
    from .study.describe import Study, preset
    from .study.export import export, load_export
    from .study.finished import StudyResult, run
    from .study.ledger import Ledger
    from .study.results import curve, recommend
    from .study.run import run_study
    from .training import Recipe, Teacher, evaluate, fit
    from .views.study import study_trials

__getattr__, __dir__ = attach(__name__, _HOMES)
