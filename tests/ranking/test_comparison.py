"""How two rankings agree, against scipy and counting; and how a ranking settles, against rankings of the halves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from lrp_core.data import Split
from lrp_core.errors import InputError
from lrp_core.models import Network, build_model
from lrp_core.ranking import Ranking, compare, rank, settling

from ..support import check_sentence, toy_split


def ranking_of(order: list[int]) -> Ranking:
    scores = torch.empty(len(order), dtype=torch.float64)
    scores[torch.tensor(order)] = torch.arange(len(order), 0, -1, dtype=torch.float64)
    return Ranking.from_scores("test", scores, (len(order),))


@st.composite
def orders(draw: st.DrawFn) -> list[list[int]]:
    """Two permutations of the same inputs."""
    n = draw(st.integers(2, 30))
    return [list(draw(st.permutations(range(n)))) for _ in range(2)]


class TestCompare:
    @given(orders(), st.data())
    @settings(deadline=None, max_examples=60)
    def test_is_what_the_definitions_say(self, pair: list[list[int]], data: st.DataObject) -> None:
        a, b = (ranking_of(order) for order in pair)
        n = a.n_inputs
        keeps = data.draw(st.lists(st.integers(1, n), min_size=1, max_size=4))
        found = compare(a, b, keeps)
        x, y = a.rank.double().numpy(), b.rank.double().numpy()
        assert found.spearman == pytest.approx(np.corrcoef(x, y)[0, 1])
        agreeing = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i in range(n) for j in range(i)]
        assert found.kendall == pytest.approx(np.mean(agreeing))
        assert list(found.overlap) == sorted(set(keeps))
        for keep, share in found.overlap.items():
            both = set(a.mask(keep).indices.tolist()) & set(b.mask(keep).indices.tolist())
            assert share == pytest.approx(len(both) / keep)

    @given(orders())
    @settings(deadline=None, max_examples=30)
    def test_is_symmetric_and_one_with_itself(self, pair: list[list[int]]) -> None:
        a, b = (ranking_of(order) for order in pair)
        assert compare(a, b).overlap == compare(b, a).overlap
        assert compare(a, b).spearman == pytest.approx(compare(b, a).spearman)
        same = compare(a, a)
        assert (same.spearman, same.kendall) == (pytest.approx(1), pytest.approx(1))
        assert set(same.overlap.values()) == {1.0}

    def test_hand_cases(self) -> None:
        forward, backward = ranking_of([0, 1, 2, 3]), ranking_of([3, 2, 1, 0])
        found = compare(forward, backward, [1, 2, 3, 4])
        assert (found.spearman, found.kendall) == (pytest.approx(-1), pytest.approx(-1))
        assert found.overlap == {1: 0, 2: 0, 3: pytest.approx(2 / 3), 4: 1}
        swapped = compare(forward, ranking_of([0, 2, 1, 3]), [2])
        assert (swapped.spearman, swapped.kendall) == (pytest.approx(0.8), pytest.approx(2 / 3))
        assert swapped.overlap == {2: 0.5}

    def test_strangers_overlap_as_chance_has_it(self) -> None:
        split = toy_split(4, size=20, classes=2)
        found = [
            compare(*(rank(None, split, criterion="random", seed=2 * seed + i) for i in (0, 1)), [100])
            for seed in range(40)
        ]
        assert np.mean([f.overlap[100] for f in found]) == pytest.approx(100 / 400, abs=0.03)
        assert abs(np.mean([f.spearman for f in found])) < 0.03

    def test_what_is_compared_if_nothing_is_asked_for(self) -> None:
        a = ranking_of(list(range(784)))
        assert list(compare(a, a).overlap) == [39, 78, 157, 392]

    def test_one_input_has_no_rank_correlation(self, recwarn: pytest.WarningsRecorder) -> None:
        found = compare(ranking_of([0]), ranking_of([0]))
        assert math.isnan(found.spearman)
        assert math.isnan(found.kendall)
        assert found.overlap == {1: 1.0}
        assert not recwarn.list

    def test_other_sizes_are_refused(self) -> None:
        with pytest.raises(InputError, match="of 3 and of 4 inputs cannot be compared") as caught:
            compare(ranking_of([0, 1, 2]), ranking_of([0, 1, 2, 3]))
        check_sentence(caught.value)

    @pytest.mark.parametrize("keep", [0, 5, -1])
    def test_a_keep_beyond_the_inputs_is_refused(self, keep: int) -> None:
        with pytest.raises(InputError, match="between 1 and 4"):
            compare(ranking_of([0, 1, 2, 3]), ranking_of([0, 1, 2, 3]), [2, keep])


def network() -> Network:
    return build_model("mlp-300-100", shape=(1, 6, 6), n_classes=3, seed=1).eval()


def value(table: pd.DataFrame, n: int, measure: str, keep: int | None = None) -> float:
    rows = table[(table["images"] == n) & (table["measure"] == measure)]
    if keep is not None:
        rows = rows[rows["keep"] == keep]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


class TestSettling:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"criterion": "gradient", "statistic": "mean-positive", "start": "logit"},
            {"statistic": "max-mean-abs"},
            {"statistic": "mean", "start": "contrast"},
            {"label": 2, "criterion": "epsilon"},
        ],
        ids=str,
    )
    def test_is_the_comparison_of_the_halves(self, options: dict[str, Any]) -> None:
        """The halves are drawn once more here, and each is ranked at once."""
        model, split = network(), toy_split(90)
        sizes, keeps = (4, 9, 12), (5, 20)
        table = settling(model, split, sizes=sizes, keeps=keeps, seed=3, batch_size=5, **options)
        own = split if "label" not in options else split.take((split.labels == options["label"]).nonzero().flatten())
        order = torch.randperm(len(own), generator=torch.Generator().manual_seed(3))
        for n in sizes:
            a, b = (rank(model, own.take(order[i : 2 * n : 2]), seed=3, **options) for i in (0, 1))
            expected = compare(a, b, keeps)
            # Sums of other batches differ in the last bits, which may swap two inputs that are all but equal.
            assert value(table, n, "spearman") == pytest.approx(expected.spearman, abs=2e-3)
            assert value(table, n, "kendall") == pytest.approx(expected.kendall, abs=5e-3)
            for keep in keeps:
                assert value(table, n, "overlap", keep) == pytest.approx(expected.overlap[keep])
            shares = (a.standard_error / a.scores.abs())[a.scores != 0]
            assert value(table, n, "error") == pytest.approx(float(shares.median()), rel=1e-3)

    def test_is_a_tidy_table(self) -> None:
        table = settling(network(), toy_split(90), sizes=(20, 10, 10), keeps=(3, 9))
        assert list(table.columns) == ["images", "measure", "keep", "value"]
        assert table["images"].tolist() == [10] * 5 + [20] * 5
        assert table["measure"].tolist() == ["spearman", "kendall", "overlap", "overlap", "error"] * 2
        assert table["keep"].tolist() == [pd.NA, pd.NA, 3, 9, pd.NA] * 2

    def test_more_images_settle_it(self) -> None:
        """Relevance that is the same number for every image up to noise: agreement rises as theory has it."""
        random = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (4000, 1, 6, 6), generator=random, dtype=torch.uint8)
        split = Split(pixels, torch.zeros(4000, dtype=torch.int64), torch.arange(4000))
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 1, bias=False))
        with torch.no_grad():
            model[1].weight[:] = torch.linspace(0.9, 1.1, 36)
        table = settling(model, split, statistic="mean", start="logit", sizes=(20, 2000), keeps=(18,))
        assert value(table, 2000, "spearman") > value(table, 20, "spearman") + 0.2
        assert value(table, 2000, "error") == pytest.approx(value(table, 20, "error") / 10, rel=0.3)
        # A uniform byte has mean 127.5 and standard deviation 73.9.
        assert value(table, 2000, "error") == pytest.approx(73.9 / 127.5 / math.sqrt(2000), rel=0.05)

    def test_sizes_halve_from_half_of_the_images(self) -> None:
        table = settling(network(), toy_split(300))
        assert table["images"].unique().tolist() == [18, 37, 75, 150]
        assert settling(network(), toy_split(7))["images"].unique().tolist() == [3]

    def test_every_image_is_looked_at_once_and_no_more(self) -> None:
        done: list[int] = []
        settling(network(), toy_split(90), sizes=(10, 31), batch_size=8, on_batch=done.append)
        assert done[-1] == 62
        assert sorted(set(done)) == done
        assert max(np.diff([0, *done])) <= 8

    def test_no_image_is_in_both_halves(self) -> None:
        """Every image has a pixel of its own; the scores of the two halves then have none in common."""
        split = Split(torch.diag(torch.full((8,), 255)).view(8, 1, 2, 4).byte(), torch.zeros(8).long(), torch.arange(8))
        model = nn.Sequential(nn.Flatten(), nn.Linear(8, 1, bias=False))
        nn.init.constant_(model[1].weight, 1.0)
        table = settling(model, split, statistic="mean", start="logit", sizes=(2, 4), keeps=(4,))
        assert value(table, 4, "overlap", 4) == 0

    def test_is_the_seeds_alone(self) -> None:
        model, split = network(), toy_split(60)
        first = settling(model, split, seed=1)
        torch.rand(3)
        pd.testing.assert_frame_equal(first, settling(model, split, seed=1))
        assert not first["value"].equals(settling(model, split, seed=2)["value"])

    def test_one_image_in_a_half_has_no_error(self) -> None:
        assert math.isnan(value(settling(network(), toy_split(9), sizes=(1,)), 1, "error"))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"criterion": "variance"}, "criterion that explains images 'variance'"),
            ({"criterion": "weight"}, "criterion that explains images"),
            ({"statistic": "median"}, "unknown statistic"),
            ({"statistic": "max-mean", "label": 1}, "leave class 1 out"),
            ({"start": "loggit"}, "unknown start"),
            ({"label": 7}, "class 7 has no image"),
            ({"sizes": (5, 16)}, "each half can have 1 to 15 images, not 16"),
            ({"sizes": (0,)}, "each half can have 1 to 15 images, not 0"),
            ({"sizes": ()}, "at least one number of images"),
            ({"keeps": (37,)}, "between 1 and 36"),
        ],
        ids=str,
    )
    def test_bad_input_is_refused_before_any_image(self, options: dict[str, Any], words: str) -> None:
        done: list[int] = []
        with pytest.raises(InputError, match=words) as caught:
            settling(network(), toy_split(30), on_batch=done.append, **options)
        check_sentence(caught.value)
        assert not done

    def test_one_image_has_no_halves(self) -> None:
        with pytest.raises(InputError, match="at least two images"):
            settling(network(), toy_split(1))


def test_ties_are_compared_in_the_order_that_their_seed_gave() -> None:
    def tied(seed: int) -> Ranking:
        return Ranking.from_scores("test", torch.zeros(50), (50,), seed=seed)

    assert compare(tied(1), tied(1)).kendall == pytest.approx(1)
    places: list[Tensor] = [tied(seed).rank for seed in (1, 2)]
    assert compare(tied(1), tied(2)).kendall == pytest.approx(float(stats.kendalltau(*places)[0]))
