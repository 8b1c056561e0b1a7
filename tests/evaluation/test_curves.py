"""Perturbation curves against Quantus, against the plain way of computing them, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quantus import PixelFlipping
from torch import nn

from lrp_core.data import Split
from lrp_core.errors import InputError
from lrp_core.evaluation import (
    FILLS,
    ORDERS,
    SCOPES,
    Curve,
    Curves,
    PixelStatistics,
    Removal,
    attribute_images,
    find_candidates,
    make_fill,
    mean_interval,
    perturbation_curves,
    removal_order,
    wilson_interval,
)
from lrp_core.evaluation.stepwise import logits_by_step
from lrp_core.models import Network, build_model

from ..support import check_sentence, frozen, unchanged

SHAPE = (1, 6, 6)
N = 9
NAMES = ["mlp-300-100", "lenet-5", "cnn-32-64"]


def some(n: int = N, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(n, *SHAPE, generator=random)
    images[torch.rand(images.shape, generator=random) < 0.5] = 0
    return images, torch.randint(4, (n,), generator=random)


def statistics() -> PixelStatistics:
    pixels = (some(50, seed=9)[0] * 255).to(torch.uint8)
    return PixelStatistics.of(Split(pixels, torch.zeros(50, dtype=torch.int64), torch.arange(50)))


def network(name: str = "mlp-300-100") -> Network:
    return build_model(name, shape=SHAPE, n_classes=4, seed=1).eval()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pixels", [1, 6])
def test_pixel_flipping_is_quantus(name, pixels):
    model, (images, labels) = network(name), some()
    relevance = attribute_images(model, images, "lrp-0", target=labels)
    ours = perturbation_curves(model, images, labels, {"lrp-0": relevance}, Removal(), 36 // pixels, target=labels)
    metric = PixelFlipping(features_in_step=pixels, normalise=False, perturb_baseline="black", disable_warnings=True)
    for order, sign in (("MoRF", 1), ("LeRF", -1)):
        theirs = metric(
            model=model,
            x_batch=images.numpy(),
            y_batch=labels.numpy(),
            a_batch=sign * relevance.numpy(),
            channel_first=True,
            device="cpu",
        )
        found = ours.find("lrp-0", order).probability[:, 1:]
        assert float(found.std(0).max()) > 1e-3, "a curve that says nothing compares with anything"
        np.testing.assert_allclose(found, theirs, atol=1e-5)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", ["mlp-300-100", "lenet-5"])
def test_steps_are_what_the_network_says_of_each_image(name, scope, fill):
    """Every image and step made and classified by itself."""
    model, (images, labels) = network(name), some()
    relevance = attribute_images(model, images, "epsilon-plus")
    removal, n_steps, found = Removal("magnitude", scope, fill, seed=2), 5, statistics()
    curves = perturbation_curves(
        model, images, labels, {"own": relevance}, removal, n_steps, statistics=found, batch_size=4
    )
    filled = make_fill(fill, images, mean=found.mean, seed=2)
    order = removal_order(relevance, ranking="magnitude", candidates=find_candidates(images, scope, found), seed=2)
    with torch.no_grad():
        first = model(images).argmax(1)
    for name_of_order in ORDERS:
        curve = curves.find("own", name_of_order)
        for step in range(n_steps + 1):
            removed = torch.zeros_like(images, dtype=torch.bool)
            if step:
                removed = order.removed(step / n_steps, least=name_of_order == "LeRF") if step < n_steps else None
                removed = (order.place < order.candidates[:, None] if removed is None else removed).view_as(images)
            with torch.no_grad():
                p = model(filled.apply(images, removed)).softmax(1)
            torch.testing.assert_close(
                curve.probability[:, step].float(), p.gather(1, first[:, None])[:, 0], rtol=1e-4, atol=1e-6
            )
            assert torch.equal(curve.correct[:, step], p.argmax(1) == labels)


class Wrapped(nn.Module):
    """A network that does not show its first layer, so that every image is made and computed."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)


@pytest.mark.parametrize("fill", ["zero", "mean", "noise", "blur"])
@pytest.mark.parametrize(("n", "at_once"), [(N, 20), (1000, 2**16)], ids=["several parts", "very many sums"])
def test_carried_sums_are_those_of_whole_images(fill, n, at_once, monkeypatch):
    monkeypatch.setattr("lrp_core.evaluation.stepwise._POINTS", at_once)
    model, images = network("softmax").double(), some(n)[0].double()
    steps = removal_order(torch.rand(images.shape, generator=torch.Generator().manual_seed(1))).steps(36)
    made = make_fill(fill, images, mean=statistics().mean, seed=1)
    logits, which = logits_by_step(model, images, steps, 36, made)
    whole, which_whole = logits_by_step(Wrapped(model), images, steps, 36, made)
    assert torch.equal(which, which_whole)
    torch.testing.assert_close(logits, whole, rtol=1e-6, atol=1e-6)


def test_a_step_that_changes_nothing_is_not_computed():
    class Counting(nn.Module):
        rows = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.rows += len(x)
            return x.flatten(1)[:, :3]

    images = torch.zeros(4, *SHAPE)
    images[:, 0, 2, 3] = 1
    model = Counting()
    steps = removal_order(torch.rand(images.shape)).steps(12)
    logits, which = logits_by_step(model, images, steps, 12, make_fill("zero", images))
    assert model.rows == len(logits) == 8, "the image itself, and the one step that takes its only lit pixel"
    lit_step = steps.view_as(images)[:, 0, 2, 3]
    for image, step in enumerate(lit_step.tolist()):
        assert which[image].tolist() == [2 * image] * step + [2 * image + 1] * (13 - step)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("fill", ["zero", "mean", "noise", "blur"])
@pytest.mark.parametrize("name", NAMES)
def test_both_orders_start_and_end_alike(name, fill, scope):
    model, (images, labels) = network(name), some()
    relevance = {c: attribute_images(model, images, c) for c in ("random", "gradient")}
    removal = Removal(scope=scope, fill=fill, seed=5)
    curves = perturbation_curves(model, images, labels, relevance, removal, 6, statistics=statistics())
    ends = [curves.find(c, o).probability[:, [0, -1]] for c in relevance for o in ORDERS]
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(ends[0][:, 0], ends[0][:, 1], atol=1e-4)


def test_areas_by_hand():
    def curve(order: str, *rows: list[float]) -> Curve:
        p = torch.tensor(rows, dtype=torch.float64)
        return Curve("own", order, p, p > 0.5)

    most, least = curve("MoRF", [1.0, 0.4, 0.1], [0.8, 0.2, 0.2]), curve("LeRF", [1.0, 0.8, 0.1], [0.8, 0.8, 0.2])
    curves = Curves(Removal(), (most, least))
    drops = [(0 + 0.6 + 0.9) / 3, (0 + 0.6 + 0.6) / 3]
    assert most.drops.tolist() == pytest.approx(drops)
    expected = mean_interval(drops)
    assert (most.aopc.estimate, most.aopc.low) == pytest.approx((expected.estimate, expected.low))
    assert curves.area_between("own").estimate == pytest.approx((0.5 * 0.4 + 0.5 * 0.6) / 2)
    row = curves.summary().iloc[0]
    assert row["aopc_lerf"] == pytest.approx(((0.2 + 0.9) / 3 + 0.6 / 3) / 2)
    assert (row["criterion"], row["area_between"]) == ("own", pytest.approx(0.25))


def test_the_table_is_tidy():
    model, (images, labels) = network(), some()
    relevance = {c: attribute_images(model, images, c) for c in ("lrp-0", "random")}
    done: list[int] = []
    curves = perturbation_curves(model, images, labels, relevance, Removal(), 4, on_batch=done.append)
    assert done == [N, 2 * N]
    table = curves.table()
    assert len(table) == 2 * 2 * 5
    assert curves.criteria == ("lrp-0", "random")
    assert table["share"].unique().tolist() == [0, 0.25, 0.5, 0.75, 1]
    row = table[(table["criterion"] == "random") & (table["order"] == "LeRF") & (table["step"] == 3)].iloc[0]
    curve = curves.find("random", "LeRF")
    mean = mean_interval(curve.probability[:, 3].numpy())
    share = wilson_interval(int(curve.correct[:, 3].sum()), N)
    assert row[["probability", "probability_low", "probability_high"]].tolist() == [mean.estimate, mean.low, mean.high]
    assert row[["accuracy", "accuracy_low", "accuracy_high"]].tolist() == [share.estimate, share.low, share.high]
    assert curves.summary()["area_between"].is_monotonic_decreasing


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fill", FILLS)
def test_neither_blocks_nor_batches_matter(name, fill, monkeypatch):
    model, (images, labels) = network(name), some()
    relevance = {"own": attribute_images(model, images, "gradient-x-input")}
    removal = Removal(fill=fill)
    whole = perturbation_curves(model, images, labels, relevance, removal, 5, statistics=statistics())
    monkeypatch.setattr("lrp_core.evaluation.removal.BLOCK", 2)
    parts = perturbation_curves(model, images, labels, relevance, removal, 5, statistics=statistics(), batch_size=3)
    for one, other in zip(whole.curves, parts.curves, strict=True):
        torch.testing.assert_close(one.probability, other.probability, rtol=1e-4, atol=1e-6)
        assert torch.equal(one.correct, other.correct)


def test_changes_nothing():
    model = build_model("cnn-32-64", shape=SHAPE, n_classes=4).train()
    images, labels = some()
    before, kept = frozen(model), images.clone()
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    curves = perturbation_curves(
        model, images, labels, {"own": torch.rand(images.shape, generator=torch.Generator())}, Removal(fill="noise")
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(images, kept)
    assert unchanged(model, before)
    assert model.training
    assert not curves.curves[0].probability.requires_grad


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_steps": 0}, "at least 1 step, not 0"),
        ({"attributions": {}}, "at least one criterion"),
        ({"attributions": {"own": torch.zeros(3, *SHAPE)}}, r"shape \(3, 1, 6, 6\), the images of"),
        ({"attributions": {"own": torch.full((N, *SHAPE), torch.nan)}}, "NaN or infinity"),
        ({"labels": torch.zeros(2, dtype=torch.int64)}, "expected 9 labels"),
        ({"target": torch.zeros(2, dtype=torch.int64)}, "expected 9 classes to follow"),
    ],
)
def test_curves_that_cannot_be(change, words):
    images, labels = some()
    values = {"images": images, "labels": labels, "attributions": {"own": images}, "removal": Removal()} | change
    with pytest.raises(InputError, match=words) as refused:
        perturbation_curves(network(), **values)
    check_sentence(refused.value)
