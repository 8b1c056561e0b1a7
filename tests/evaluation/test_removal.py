"""The experiment of the paper: three images of each image, and what the network says of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lrp_core.data import Split
from lrp_core.errors import InputError
from lrp_core.evaluation import (
    FILLS,
    RANKINGS,
    SCOPES,
    VARIANTS,
    PixelStatistics,
    Removal,
    attribute_images,
    make_removed,
    mean_interval,
    remove_features,
    wilson_interval,
)
from lrp_core.models import build_model
from lrp_core.ranking import rank

from ..support import check_sentence, frozen, unchanged

SHAPE = (1, 6, 6)
N = 11
SETTINGS = [Removal(ranking, scope, fill) for ranking in RANKINGS for scope in SCOPES for fill in FILLS]


def some(n: int = N, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images with a black border, labels, and attributions with ties."""
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(n, *SHAPE, generator=random)
    images[:, :, 0] = 0
    images[:, :, :, 5] = 0
    labels = torch.randint(4, (n,), generator=random)
    return images, labels, torch.randint(-3, 4, images.shape, generator=random) * images.ceil()


def statistics() -> PixelStatistics:
    pixels = (some(50, seed=9)[0] * 255).to(torch.uint8)
    return PixelStatistics.of(Split(pixels, torch.zeros(50, dtype=torch.int64), torch.arange(50)))


def network(name: str = "cnn-32-64") -> nn.Module:
    return build_model(name, shape=SHAPE, n_classes=4, seed=1).eval()


def test_a_case_by_hand():
    """Two classes, logits the sums of the first two and the last two of four pixels; a quarter is one pixel."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 1.0]]))
    image = torch.tensor([[[[1.0, 0.5], [1.0, 0.25]]]])
    label = torch.tensor([0])
    relevance = attribute_images(model, image, "lrp-0")
    assert relevance.flatten().tolist() == [3.0, 0.5, 0.0, 0.0]
    result = remove_features(model, image, label, relevance, Removal(ranking="signed"), share=0.25)
    original, unimportant = 1 / (1 + math.exp(2.25 - 3.5)), 1 / (1 + math.exp(2.25 - 0.5))
    assert result.predictions[:, 0].tolist() == [0, 0, 1]
    assert result.correct[:, 0].tolist() == [True, True, False]
    assert result.flipped[:, 0].tolist() == [False, False, True]
    assert float(result.original_confidence[0, 0]) == pytest.approx(original)
    assert float(result.original_confidence[2, 0]) == pytest.approx(unimportant)
    assert float(result.confidence[2, 0]) == pytest.approx(1 - unimportant)
    assert result.n_removed[:, 0].tolist() == [0, 1, 1]
    assert result.tied[:, 0].tolist() == [0, 1, 0], "two pixels have no relevance: the seed said which of them goes"
    made = make_removed(image, relevance, Removal(), share=0.25)
    assert made.images[2].flatten().tolist() == [0, 0.5, 1, 0.25]
    assert int(made.removed[1].flatten()[[2, 3]].sum()) == 1


def test_fifteen_per_cent_of_mnist(mnist):
    part = mnist.test.take(torch.arange(20))
    model = build_model("mlp-300-100", mnist, seed=0)
    relevance = attribute_images(model, part.images, "lrp-0")
    result = remove_features(model, part.images, part.labels, relevance, Removal())
    assert result.n_removed.tolist() == [[0] * 20, [118] * 20, [118] * 20]
    assert bool((result.tied[1] > 0).all()), "most of a digit's image is black and has no relevance"
    lit = remove_features(model, part.images, part.labels, relevance, Removal(scope="lit"))
    assert torch.equal(lit.candidates, (part.images > 0).flatten(1).sum(1))
    assert lit.n_removed[1].tolist() == [round(0.15 * int(n)) for n in lit.candidates]


@pytest.mark.parametrize("removal", SETTINGS, ids=lambda r: f"{r.ranking}-{r.scope}-{r.fill}")
def test_nothing_but_the_share_changes(removal):
    images, _, relevance = some()
    before = images.clone(), relevance.clone()
    made = make_removed(images, relevance, removal, 0.3, statistics=statistics())
    assert torch.equal(images, before[0])
    assert torch.equal(relevance, before[1])
    assert torch.equal(made.images[0], images)
    assert not made.removed[0].any()
    kept = ~made.removed
    assert torch.equal(made.images[kept], images.expand_as(made.images)[kept])
    counts = made.removed.flatten(2).sum(2)
    assert torch.equal(counts[1], counts[2])
    assert counts[1].tolist() == [round(0.3 * int(n)) for n in made.candidates]
    if removal.scope == "lit":
        assert not bool((made.removed & (images == 0)).any())
    if removal.fill == "zero":
        assert torch.equal(made.images[1:], images * kept[1:])


@pytest.mark.parametrize("fill", FILLS)
def test_blocks_do_not_matter(fill, monkeypatch):
    images, labels, relevance = some()
    removal = Removal(scope="lit", fill=fill)
    whole = remove_features(network(), images, labels, relevance, removal, statistics=statistics())
    monkeypatch.setattr("lrp_core.evaluation.removal.BLOCK", 4)
    done: list[int] = []
    parts = remove_features(
        network(), images, labels, relevance, removal, statistics=statistics(), on_batch=done.append
    )
    assert done == [4, 8, 11]
    for name in ("predictions", "n_removed", "tied", "candidates"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))
    for name in ("confidence", "original_confidence"):
        torch.testing.assert_close(getattr(whole, name), getattr(parts, name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fill", ["zero", "mean", "blur"])
@pytest.mark.parametrize("ranking", RANKINGS)
def test_an_image_alone_and_among_others(fill, ranking):
    images, _, relevance = some()
    removal = Removal(ranking, "active", fill, seed=3)
    together = make_removed(images, relevance, removal, statistics=statistics())
    for i in range(N):
        alone = make_removed(images[i : i + 1], relevance[i : i + 1], removal, statistics=statistics())
        assert torch.equal(alone.removed[:, 0], together.removed[:, i])
        assert torch.equal(alone.images[:, 0], together.images[:, i])


@given(share=st.floats(0.01, 0.99), other=st.floats(0.01, 0.99), seed=st.integers(0, 3))
def test_a_larger_share_removes_what_a_smaller_one_did(share, other, seed):
    images, _, relevance = some(3)
    removal = Removal(scope="lit", fill="noise", seed=seed)
    small, large = (make_removed(images, relevance, removal, s) for s in sorted((share, other)))
    assert not bool((small.removed & ~large.removed).any())
    assert torch.equal(large.images[small.removed], small.images[small.removed]), "with the same noise"


@pytest.mark.parametrize("fill", ["noise", "road"])
def test_the_seed_decides_and_the_global_one_is_left_alone(fill):
    images, labels, relevance = some()
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    first, again, other = (
        remove_features(network(), images, labels, relevance, Removal(fill=fill, seed=seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.confidence, again.confidence)
    assert not torch.equal(first.confidence, other.confidence)
    assert torch.equal(first.confidence[0], other.confidence[0])


def test_the_model_is_left_as_it_was():
    model = build_model("cnn-32-64", shape=SHAPE, n_classes=4).train()
    before = frozen(model)
    remove_features(model, *some(), Removal())
    assert unchanged(model, before)
    assert model.training


def test_the_result_is_what_the_network_says_of_the_images():
    images, labels, relevance = some()
    removal = Removal("signed", "lit", "mean")
    model = network("softmax")
    with torch.no_grad():
        model.logits.weight.mul_(30)
    result = remove_features(model, images, labels, relevance, removal, 0.4, statistics=statistics())
    made = make_removed(images, relevance, removal, 0.4, statistics=statistics())
    assert bool(result.flipped[1:].any(1).all()), "both images change some predictions"
    with torch.no_grad():
        first = model(images).argmax(1)
        for i in range(len(VARIANTS)):
            p = model(made.images[i]).softmax(1).double()
            assert torch.equal(result.predictions[i], p.argmax(1))
            torch.testing.assert_close(result.confidence[i], p.amax(1), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(
                result.original_confidence[i], p.gather(1, first[:, None])[:, 0], rtol=1e-5, atol=1e-6
            )
    assert torch.equal(result.tied, made.tied)


def test_one_mask_for_the_whole_data_set(toy):
    images = toy.test.images
    ranking = rank(None, toy.train, criterion="variance")
    made = make_removed(images, attribute_images(network(), images, ranking), Removal())
    keep = ranking.mask(share=0.15).keep
    assert torch.equal(made.removed[1], (~keep).expand_as(images))
    assert torch.equal(made.removed[2], made.removed[2][:1].expand_as(images))


def test_the_table_is_means_and_intervals():
    images, labels, relevance = some(40)
    result = remove_features(network(), images, labels, relevance, Removal(scope="lit"))
    names = ["zero", "one", "two", "three", "no images"]
    table = result.table(names)
    assert list(table["class"].unique()) == ["all", *names[:4]]
    assert list(table["image"]) == list(VARIANTS) * 5
    for (name, variant), row in table.set_index(["class", "image"]).iterrows():
        i = VARIANTS.index(variant)
        member = torch.ones(40, dtype=torch.bool) if name == "all" else labels == names.index(name)
        n = int(member.sum())
        assert row["images"] == n
        assert row["tied"] == float(result.tied[i, member].double().mean())
        for column, values in (
            ("confidence", result.confidence[i]),
            ("original_confidence", result.original_confidence[i]),
            ("change", result.original_confidence[i] - result.original_confidence[0]),
        ):
            expected = mean_interval(values[member].numpy())
            assert row[[column, f"{column}_low", f"{column}_high"]].tolist() == [
                expected.estimate,
                expected.low,
                expected.high,
            ]
        for column, hits in (("accuracy", result.correct[i]), ("flips", result.flipped[i])):
            expected = wilson_interval(int(hits[member].sum()), n)
            assert (row[column], row[f"{column}_low"]) == (expected.estimate, expected.low)
    assert (table.loc[table["image"] == "original", ["flips", "change", "removed"]] == 0).all(axis=None)


def test_one_row_for_every_image():
    images, labels, relevance = some()
    result = remove_features(network(), images, labels, relevance, Removal(scope="lit"))
    rows = result.per_image()
    assert len(rows) == 3 * N
    second = rows[rows["image"] == "important-feature"]
    assert second["index"].tolist() == list(range(N))
    assert second["prediction"].tolist() == result.predictions[1].tolist()
    assert second["correct"].tolist() == result.correct[1].tolist()
    np.testing.assert_array_equal(second["original_confidence"], result.original_confidence[1])


@pytest.mark.parametrize(
    ("kept", "lost", "words"),
    [
        (0.9, 0.1, "The most relevant inputs matter more to the network than the least relevant ones: +80.0 points"),
        (0.1, 0.9, "The least relevant inputs matter more to the network than the most relevant ones: -80.0 points"),
        (0.5, 0.5, "can be told apart from chance: +0.0 points"),
    ],
)
def test_the_finding_in_words(kept, lost, words):
    images, labels, relevance = some(40)
    result = remove_features(network(), images, labels, relevance, Removal(scope="lit"), 0.25)
    wiggle = 0.01 * torch.tensor([1.0, -1.0] * 20).double()
    own = torch.stack([torch.full((40,), p).double() for p in (0.95, kept, lost)])
    own[1] += wiggle
    result = replace(result, original_confidence=own)
    said = result.finding()
    assert words in said
    assert "least relevant 25% of the lit inputs the network is right on" in said
    assert "(95.0%)" in said
    assert f"right on {float(result.correct[2].double().mean()):.1%}" in said
    assert "\n" not in said


def test_one_image_in_words():
    images, labels, relevance = some(1)
    result = remove_features(network(), images, labels, relevance, Removal(scope="lit"), 0.25)
    said = result.describe(0, ["zero", "one", "two", "three"])
    for i in range(len(VARIANTS)):
        name = ["zero", "one", "two", "three"][int(result.predictions[i, 0])]
        verdict = "right" if bool(result.correct[i, 0]) else "wrong"
        assert f"{name} at {float(result.confidence[i, 0]):.1%} confidence ({verdict})" in said
    assert f"the {int(result.n_removed[1, 0])} least relevant inputs" in said
    assert f"says {int(result.predictions[0, 0])} at" in result.describe(0)
    unknown = replace(result, labels=torch.tensor([-1])).describe(0)
    assert "right" not in unknown
    assert "wrong" not in unknown
    assert "nan" not in result.finding()
    assert "For this image the difference is" in result.finding()


@pytest.mark.parametrize("fill", ["noise", "road"])
def test_random_relevance_does_not_know_the_noise(fill):
    """Both are drawn under one seed; what is removed at random must not be what becomes bright."""
    images = torch.zeros(400, *SHAPE)
    made = make_removed(images, attribute_images(network(), images, "random"), Removal(fill=fill), 0.5)
    most, least = made.images[2][made.removed[2]], made.images[1][made.removed[1]]
    spread = float(torch.cat([most, least]).std())
    assert float(most.mean() - least.mean()) == pytest.approx(0, abs=5 * spread * (2 / len(most)) ** 0.5)


NAN = torch.full((N, *SHAPE), torch.nan)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"share": 0.0}, "above 0 and below 1, not 0.0"),
        ({"share": 1.0}, "above 0 and below 1, not 1.0"),
        ({"share": -0.1}, "above 0 and below 1, not -0.1"),
        ({"share": math.nan}, "above 0 and below 1, not nan"),
        ({"images": torch.zeros(N, *SHAPE), "removal": Removal(scope="lit")}, "image 0 has no lit pixel"),
        ({"images": NAN}, r"finite values in \[0, 1\]"),
        ({"images": torch.full((N, *SHAPE), 200.0)}, "divide bytes by 255"),
        ({"images": torch.zeros(N, *SHAPE, dtype=torch.uint8)}, r"finite values in \[0, 1\]"),
        ({"images": torch.zeros(0, *SHAPE)}, "no images"),
        ({"attributions": NAN}, "attributions hold NaN or infinity"),
        ({"attributions": torch.zeros(N, 36)}, r"shape \(11, 36\), the images of \(11, 1, 6, 6\)"),
        ({"labels": torch.zeros(N)}, "expected 11 labels, .*not torch.float32"),
        (
            {"images": torch.zeros(N, 1, 5, 6), "attributions": torch.zeros(N, 1, 5, 6)},
            r"network takes inputs of shape",
        ),
        (
            {"labels": torch.zeros(3, dtype=torch.int64)},
            r"expected 11 labels, one whole number for each image, not torch.int64 of shape \(3,\)",
        ),
        ({"removal": Removal(fill="mean")}, "give their pixel statistics"),
        ({"removal": Removal(scope="active")}, "give pixel statistics"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_removed(change, words):
    images, labels, relevance = some()
    values = {"images": images, "labels": labels, "attributions": relevance, "removal": Removal()} | change
    with pytest.raises(InputError, match=words) as refused:
        remove_features(network(), **values)
    check_sentence(refused.value)


@pytest.mark.parametrize("name", ["ranking", "scope", "fill"])
def test_names_that_are_unknown(name):
    with pytest.raises(InputError, match=f"unknown {name} 'zebra': .*choose one of"):
        Removal(**{name: "zebra"})
