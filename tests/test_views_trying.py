"""What the page to try a study out on asks of the core: both networks' answers, and what breaks on the test set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrp_core import views
from lrp_core.errors import InputError
from lrp_core.study import Study, make_network, plan, run_study, weights_path
from lrp_core.study.ledger import Ledger
from lrp_core.study.stages import base_network, ranking_of
from lrp_core.views.trying import THUMBNAIL, Pair

STUDY = Study(
    n_train=300,
    architecture="softmax",
    criteria=("lrp-0",),
    keeps=(100, 400),
    modes=("none", "fine-tune"),
    seeds=(1,),
    rank_images=100,
    epochs=1,
    retrain_epochs=1,
)
PLACE = {"method": "lrp-0", "mode": "fine-tune", "keep": 100, "seed": 1}


@dataclass(frozen=True)
class Here:
    """A finished study, opened."""

    opened: views.OpenedStudy
    ledger: Ledger

    def pair(self, **changes: object) -> Pair:
        return self.opened.trying.pair(**(PLACE | changes))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp("trying")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder))
        for _ in run_study(STUDY, Ledger(folder), name="trying", jobs=1):
            pass
        yield Here(views.open_study(STUDY, Ledger(folder)), Ledger(folder))


@pytest.mark.parametrize("mode", STUDY.modes)
def test_a_pair_is_two_trials_of_the_study(here: Here, mode: str) -> None:
    planned = {trial.key: trial for trial in plan(STUDY, STUDY.data())}
    pair = here.pair(mode=mode)
    assert planned[pair.full.key].ranking is None
    assert planned[pair.full.key].mode == mode
    assert planned[pair.small.key].keep == 100


@pytest.mark.parametrize("mode", STUDY.modes)
def test_the_small_network_answers_by_what_it_reads_alone(here: Here, mode: str) -> None:
    pair, trying = here.pair(mode=mode), here.opened.trying
    mask = ranking_of(pair.small.ranking).mask(100)
    x = torch.tensor(trying.row(5, 1))
    full, small = trying.answers(pair, x.numpy())
    network = trying.network(pair.small)
    expected = network(mask.apply(x[None]))[0].softmax(0).detach().numpy()
    np.testing.assert_allclose(small.probabilities, expected, atol=1e-6)
    assert small.says == int(expected.argmax())
    np.testing.assert_array_equal(trying.kept(pair), mask.keep.flatten().numpy())
    np.testing.assert_array_equal(small.kept, mask.keep.flatten().numpy())
    assert full.kept.all()
    assert small.relevance is not None
    assert not small.relevance[~small.kept].any()
    assert small.relevance[small.kept].any()
    changed = np.where(mask.keep.numpy(), x.numpy(), 1 - x.numpy())  # what is not read may be anything
    again = trying.answers(pair, changed)[1]
    np.testing.assert_array_equal(again.probabilities, small.probabilities)
    np.testing.assert_array_equal(again.relevance, small.relevance)


def test_without_training_the_small_network_is_the_full_one_on_the_masked_image(here: Here) -> None:
    pair, trying = here.pair(mode="none", keep=250), here.opened.trying
    x = torch.tensor(trying.row(7, 1))
    mask = ranking_of(pair.small.ranking).mask(250)
    expected = base_network(pair.full.base)(mask.remove(x[None]))[0].softmax(0).detach().numpy()
    np.testing.assert_allclose(trying.answers(pair, x.numpy())[1].probabilities, expected, atol=1e-5)
    assert pair.small.key not in here.ledger.recorded([pair.small.key])  # looking leaves no trace in the results


def test_breaks_and_heals_are_those_of_the_networks(here: Here) -> None:
    pair, test = here.pair(), STUDY.data().test
    recorded = here.opened.testing.recorded(pair)
    assert recorded is not None
    says = {}
    for name, trial in (("full", pair.full), ("small", pair.small)):
        network, encode = make_network(trial)
        says[name] = network(encode(test.inputs) if encode else test.inputs).argmax(1)
    right = {name: (said == test.labels).numpy() for name, said in says.items()}
    np.testing.assert_array_equal(recorded.positions("break"), np.flatnonzero(right["full"] & ~right["small"]))
    np.testing.assert_array_equal(recorded.positions("heal"), np.flatnonzero(right["small"] & ~right["full"]))
    predictions = here.opened.testing.predictions(pair)
    again = views.Tested.of(predictions)
    np.testing.assert_array_equal(again.small_right, recorded.small_right)
    np.testing.assert_array_equal(again.full_right, recorded.full_right)
    np.testing.assert_array_equal(predictions.small, says["small"].numpy())


def test_classes_and_confusion_add_up(here: Here) -> None:
    pair, classes = here.pair(), STUDY.data().classes
    predictions, recorded = here.opened.testing.predictions(pair), here.opened.testing.recorded(pair)
    assert recorded is not None
    table = recorded.by_class(classes)
    rows = here.ledger.trials([pair.full.key, pair.small.key])
    for name, said, row in zip(("full", "small"), (predictions.full, predictions.small), rows.to_dict("records"),
                               strict=True):  # fmt: skip
        counts = views.confusion(predictions.labels, said, len(classes))
        np.testing.assert_array_equal(counts.sum(1), np.bincount(predictions.labels))
        np.testing.assert_array_equal(np.diag(counts), table[name])
        np.testing.assert_allclose(table[name] / table["rows"], row["test_per_class"])
    assert (table["change"] == table["heals"] - table["breaks"]).all()


def test_the_gallery_begins_with_the_surest_error() -> None:
    predictions = views.Predictions(
        labels=np.array([0, 1, 0, 1, 1]),
        full=np.array([0, 1, 0, 0, 0]),
        small=np.array([1, 0, 0, 1, 1]),
        full_sure=np.array([0.9, 0.8, 0.7, 0.6, 0.95]),
        small_sure=np.array([0.55, 0.99, 0.5, 0.5, 0.5]),
    )
    tested = views.Tested.of(predictions)
    assert views.gallery(tested, "break", "sure", predictions)["index"].tolist() == [1, 0]
    assert views.gallery(tested, "break", "class", predictions)["index"].tolist() == [0, 1]
    heals = views.gallery(tested, "heal", "sure", predictions)
    assert heals["index"].tolist() == [4, 3]
    assert heals["full"].tolist() == [0, 0]
    unknown = views.gallery(tested, "break", "sure")
    assert unknown["small"].tolist() == [-1, -1]
    assert unknown["sure"].isna().all()
    with pytest.raises(InputError, match="kind"):
        views.gallery(tested, "better")


def test_of_numbers_the_gallery_has_those_whose_error_changed() -> None:
    nothing = np.full(3, np.nan)
    predictions = views.Predictions(
        np.array([1.0, 2, 3]), np.array([1.5, 2, 3]), np.array([1.0, 4, 3]), nothing, nothing
    )
    assert views.gallery(predictions, "break")["index"].tolist() == [1]
    assert views.gallery(predictions, "heal")["sure"].tolist() == [0.5]


def test_what_is_not_here_is_shown_by_the_nearest_and_can_be_made(here: Here) -> None:
    trying, pair = here.opened.trying, here.pair()
    standing = trying.standing(**PLACE)
    assert standing.is_exact
    assert trying.standing(**(PLACE | {"keep": 300})).shown == here.pair(keep=400)
    assert not trying.standing(**(PLACE | {"keep": 300})).is_exact
    assert trying.standing(**(PLACE | {"keep": 300, "mode": "none"})).is_exact  # slicing needs no training
    path, before = weights_path(here.ledger, pair.small), here.ledger.trials([pair.small.key])
    path.unlink()
    standing = trying.standing(**PLACE)
    assert standing.shown == here.pair(keep=400)
    assert standing.recorded == pair
    assert trying.seconds_of(pair) > 0
    said: list[str] = []
    trying.make(pair, lambda done, doing: said.append(doing))
    assert said
    assert trying.standing(**PLACE).is_exact
    assert here.ledger.trials([pair.small.key]).equals(before)


def test_a_study_without_results_says_so(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRP_CACHE", str(tmp_path))
    opened = views.open_study(replace(STUDY, epochs=2), Ledger(tmp_path))
    standing = opened.trying.standing(**PLACE)
    assert standing.shown is None
    assert standing.recorded is None
    assert opened.trying.seconds_of(standing.asked) is None
    assert opened.testing.recorded(standing.asked) is None


def test_refusals(here: Here) -> None:
    with pytest.raises(InputError, match=r"shape \(1, 28, 28\), not \(28, 28\)"):
        here.opened.trying.answers(here.pair(), np.zeros((28, 28), np.float32))
    with pytest.raises(InputError, match="no test row 10000"):
        here.opened.trying.row(10_000, 1)
    with pytest.raises(InputError, match="composite"):
        here.opened.trying.answers(here.pair(), here.opened.trying.row(0, 1), "none such")


def test_pictures_are_small_and_show_the_pixels(here: Here) -> None:
    trying = here.opened.trying
    [first, second] = trying.thumbnails([3, 8], 1)
    picture = Image.open(BytesIO(first))
    assert max(picture.size) <= THUMBNAIL
    np.testing.assert_array_equal(np.array(picture), STUDY.data().test.raw[3, 0].numpy())
    np.testing.assert_array_equal(trying.seen(trying.row(8, 1), 1)[:, :, 0], np.array(Image.open(BytesIO(second))))
    assert trying.thumbnails([], 1) == []


def test_the_inputs_that_matter_most_come_first(here: Here) -> None:
    pair, trying = here.pair(), here.opened.trying
    x = trying.row(2, 1)
    answers = trying.answers(pair, x)
    table = trying.by_group(answers, x, 1, most=5)
    assert len(table) == 5
    largest = table[["full", "small"]].abs().max(axis=1)
    assert largest[0] == pytest.approx(1)
    assert largest.is_monotonic_decreasing
    assert table.loc[~table["kept"], "small"].abs().sum() == 0
