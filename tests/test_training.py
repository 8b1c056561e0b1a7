from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrp_core.data import Split
from lrp_core.errors import InputError, LrpError
from lrp_core.models import build_model
from lrp_core.pruning import PixelMask, build_pruned
from lrp_core.training import Recipe, evaluate, fit, pick_device, predict_logits, recipe_for, selects_pixels

from .support import check_sentence, frozen, is_one_sentence, toy_split, unchanged

CPU = {"device": "cpu"}
SHORT = Recipe(epochs=4, batch_size=32, lr=1e-2)


@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100", "lenet-5", "cnn-32-64"])
def test_learns_a_separable_problem(toy, architecture):
    trained = fit(build_model(architecture, toy), toy, recipe=SHORT, **CPU)
    assert evaluate(build_model(architecture, toy), toy.test, **CPU).accuracy < 0.8
    assert evaluate(trained, toy.test, **CPU).accuracy > 0.95


@pytest.mark.parametrize("architecture", ["softmax", "mlp-300-100", "lenet-5"])
def test_products_may_be_less_precise(toy, architecture):
    """Other weights than in float32, still of float32, as good, and the same ones each time."""
    model = build_model(architecture, toy)
    exact, fast, again = (
        fit(model, toy, recipe=replace(SHORT, precision=name), **CPU) for name in ("float32", "bfloat16", "bfloat16")
    )
    assert unchanged(fast, frozen(again))
    assert not unchanged(fast, frozen(exact))
    assert {p.dtype for p in fast.parameters()} == {torch.float32}
    assert evaluate(fast, toy.test, **CPU).accuracy > 0.95
    assert evaluate(fast, toy.test, **CPU).loss == pytest.approx(evaluate(exact, toy.test, **CPU).loss, abs=0.1)


def test_a_pruned_network_learns_through_encode(toy):
    mask = PixelMask.from_indices(range(0, 36, 3), toy.shape)
    small = build_pruned(build_model("mlp-300-100", toy).spec, mask)
    trained = fit(small, toy, recipe=SHORT, encode=small.encode, **CPU)
    assert evaluate(trained, toy.test, encode=small.encode, **CPU).accuracy > 0.95


@pytest.mark.parametrize("architecture", ["mlp-300-100", "lenet-5"])
def test_picking_bytes_or_floats_gives_the_same_network(toy, architecture):
    """An encoding that only selects pixels is given bytes, and what it gives is read as pixels in [0, 1]."""
    mask = PixelMask.from_indices(range(1, 36, 2), toy.shape)
    small = build_pruned(build_model(architecture, toy).spec, mask)
    given: list[torch.dtype] = []

    def unmarked(images: torch.Tensor) -> torch.Tensor:
        given.append(images.dtype)
        return small.encode(images)

    @selects_pixels
    def marked(images: torch.Tensor) -> torch.Tensor:
        return unmarked(images)

    first, second = (fit(small, toy, recipe=SHORT, encode=encode, **CPU) for encode in (marked, unmarked))
    assert unchanged(first, frozen(second))
    losses = {evaluate(first, toy.test, encode=encode, **CPU).loss for encode in (marked, unmarked, small.encode)}
    assert len(losses) == 1
    assert given == [torch.uint8, torch.float32] * 2


def test_training_makes_no_float_copy_of_the_images(toy):
    """Of 50,000 images that would be 157 MB in each process of a study."""
    split = toy.train.take(torch.arange(len(toy.train)))
    small = build_pruned(build_model("mlp-300-100", toy).spec, PixelMask.from_indices([2, 3, 7], toy.shape))
    for network, encode in ((build_model("lenet-5", toy), None), (small, small.encode)):
        evaluate(fit(network, split, recipe=SHORT, encode=encode, **CPU), split, encode=encode, **CPU)
    assert "images" not in vars(split)


@pytest.mark.parametrize("architecture", ["mlp-300-100", "cnn-32-64"])
def test_fit_changes_neither_the_model_nor_any_global_state(toy, architecture, unchecked):
    model = build_model(architecture, toy).eval()
    before = frozen(model)
    torch.manual_seed(9)
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    trained = fit(model, toy, recipe=SHORT, **CPU)
    assert unchanged(model, before)
    assert not unchanged(trained, before)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]


def test_what_is_fitted_comes_back_ready_to_use(toy):
    trained = fit(build_model("cnn-32-64", toy), toy, recipe=Recipe(epochs=1), **CPU)
    assert not any(layer.training for layer in trained.modules())
    assert {p.device.type for p in trained.parameters()} == {"cpu"}
    assert all(p.is_contiguous() for p in trained.parameters())
    assert trained.spec == build_model("cnn-32-64", toy).spec


@pytest.mark.parametrize("architecture", ["mlp-300-100", "cnn-32-64"])
def test_the_seed_decides(toy, architecture):
    model = build_model(architecture, toy)
    first = fit(model, toy, recipe=SHORT, seed=3, **CPU)
    torch.rand(5)
    assert unchanged(fit(model, toy, recipe=SHORT, seed=3, **CPU), frozen(first))
    assert not unchanged(fit(model, toy, recipe=SHORT, seed=4, **CPU), frozen(first))


def test_no_epochs_give_the_same_weights(toy):
    model = build_model("cnn-32-64", toy)
    trained = fit(model, toy, recipe=Recipe(epochs=0), **CPU)
    assert unchanged(trained, frozen(model))
    assert trained is not model
    assert trained.conv1.weight.data_ptr() != model.conv1.weight.data_ptr()
    assert not trained.training
    assert model.training


def test_frozen_parameters_stay(toy):
    model = build_model("mlp-300-100", toy)
    model.fc1.requires_grad_(False)
    trained = fit(model, toy, recipe=SHORT, **CPU)
    assert torch.equal(trained.fc1.weight, model.fc1.weight)
    assert not torch.equal(trained.fc2.weight, model.fc2.weight)
    assert unchanged(fit(model.requires_grad_(False), toy, recipe=SHORT, **CPU), frozen(model))


def test_each_epoch_is_told_with_its_loss(toy):
    told: list[tuple[int, float]] = []
    fit(build_model("softmax", toy), toy, recipe=SHORT, on_epoch=lambda *seen: told.append(seen), **CPU)
    assert [epoch for epoch, _ in told] == [1, 2, 3, 4]
    assert told[-1][1] < told[0][1]


def test_one_step_of_the_recipe_by_hand(toy):
    """The first step, with the whole split as one batch: Adam's is lr * sign of the gradient, plus weight decay."""
    model = build_model("softmax", toy)
    recipe = Recipe(epochs=1, batch_size=240, lr=0.01, weight_decay=0.1)
    rates: list[float] = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, closure: None = None) -> None:
        rates.append(self.param_groups[0]["lr"])
        original(self, closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        trained = fit(model, toy, recipe=recipe, **CPU)
    (rate,) = rates
    F.cross_entropy(model(toy.train.images), toy.train.labels).backward()
    weight = model.logits.weight
    expected = weight * (1 - rate * 0.1) - rate * weight.grad / (weight.grad.abs() + 1e-8)
    assert torch.allclose(trained.logits.weight, expected, atol=1e-6)


@pytest.mark.parametrize("epochs", range(1, 8))
@pytest.mark.parametrize("n_batches", [1, 5])
def test_any_number_of_steps_can_be_trained(toy, epochs, n_batches):
    fit(build_model("softmax", toy), toy, recipe=Recipe(epochs=epochs, batch_size=240 // n_batches), **CPU)


@pytest.mark.parametrize("n", [9, 17])
def test_a_last_batch_of_one_image_can_be_trained(n):
    model = build_model("cnn-32-64", shape=(1, 1, 1), n_classes=3)
    trained = fit(model, toy_split(n, size=3).take(torch.arange(n)), recipe=Recipe(epochs=1, batch_size=8), **CPU,
                  encode=lambda images: images[:, :, :1, :1])  # fmt: skip
    assert all(bool(torch.isfinite(t).all()) for t in trained.state_dict().values())


def test_batch_norm_on_a_single_image_is_refused():
    model = build_model("cnn-32-64", shape=(1, 3, 3), n_classes=3)
    with pytest.raises(InputError, match="at least 2"):
        fit(model, toy_split(1, size=3), recipe=Recipe(epochs=1), **CPU)


@pytest.mark.parametrize("recipe", [Recipe(lr=1e30), Recipe(lr=1e38, epochs=3, batch_size=32)], ids=["1e30", "1e38"])
def test_divergence_is_a_sentence(toy, recipe):
    with pytest.raises(LrpError, match=r"^training diverged in epoch \d: lower the learning rate \(1e\+3[08]\)$"):
        fit(build_model("mlp-300-100", toy), toy, recipe=recipe, **CPU)


def test_a_network_that_diverged_in_its_last_step_is_not_given_away(toy):
    try:
        trained = fit(build_model("mlp-300-100", toy), toy, recipe=Recipe(epochs=1, batch_size=240, lr=1e38), **CPU)
    except LrpError as error:
        check_sentence(error)
    else:
        assert bool(torch.isfinite(predict_logits(trained, toy.train.images, **CPU)).all())


def test_no_images_at_all_are_refused(toy):
    nothing = toy.train.take(torch.arange(0))
    model = build_model("softmax", toy)
    for call in (lambda: fit(model, nothing, **CPU), lambda: evaluate(model, nothing, **CPU)):
        with pytest.raises(LrpError) as caught:
            call()
        assert is_one_sentence(caught.value)


BAD_RECIPES = [
    {"epochs": -1},
    {"batch_size": 0},
    {"lr": 0.0},
    {"lr": -1.0},
    {"lr": math.nan},
    {"lr": math.inf},
    {"weight_decay": -0.1},
    {"weight_decay": math.nan},
]


@pytest.mark.parametrize("change", BAD_RECIPES, ids=str)
def test_recipes_that_cannot_be_followed(change, unchecked):
    with pytest.raises(InputError, match=r"^cannot train with Recipe\(") as caught:
        Recipe(**change)
    assert is_one_sentence(caught.value)


def test_recipe_for_takes_what_is_given():
    assert recipe_for("no such architecture") == Recipe()
    assert recipe_for("softmax", epochs=3, lr=None).epochs == 3
    assert recipe_for("softmax", epochs=3, lr=None).lr == recipe_for("softmax").lr
    assert recipe_for("softmax", epochs=0).epochs == 0


@pytest.mark.parametrize("name", ["nonsense", "", "cuda:99", "meta", "cpu cpu", "xla"])
def test_devices_that_are_not_there(toy, name):
    for call in (
        lambda: pick_device(name),
        lambda: fit(build_model("softmax", toy), toy, recipe=Recipe(epochs=1), device=name),
        lambda: evaluate(build_model("softmax", toy), toy.test, device=name),
    ):
        with pytest.raises(InputError, match=f"^device '{name}' is not available here"):
            call()


def test_devices_that_are():
    assert pick_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert pick_device() == torch.device("cpu")


# Evaluation


def logits_as_pixels(values: list[list[int]], labels: list[int]) -> Split:
    """Images whose pixels are what `nn.Flatten` gives as logits, in 255ths."""
    pixels = torch.tensor(values, dtype=torch.uint8)[:, None, None, :]
    return Split(pixels, torch.tensor(labels), torch.arange(len(labels)))


def test_evaluate_against_numbers_by_hand():
    values, labels = [[255, 0, 0], [0, 51, 0], [102, 0, 153], [0, 0, 255]], [0, 0, 2, 0]
    found = evaluate(nn.Flatten(), logits_as_pixels(values, labels), **CPU)
    p = [[math.exp(v / 255) for v in row] for row in values]
    p = [[v / sum(row) for v in row] for row in p]
    assert found.n == 4
    assert found.correct.tolist() == [True, False, True, False]
    assert found.accuracy == 0.5
    assert found.loss == pytest.approx(-sum(math.log(row[y]) for row, y in zip(p, labels, strict=True)) / 4, rel=1e-6)
    assert found.confidence == pytest.approx(sum(max(row) for row in p) / 4, rel=1e-6)
    assert found.per_class[0] == pytest.approx(1 / 3)
    assert math.isnan(found.per_class[1]), "the split has no image of class 1"
    assert found.per_class[2] == 1


def test_evaluate_against_sklearn(toy):
    from sklearn.metrics import accuracy_score, log_loss, recall_score

    model = build_model("mlp-300-100", toy)
    found = evaluate(model, toy.test, batch_size=7, **CPU)
    with torch.no_grad():
        p = model.double()(toy.test.images.double()).softmax(1).numpy()
    labels = toy.test.labels.numpy()
    assert found.accuracy == pytest.approx(accuracy_score(labels, p.argmax(1)))
    assert found.loss == pytest.approx(log_loss(labels, p), rel=1e-5)
    assert found.per_class == pytest.approx(recall_score(labels, p.argmax(1), average=None))


@pytest.mark.parametrize("architecture", ["mlp-300-100", "cnn-32-64"])
def test_evaluating_changes_nothing(toy, architecture):
    model = build_model(architecture, toy).train()
    before = frozen(model)
    first = evaluate(model, toy.test, **CPU)
    assert unchanged(model, before)
    assert model.training
    assert first.loss == evaluate(model, toy.test, **CPU).loss, "dropout was left on"


def test_logits_do_not_depend_on_batches_and_can_be_differentiated(toy):
    model = build_model("lenet-5", toy)
    whole = predict_logits(model, toy.test.images, **CPU)
    assert torch.equal(whole, predict_logits(model, toy.test.pixels, **CPU))
    assert torch.allclose(whole, predict_logits(model, toy.test.images, batch_size=7, **CPU), atol=1e-6)
    assert whole.shape == (60, 3)
    assert not whole.is_inference()
    assert not whole.requires_grad
