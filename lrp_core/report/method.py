"""How a study was made, in plain words."""

from __future__ import annotations

from ..data import Dataset
from ..models import ARCHITECTURES
from ..ranking import CRITERIA, STRATEGIES, Method
from ..study import Study, plan
from ..training import Recipe
from .words import count, listed, things

MODES = {
    "none": "none: the full network's weights, as they are",
    "fine-tune": "fine-tune: the full network's weights, trained on",
    "scratch": "scratch: fresh weights, trained from the start",
}
"""What happens to a small network before it is measured."""

_START = {
    "logit": "the output of the explained class",
    "contrast": "the output of the explained class minus the largest other one",
    "log-odds": "the log-odds of the explained class",
    "one-hot": "one for the explained class, zero for the others",
}
_MEANS = {
    "mean-abs": "the mean size of its relevance",
    "mean": "its mean relevance",
    "mean-square": "the mean square of its relevance",
    "mean-positive": "the mean of the positive part of its relevance",
}


def describe(study: Study, data: Dataset, words: tuple[str, str, str]) -> tuple[tuple[str, str], ...]:
    """Pairs of a subject and a text; `words` are those of an opened study: inputs, rows, row."""
    inputs, rows, row = words
    base = plan(study, data)[0].base
    pairs = [("Data", _data(study, data, rows)), ("Network", _network(study, data))]
    pairs.append(("Training", f"{_recipe(base.recipe)} On {_trained_on(study, data, rows)}."))
    pairs += [(f"Ranked by {method}", _ranked(method)) for method in study.methods]
    measured = [name for name in study.criteria if CRITERIA[name].is_measured]
    if measured:
        images = f"{count(study.rank_images)} training {rows}" if study.rank_images else f"all training {rows}"
        repeats = any(STRATEGIES[name].follows or name == "elimination" for name in study.strategies)
        if not study.rank_images and repeats:
            images += " (elimination draws a sample of its own in each step)"
        start = _START.get(study.start, study.start) if data.target is None else "the number that it predicts"
        pairs.append(
            (
                "Relevance",
                f"In each {row} relevance starts with {start} ({study.start}). An input's score is {_mean(study)} over "
                f"{images} ({study.statistic}).",
            )
        )
    pairs += [("Small network", _small(mode, study, data)) for mode in dict.fromkeys(study.modes)]
    pairs.append(("Seeds", _seeds(study)))
    pairs.append(
        (
            "Measured",
            f"Networks keep {listed([count(keep) for keep in sorted(set(study.keeps))])} of {data.n_groups:,} "
            f"{inputs}. {data.words.score[:1].upper() + data.words.score[1:]} on validation {rows} chooses; test "
            f"{rows} only report.",
        )
    )
    return tuple(pairs)


def _data(study: Study, data: Dataset, rows: str) -> str:
    shape = " × ".join(map(str, data.shape))
    kind = f"{len(data.classes)} classes" if data.target is None else f"a number, {data.target.name}, to be predicted"
    groups = f" in {data.n_groups:,} groups that are kept or dropped as one" if data.groups else ""
    parts = ", ".join(f"{count(len(part))} {name}" for name, part in (
        ("training", data.train), ("validation", data.validation), ("test", data.test)))  # fmt: skip
    notes = f" Notes: {'; '.join(data.notes)}." if data.notes else ""
    split = " Each seed draws these parts again." if study.resplit else ""
    return f"{data.name}: {parts} {rows} of {count(data.n_inputs)} inputs ({shape}){groups}, {kind}.{split}{notes}"


def _network(study: Study, data: Dataset) -> str:
    own = "" if ARCHITECTURES.is_built_in(study.architecture) else ", a network of your own"
    return f"{study.architecture}{own}, on all {count(data.n_inputs)} inputs."


def _recipe(recipe: Recipe) -> str:
    if not recipe.epochs:
        return "None: the network is taken as it is given."
    stop = f", ended after {things(recipe.patience, 'epochs')} without a lower loss" if recipe.patience else ""
    precision = "" if recipe.precision == "float32" else f", products in {recipe.precision}"
    optimizer = {"adamw": "AdamW", "sgd": "SGD with Nesterov momentum 0.9"}[recipe.optimizer]
    return (
        f"{optimizer}, {things(recipe.epochs, 'epochs')}{stop}, batches of {recipe.batch_size}, one-cycle learning "
        f"rate up to {recipe.lr:g}, weight decay {recipe.weight_decay:g}{precision}."
    )


def _trained_on(study: Study, data: Dataset, rows: str) -> str:
    return f"a stratified sample of {count(study.n_train)} training {rows}" if study.n_train else f"all training {rows}"


def _ranked(method: str) -> str:
    named = Method.named(method)
    criterion, strategy = CRITERIA[named.criterion], STRATEGIES[named.strategy]
    control = " This is a control: it looks at no explanation of the network." if criterion.is_control else ""
    # A criterion that explains no image is ranked by once, whatever the strategies.
    how = f"; {named.strategy}: {strategy.says}" if criterion.is_measured else ""
    return f"Inputs ranked {criterion.says}{how}.{control}"


def _mean(study: Study) -> str:
    plain = study.statistic.removeprefix("max-")
    largest = "the largest of the classes' own values, of " if plain != study.statistic else ""
    return largest + _MEANS.get(plain, study.statistic)


def _small(mode: str, study: Study, data: Dataset) -> str:
    text = MODES[mode]
    if mode == "none":
        return f"{text}. It is compared with the full network of the same seed."
    trial = next(trial for trial in plan(study, data) if trial.mode == mode and trial.ranking is not None)
    beside = (
        "the full network of the same seed, trained on for as long"
        if mode == "fine-tune"
        else "the full network of the same seed, which is trained as long"
    )
    return f"{text}. {_recipe(trial.retrain)} It is compared with {beside}."


def _seeds(study: Study) -> str:
    seeds = listed([str(seed) for seed in study.seeds])
    if study.resplit:
        return (
            f"{seeds}: each draws its own split, trains its own networks and ranks by them. Intervals are the "
            "corrected resampled t of Nadeau and Bengio (2003), 95 %."
        )
    if len(study.seeds) < 2:
        return f"{seeds}: one network at each point, so there is no interval."
    others = listed([str(seed) for seed in study.mask_seeds])
    masks = f" Each is tried with the masks of seeds {others}." if others else ""
    return f"{seeds}: each trains its own networks.{masks} Intervals are Student's t over seeds, 95 %."
