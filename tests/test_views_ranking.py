"""What the page on rankings shows, against plain loops and scipy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from lrp_core.data import Dataset
from lrp_core.errors import Cancelled, InputError, StorageError
from lrp_core.pruning.files import to_bytes
from lrp_core.ranking import Ranking, measure_relevance, ranking_from
from lrp_core.study import Study, plan, run_study
from lrp_core.study.ledger import Ledger
from lrp_core.study.stages import base_network, training_split
from lrp_core.views import ranking as views_ranking
from lrp_core.views.ranking import Rankings
from lrp_core.views.study import open_study

STUDY = Study(
    architecture="softmax", n_train=240, epochs=1, retrain_epochs=1, keeps=(100, 400), seeds=(0, 3), rank_images=40,
    criteria=("lrp-0", "random"), strategies=("one-shot", "stability"),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ledger = Ledger(tmp_path_factory.mktemp("rankings"))
    list(run_study(STUDY, ledger, jobs=1))
    return ledger


@pytest.fixture
def rankings(ledger: Ledger) -> Rankings:
    return open_study(STUDY, ledger).rankings


def ranking(seed: int, shape: tuple[int, ...] = (1, 4, 5), *, errors: bool = True) -> Ranking:
    generator = torch.Generator().manual_seed(seed)
    scores = 0.1 + torch.rand(math.prod(shape), generator=generator)
    error = scores / 10 if errors else None
    return Ranking.from_scores("lrp-0", scores, shape, standard_error=error, seed=seed)


@given(some.integers(0, 100), some.sampled_from([(1, 4, 5), (3, 2, 3)]))
def test_the_picture_says_where_each_input_stands(seed: int, shape: tuple[int, ...]) -> None:
    found = ranking(seed, shape)
    shown = views_ranking.picture_of_ranking(found)
    scores = found.scores.view(shape)
    for row, column in np.ndindex(*shape[1:]):
        best = max(range(shape[0]), key=lambda c: float(scores[c, row, column]))
        score = float(scores[best, row, column])
        assert shown.score[row, column] == score
        assert shown.place[row, column] == 1 + int((found.scores > score).sum())
        assert shown.relative_error[row, column] == pytest.approx(0.1)
    assert list(shown.table["place"]) == list(range(1, found.n_inputs + 1))
    assert (shown.table["score"].diff().dropna() <= 0).all()
    for entry in shown.table.to_dict("records"):
        assert entry["score"] == float(scores[entry["channel"], entry["row"], entry["column"]])
    assert shown.has_errors
    assert not shown.spans_decades


def test_scores_that_fit_no_logarithm_and_errors_that_are_unknown() -> None:
    signed = Ranking.from_scores("mean", torch.tensor([1.0, -2.0, 0.0, 3.0]), (1, 2, 2))
    shown = views_ranking.picture_of_ranking(signed)
    assert not shown.spans_decades
    assert not shown.has_errors
    assert np.isnan(shown.relative_error).all()
    decades = Ranking.from_scores("mean-square", torch.tensor([1.0, 1e-4, 0.0, 0.1]), (1, 2, 2))
    assert views_ranking.picture_of_ranking(decades).spans_decades
    assert not views_ranking.picture_of_ranking(Ranking.from_scores("flat", torch.zeros(4), (1, 2, 2))).spans_decades
    flat = views_ranking.picture_of_ranking(Ranking.from_scores("flat", torch.tensor([1.0, 3.0, 2.0]), (3,)))
    assert flat.place.tolist() == [[3, 1, 2]], "inputs that are no images are one row"


def test_a_ranking_comes_back_from_its_file() -> None:
    found = ranking(1)
    back = views_ranking.ranking_of_file(views_ranking.ranking_bytes(found), "mine.safetensors")
    assert torch.equal(back.order, found.order)
    assert torch.equal(back.scores, found.scores)
    assert back.shape == found.shape


def test_files_that_are_no_rankings(ledger: Ledger, mnist: Dataset) -> None:
    whole = views_ranking.ranking_bytes(ranking(1))
    network = to_bytes(base_network(plan(STUDY, mnist)[0].base))
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    for content in (b"", b"nothing", whole[:-5], bytes(flipped), network):
        with pytest.raises(StorageError, match=r"mine is truncated, damaged or no ranking"):
            views_ranking.ranking_of_file(content, "mine")
    with pytest.raises(InputError, match="more than the"):
        views_ranking.ranking_of_file(bytes(views_ranking.MAX_FILE_BYTES + 1), "huge")


@given(some.integers(0, 50), some.integers(51, 99))
def test_agreement_is_scipys_and_the_overlap_a_count(one: int, two: int) -> None:
    a, b = ranking(one), ranking(two)
    found = views_ranking.agreement(a, b)
    scores = a.scores.numpy(), b.scores.numpy()
    assert found.spearman == pytest.approx(stats.spearmanr(*scores)[0])
    assert found.kendall == pytest.approx(stats.kendalltau(*scores)[0])
    for row in found.overlap.to_dict("records"):
        keep = int(row["keep"])
        best = [set(np.argsort(-values)[:keep].tolist()) for values in scores]
        assert row["overlap"] == pytest.approx(len(best[0] & best[1]) / keep)
        assert row["by_chance"] == pytest.approx(keep / 20)
        who = views_ranking.kept_by(a, b, keep)
        assert int((who == 3).sum()) == len(best[0] & best[1])
        assert int((who == 1).sum()) == int((who == 2).sum()) == keep - len(best[0] & best[1])
    assert found.overlap["removed"].is_monotonic_increasing
    places = [stats.rankdata(-values) for values in scores]
    assert (found.shift.ravel() == places[1] - places[0]).all()


def test_a_ranking_agrees_with_itself_and_not_with_other_inputs() -> None:
    same = views_ranking.agreement(ranking(1), ranking(1))
    assert (same.spearman, same.kendall) == (pytest.approx(1), pytest.approx(1))
    assert (same.overlap["overlap"] == 1).all()
    assert not same.shift.any()
    with pytest.raises(InputError, match=r"\(1, 4, 5\) and of \(1, 5, 4\)"):
        views_ranking.agreement(ranking(1), ranking(2, (1, 5, 4)))


def test_settling_is_two_rankings_by_images_of_their_own(mnist: Dataset, rankings: Rankings) -> None:
    """The measurement again, from the training images that it says it takes."""
    reported: list[float] = []
    found = rankings.measure_settling("lrp-0, stability", 3, lambda part, doing: reported.append(part))
    assert (found.used, found.judged) == (40, 40)
    assert reported[-1] == pytest.approx(1)
    assert sorted(set(found.table["images"])) == [20, 40, 80]
    base = replace(plan(STUDY, mnist)[0].base, seed=3)
    pool = training_split(base).sample(160, seed=3)
    order = torch.randperm(160, generator=torch.Generator().manual_seed(3))
    halves = []
    for half in (order[0::2], order[1::2]):
        statistics = measure_relevance(base_network(base), pool.take(half[:40]), criterion="lrp-0", start="log-odds")
        halves.append(ranking_from(statistics, "lrp-0", (1, 28, 28), seed=3))
    expected = views_ranking.agreement(*halves)
    assert found.value("spearman", 40) == pytest.approx(expected.spearman)
    first, second = (set(half.order[:100].tolist()) for half in halves)
    assert found.value("overlap", 40, 100) == pytest.approx(len(first & second) / 100)
    scored = halves[0].scores != 0
    error = (halves[0].standard_error[scored] / halves[0].scores[scored].abs()).median()
    assert found.value("error", 40) == pytest.approx(float(error))

    assert rankings.settling_is_measured("lrp-0", 3)
    assert not rankings.settling_is_measured("lrp-0", 0)
    again = rankings.measure_settling("lrp-0", 3, lambda part, doing: pytest.fail("measured again"))
    pd.testing.assert_frame_equal(again.table, found.table)


def test_a_study_that_ranks_by_all_images_is_judged_by_halves(ledger: Ledger) -> None:
    found = open_study(replace(STUDY, rank_images=None), ledger).rankings.measure_settling(
        "lrp-0", 0, lambda part, doing: None
    )
    assert (found.used, found.judged) == (240, 120)
    assert "The study ranks by more, 240" in found.finding(100)


def test_a_measurement_can_be_stopped_and_begins_again(rankings: Rankings) -> None:
    def stop(part: float, doing: str) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        rankings.measure_settling("lrp-0", 0, stop)
    assert not rankings.settling_is_measured("lrp-0", 0)


def test_only_what_explains_images_settles(rankings: Rankings) -> None:
    assert rankings.can_settle("lrp-0, stability")
    assert rankings.can_settle("gradient")
    assert not rankings.can_settle("random")
    with pytest.raises(InputError, match="nothing to settle"):
        rankings.measure_settling("random", 0, lambda part, doing: None)


def settled(values: dict[int, tuple[float, float]], used: int, judged: int) -> views_ranking.Settled:
    rows = [(n, "spearman", None, s) for n, (s, _) in values.items()]
    rows += [(n, "overlap", 50, o) for n, (_, o) in values.items()]
    table = pd.DataFrame(rows, columns=["images", "measure", "keep", "value"])
    return views_ranking.Settled(table, used, judged)


@pytest.mark.parametrize(
    ("values", "used", "judged", "said"),
    [
        ({100: (0.96, 0.93)}, 100, 100, "The sample suffices"),
        ({100: (0.96, 0.80)}, 100, 100, "does not suffice"),
        ({100: (0.90, 0.95)}, 100, 100, "Rank by more images"),
        ({100: (0.90, 0.95), 200: (0.97, 0.97)}, 100, 100, "200 images would suffice."),
        ({100: (0.90, 0.95)}, 200, 100, "halves of the sample cannot show"),
        ({100: (0.96, 0.93)}, 200, 100, "ranks by more, 200: its order is surer"),
    ],
)
def test_the_finding_says_whether_the_sample_suffices(
    values: dict[int, tuple[float, float]], used: int, judged: int, said: str
) -> None:
    text = settled(values, used, judged).finding(50)
    assert said in text
    assert "at least 0.95 and 90%" in text


def test_the_page_s_ranking_is_the_study_s(ledger: Ledger) -> None:
    opened = open_study(STUDY, ledger)
    assert opened.rankings.is_ready("lrp-0, stability", 100, 3)
    found = opened.rankings.of("lrp-0", 100, 3)
    table = views_ranking.picture_of_ranking(found).table
    kept = opened.rankings.kept("lrp-0", 100, 3)
    assert {(r, c) for r, c in table[["row", "column"]].to_numpy()[:100].tolist()} == set(
        zip(*(places.tolist() for places in np.nonzero(kept)), strict=True)
    )
