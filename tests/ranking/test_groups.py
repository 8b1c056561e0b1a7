"""Groups of inputs are ranked as one, by every criterion and strategy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import lrp_core as lc
from lrp_core.data import Dataset, Grouping, InputGroup, Split
from lrp_core.errors import InputError, StorageError
from lrp_core.ranking import (
    Criterion,
    Elimination,
    Exchange,
    Ranking,
    Refinement,
    average_rankings,
    compare,
    exchange,
    refine,
    settling,
)

N_INPUTS, N_GROUPS = 12, 5
GROUPS = (InputGroup("signal", (2, 7, 9)), InputGroup("noise", (0, 1, 3, 4)), InputGroup("more", (5, 6, 8)))
"""Inputs 10 and 11 are by themselves."""


def made(n: int = 240) -> Split:
    """The class is whether the sum of the three inputs of "signal" is above 0; each alone tells little."""
    rows = torch.randn(n, N_INPUTS, generator=torch.Generator().manual_seed(0))
    return Split(rows, (rows[:, [2, 7, 9]].sum(1) > 0).long())


@pytest.fixture(scope="module")
def split() -> Split:
    return made()


@pytest.fixture(scope="module")
def network(split: Split) -> lc.Network:
    fresh = lc.build_model("mlp-300-100", shape=(N_INPUTS,), n_classes=2)
    return lc.fit(fresh, split, recipe=lc.Recipe(epochs=20, batch_size=64), device="cpu")


def grouping() -> Grouping:
    return Grouping.from_groups(GROUPS, N_INPUTS)


def test_the_score_of_a_group_is_the_mean_square_of_its_sum(split: Split, network: lc.Network) -> None:
    ranking = lc.rank(network, split, groups=GROUPS)
    relevance = lc.attribute(network, split.inputs, target=split.labels, composite="lrp-0", start="log-odds")
    sums = torch.stack([relevance[:, grouping().of == g].sum(1) for g in range(N_GROUPS)], 1)
    assert torch.allclose(ranking.scores, sums.double().square().mean(0), rtol=1e-5)
    assert ranking.order.tolist() == sorted(range(N_GROUPS), key=lambda g: -float(ranking.scores[g]))
    assert ranking.mask(keep=1).indices.tolist() == [2, 7, 9]
    assert (ranking.n_inputs, ranking.n_groups) == (N_INPUTS, N_GROUPS)


def test_groups_of_one_change_nothing(split: Split, network: lc.Network) -> None:
    singles = [InputGroup(f"i{i}", (i,)) for i in range(N_INPUTS)]
    for strategy in ("one-shot", "elimination"):
        plain, grouped = (lc.rank(network, split, strategy=strategy, groups=g) for g in ((), singles))
        assert torch.equal(plain.scores, grouped.scores)
        assert torch.equal(plain.order, grouped.order)


def test_a_data_set_is_ranked_by_its_own_groups(split: Split, network: lc.Network) -> None:
    data = Dataset("own", ("a", "b"), split, split, split, groups=GROUPS)
    assert torch.equal(lc.rank(network, data).scores, lc.rank(network, split, groups=GROUPS).scores)


@pytest.mark.parametrize("criterion", ["variance", "weight", "extra-trees", "anova-f", "mutual-information", "random"])
def test_scores_of_controls_are_of_groups(criterion: str, split: Split, network: lc.Network) -> None:
    by_input = lc.rank(network, split, criterion=criterion).scores
    by_group = lc.rank(network, split, criterion=criterion, groups=GROUPS).scores
    largest = criterion in ("anova-f", "mutual-information")
    members = [by_input[grouping().of == g] for g in range(N_GROUPS)]
    assert torch.allclose(by_group, torch.stack([m.max() if largest else m.sum() for m in members]))


def test_a_criterion_of_your_own_says_how_groups_are_scored(split: Split) -> None:
    def place(model: object, split: Split, seed: int) -> Tensor:
        return torch.arange(N_INPUTS, dtype=torch.float64)

    summed = lc.rank(None, split, criterion=Criterion("a", "b", score=place, needs_network=False), groups=GROUPS)
    assert summed.scores.tolist() == [8, 18, 19, 10, 11]
    largest = Criterion("a", "b", score=place, needs_network=False, groups_by="largest")
    assert lc.rank(None, split, criterion=largest, groups=GROUPS).scores.tolist() == [4, 9, 8, 10, 11]
    with pytest.raises(InputError, match="way to score groups"):
        Criterion("a", "b", score=place, groups_by="mean")


@pytest.mark.parametrize("shape", [(N_INPUTS,), (1, 3, 4)])
def test_elimination_drops_groups_whole(shape: tuple[int, ...]) -> None:
    """A dense network is sliced, a convolutional one sees zeros; both find the group that decides."""
    plain = made(400)
    split = Split(plain.raw.view(-1, *shape), plain.labels)
    fresh = lc.build_model("softmax" if len(shape) == 1 else "cnn-32-64", shape=shape, n_classes=2)
    epochs = 40 if len(shape) == 1 else 4
    network = lc.fit(fresh, split, recipe=lc.Recipe(epochs=epochs, batch_size=50), device="cpu")
    steps: list[int] = []
    ranking = lc.eliminate(network, split, options=Elimination(updates=4), grouping=grouping(), on_step=steps.append)
    assert sorted(ranking.order.tolist()) == list(range(N_GROUPS))
    assert steps[0] < N_GROUPS
    assert steps == sorted(steps, reverse=True)
    assert ranking.mask(keep=1).indices.tolist() == [2, 7, 9]


def repeated(split: Split, times: int) -> tuple[Split, Grouping]:
    """Every input `times` times, the copies in one group: distances are just so many times as large."""
    rows = split.raw.repeat_interleave(times, 1)
    return Split(rows, split.labels), Grouping(torch.arange(N_INPUTS).repeat_interleave(times))


def test_exchange_and_refinement_of_copies_are_those_of_the_inputs(split: Split) -> None:
    """An oracle for sets of groups: with every input doubled, all squared distances double, and choices stay."""
    start = Ranking.from_scores("start", torch.arange(N_INPUTS, 0.0, -1), (N_INPUTS,))
    doubled, groups = repeated(split, 2)
    twice = Ranking.from_scores("start", start.scores, (2 * N_INPUTS,), grouping=groups)
    for search, options in ((exchange, Exchange(rounds=4)), (refine, Refinement(rounds=3))):
        single = search(start, split, 3, options=options)  # type: ignore[operator]
        both = search(twice, doubled, 3, options=options)  # type: ignore[operator]
        assert both.order.tolist() == single.order.tolist()
        assert both.order[:3].tolist() != start.order[:3].tolist(), "nothing was exchanged"
        assert both.mask(3).indices.tolist() == sorted(2 * i + c for i in single.order[:3].tolist() for c in (0, 1))


def test_the_strategy_exchange_takes_groups(split: Split, network: lc.Network) -> None:
    ranking = lc.rank(network, split, strategy="exchange", keep=2, groups=GROUPS)
    assert ranking.n_groups == N_GROUPS
    assert set(ranking.mask(2).indices.tolist()) >= {2, 7, 9}


def test_files_keep_groups(tmp_path: Path, split: Split, network: lc.Network) -> None:
    ranking = lc.rank(network, split, groups=GROUPS)
    ranking.save(tmp_path / "r.safetensors")
    back = Ranking.load(tmp_path / "r.safetensors")
    assert torch.equal(back.grouping.of, ranking.grouping.of)
    assert torch.equal(back.order, ranking.order)
    content = bytearray((tmp_path / "r.safetensors").read_bytes())
    for at in range(len(content) - N_INPUTS * 8, len(content), 7):
        broken = bytearray(content)
        broken[at] ^= 1
        (tmp_path / "b.safetensors").write_bytes(broken)
        with pytest.raises(StorageError, match="damaged"):
            Ranking.load(tmp_path / "b.safetensors")


def test_rankings_of_other_groups_are_not_compared(split: Split, network: lc.Network) -> None:
    plain, grouped = lc.rank(network, split), lc.rank(network, split, groups=GROUPS)
    with pytest.raises(InputError, match="groups"):
        compare(plain, grouped)
    with pytest.raises(InputError, match="groups"):
        average_rankings([plain, grouped])
    assert compare(grouped, grouped, [2]).overlap == {2: 1.0}
    averaged = average_rankings([grouped, grouped])
    assert torch.equal(averaged.grouping.of, grouped.grouping.of)


def test_settling_counts_groups(split: Split, network: lc.Network) -> None:
    table = settling(network, split, grouping=grouping(), keeps=[2], sizes=[100])
    assert table[table["measure"] == "overlap"]["keep"].tolist() == [2]
    with pytest.raises(InputError, match="between 1 and 5"):
        settling(network, split, grouping=grouping(), keeps=[6], sizes=[100])


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ((InputGroup("a", (3, 40)),), "has input 40 of 12"),
        ((InputGroup("a", (3,)), InputGroup("b", (3,))), "in the groups"),
        (Grouping.single(9), "of 9 inputs"),
    ],
)
def test_groups_that_do_not_fit(groups: object, says: str, split: Split, network: lc.Network) -> None:
    with pytest.raises(InputError, match=says):
        lc.rank(network, split, groups=groups)  # type: ignore[arg-type]
