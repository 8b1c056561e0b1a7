"""Distances, contests and votes: against dense maths in numpy, their slopes, and what the balance says of each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lrp_core.errors import InputError
from lrp_core.lrp import Explainer
from lrp_core.neuralised.contests import others_back, others_of
from lrp_core.neuralised.layers import Contest, Distances, NeighbourVotes, Votes

from ..support import check_sentence
from .estimators import dense_distances, dense_rivals, dense_smin

pytestmark = pytest.mark.slow

STIFFNESSES = st.sampled_from([None, 1e-3, 0.7, 5.0, 1e4])


@st.composite
def values(draw: Any, least: int = 2) -> Tensor:
    """Rows of distances of very different sizes, some of them equal."""
    k = draw(st.integers(least, 7))
    sizes = st.floats(0, 1e3) | st.floats(0, 1) | st.sampled_from([0.0, 1.0, 40.0])
    numbers = draw(st.lists(sizes, min_size=3 * k, max_size=3 * k))
    return torch.tensor(numbers, dtype=torch.float64).view(3, k)


@st.composite
def contests(draw: Any) -> tuple[Contest, Tensor]:
    """A contest over pools that may share distances and hold constants, and distances for it."""
    d = draw(values())
    n = d.shape[1]
    way = draw(st.sampled_from(["rivals", "pairs"]))
    number = draw(st.sampled_from([2, 4]) if way == "pairs" else st.integers(2, 5))
    pools = [draw(st.lists(st.integers(0, n), min_size=1, max_size=4)) for _ in range(number)]
    stiffness = draw(STIFFNESSES)
    offsets = [draw(st.floats(-3, 3)) for pool in pools for _ in pool]
    contest = Contest(n, [len(pool) for pool in pools], way, stiffness)
    members = torch.tensor([place for pool in pools for place in pool])
    return contest.filled(members, torch.tensor(offsets, dtype=torch.float64)), d


def dense_contest(contest: Contest, d: Tensor) -> np.ndarray:
    """z of a contest, pool by pool."""
    padded = np.concatenate([d.numpy(), np.zeros((len(d), 1))], 1)
    h, start = [], 0
    for size in contest.pools:
        part = slice(start, start + size)
        h.append(
            dense_smin(padded[:, contest.members[part].numpy()] + contest.offsets[part].numpy(), contest.stiffness)
        )
        start += size
    pools = np.stack(h, 1)
    return pools[:, 1::2] - pools[:, 0::2] if contest.way == "pairs" else dense_rivals(pools, contest.stiffness)


def close(a: Any, b: Any, scale: float = 1e-11) -> bool:
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return a.shape == b.shape and bool(((a - b).abs() <= scale * (1 + b.abs())).all())


class TestDistances:
    @given(
        st.integers(1, 5),
        st.integers(1, 6),
        st.floats(-1e6, 1e6),
        st.sampled_from([1e-3, 1.0, 100.0]),
        st.integers(0, 99),
    )
    def test_are_those_of_numpy_wherever_the_rows_lie(
        self, m: int, d: int, away: float, size: float, seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        x, u = away + size * random.normal(size=(4, d)), away + size * random.normal(size=(m, d))
        offset = random.random(m)
        layer = Distances.around(torch.from_numpy(u), torch.from_numpy(offset))
        expected = dense_distances(x, u) + offset
        assert np.allclose(layer(torch.from_numpy(x)).numpy(), expected, rtol=1e-7, atol=1e-9 * size**2)

    def test_of_a_prototype_to_itself_is_not_negative(self) -> None:
        u = torch.rand(50, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert float(Distances.around(u)(u).amin()) >= 0

    def test_relevance_is_shared_out_coordinate_by_coordinate(self) -> None:
        random = np.random.default_rng(0)
        x, u, c = random.normal(size=(3, 4)), random.normal(size=(6, 4)), random.normal(size=(3, 6))
        net = nn.Sequential(Distances.around(torch.from_numpy(u), torch.full((6,), 0.5, dtype=torch.float64)))
        d = dense_distances(x, u) + 0.5
        explanation = Explainer(net, "lrp-0").explain(torch.from_numpy(x), start=torch.from_numpy(c * d))
        expected = (c[:, :, None] * np.square(x[:, None] - u[None])).sum(1)
        assert close(explanation.relevance, expected)
        (entry,) = explanation.balance
        assert close(entry.bias, 0.5 * c.sum(1))
        assert not entry.entropy.any()

    def test_in_float32_take_inputs_of_any_precision(self) -> None:
        layer = Distances.around(torch.rand(3, 4))
        assert layer(torch.rand(2, 4, dtype=torch.float64)).dtype == torch.float32
        assert layer.double()(torch.rand(2, 4)).dtype == torch.float64

    @pytest.mark.parametrize("shape", [(2, 3), (2, 2, 2), (4,)])
    def test_refuse_other_inputs(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match="fitted on 4 inputs") as caught:
            Distances.around(torch.rand(3, 4))(torch.rand(shape))
        check_sentence(caught.value)


class TestSoftMinima:
    @given(values(), STIFFNESSES)
    def test_of_the_others_are_those_of_numpy(self, h: Tensor, b: float | None) -> None:
        assert close(others_of(h, b), dense_rivals(h.numpy(), b) + h.numpy(), 1e-11 * (1 if b is None else 1 + 1 / b))

    @given(values(), st.sampled_from([1e-3, 0.7, 5.0, 1e4]), st.integers(0, 99))
    def test_go_back_along_their_slopes(self, h: Tensor, b: float, seed: int) -> None:
        factors = torch.randn(h.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        k = h.shape[1]
        expected = torch.zeros_like(h)
        for g in range(k):
            rest = [i for i in range(k) if i != g]
            expected[:, rest] += factors[:, g, None] * torch.softmax(-b * h[:, rest], 1)
        assert close(others_back(h, factors, b), expected)

    def test_do_not_vanish_where_one_outweighs_all_others(self) -> None:
        h = torch.tensor([[0.0, 900.0, 950.0]], dtype=torch.float64)
        assert others_of(h, 1.0)[0, 0] == pytest.approx(900 + math.log(2), abs=1e-12)
        assert others_back(h, torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64), 1.0)[0, 1] == pytest.approx(1)


class TestContests:
    @given(contests())
    def test_are_those_of_numpy(self, drawn: tuple[Contest, Tensor]) -> None:
        contest, d = drawn
        assert close(contest(d), dense_contest(contest, d), 1e-11 * (1 + 1 / (contest.stiffness or 1)))

    @given(contests(), st.integers(0, 99))
    def test_conserve_with_the_entropy_and_the_offsets(self, drawn: tuple[Contest, Tensor], seed: int) -> None:
        contest, d = drawn
        z = contest(d)
        r = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        start = torch.where(z == 0, 0, r * z)
        explanation = Explainer(nn.Sequential(contest), "lrp-0").explain(d, start=start)
        scale = 1e-11 * (1 + 1 / (contest.stiffness or 1)) * (1 + float((r.abs().sum(1) * (1 + d.amax(1))).max()))
        entry = explanation.balance[0] if explanation.balance else None
        lost = start.sum(1) - explanation.relevance.sum(1)
        assert entry is not None or float(lost.abs().max()) < scale
        if entry is not None:
            assert float((entry.bias + entry.entropy - lost).abs().max()) < scale
            assert contest.stiffness is not None or float(entry.entropy.abs().max()) < scale

    @given(contests())
    def test_relevance_follows_finite_differences(self, drawn: tuple[Contest, Tensor]) -> None:
        """R_j = D_j sum_g r_g dz_g/dD_j, for soft minima that are not so stiff that a step leaps over a corner."""
        contest, d = drawn
        if contest.stiffness is None or contest.stiffness > 5:
            return
        d = d.clamp(max=40)
        z, step = contest(d), 1e-4
        explainer = Explainer(nn.Sequential(contest), "lrp-0")
        for g in range(z.shape[1]):
            found = explainer.relevance(d, g if z.shape[1] > 1 else None)
            for j in range(d.shape[1]):
                up, down = d.clone(), d.clone()
                up[:, j] += step
                down[:, j] -= step
                slope = (contest(up)[:, g] - contest(down)[:, g]) / (2 * step)
                assert close(found[:, j], d[:, j] * slope, 1e-5), (g, j)

    @pytest.mark.parametrize("b", [0.5, 3.0])
    def test_absorb_what_the_entropy_formula_says(self, b: float) -> None:
        """One pool against a constant of 0: z = sum q D - H(q) / b."""
        d = torch.tensor([[0.3, 0.5, 2.0]], dtype=torch.float64)
        contest = Contest(3, [1, 3], "pairs", b).filled(torch.tensor([3, 0, 1, 2]), torch.zeros(4, dtype=torch.float64))
        q = torch.softmax(-b * d, 1)
        (entry,) = Explainer(nn.Sequential(contest), "lrp-0").explain(d).balance
        assert float(entry.entropy) == pytest.approx(float((q * q.log()).sum() / b), abs=1e-12)
        assert float(entry.bias) == pytest.approx(0, abs=1e-12)

    def test_refuse_what_is_none(self) -> None:
        for pools, way, stiffness in (
            ([1], "rivals", 1.0),
            ([1, 2, 1], "pairs", 1.0),
            ([1, 0], "rivals", 1.0),
            ([1, 1], "rivals", 0.0),
            ([1, 1], "rivals", math.nan),
            ([1, 1], "rival", 1.0),
        ):
            with pytest.raises(InputError) as caught:
                Contest(3, pools, way, stiffness)
            check_sentence(caught.value)
        with pytest.raises(InputError, match="between 1 and 3 neighbours"):
            NeighbourVotes(3, [1, 2], 4)
        with pytest.raises(InputError, match="at least two classes"):
            Votes(1)


class TestVotes:
    @given(st.integers(2, 6), st.integers(0, 99))
    def test_elect_as_one_counts_by_hand(self, k: int, seed: int) -> None:
        z = torch.randn(20, k * (k - 1) // 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        z[0] = 0  # all tied
        scores = Votes(k)(z)
        for row, given_scores in zip(z.tolist(), scores, strict=True):
            votes, sums, pairs = [0] * k, [0.0] * k, iter(row)
            for i in range(k):
                for j in range(i + 1, k):
                    value = next(pairs)
                    votes[i if value > 0 else j] += 1
                    sums[i] += value
                    sums[j] -= value
            winner = votes.index(max(votes))
            assert int(given_scores.argmax()) == winner
            means = torch.tensor(sums, dtype=torch.float64) / (k - 1)
            means[winner] = given_scores[winner]
            assert close(given_scores, means)

    @given(st.integers(3, 6), st.integers(0, 99))
    def test_absorb_nothing_but_the_lift(self, k: int, seed: int) -> None:
        z = torch.randn(20, k * (k - 1) // 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        net = nn.Sequential(Votes(k))
        explanation = Explainer(net, "lrp-0").explain(z)
        means = explanation.relevance.sum(1)
        top = net(z).amax(1)
        lost = sum((b.bias for b in explanation.balance), torch.zeros(20, dtype=torch.float64))
        assert close(means + lost, top)
        others = net(z).topk(2, 1).values[:, 1]
        was_lifted = lost.abs() > 1e-12
        assert bool((~was_lifted | (top - others < 1e-11)).all())
