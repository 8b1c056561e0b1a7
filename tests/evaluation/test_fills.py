"""Fills: what a removed pixel becomes, ROAD's imputation against its definition written out densely."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrp_core.data import Split
from lrp_core.errors import InputError
from lrp_core.evaluation import FILLS, PixelStatistics, impute, make_fill
from lrp_core.evaluation.fills import BLUR_SIGMA, ROAD_NOISE

NEIGHBOURS = {
    **dict.fromkeys(((0, 1), (0, -1), (1, 0), (-1, 0)), 1 / 6),
    **dict.fromkeys(((1, 1), (1, -1), (-1, 1), (-1, -1)), 1 / 12),
}


def imputed_densely(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """ROAD's linear imputation of one map [h, w]: one equation for every removed pixel, all neighbours spelt out."""
    height, width = image.shape
    unknown = {place: i for i, place in enumerate(zip(*removed.nonzero(), strict=True))}
    matrix, right = np.zeros((len(unknown), len(unknown))), np.zeros(len(unknown))
    for (row, column), i in unknown.items():
        for (down, across), weight in NEIGHBOURS.items():
            place = row + down, column + across
            if not (0 <= place[0] < height and 0 <= place[1] < width):
                continue
            matrix[i, i] += weight
            if place in unknown:
                matrix[i, unknown[place]] -= weight
            else:
                right[i] += weight * image[place]
    filled = image.copy()
    filled[removed] = np.linalg.solve(matrix, right)
    return filled


@st.composite
def holed(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in double precision, and masks that leave at least one pixel of every channel."""
    n, channels, height, width = (draw(st.integers(1, top)) for top in (3, 2, 6, 7))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    images = torch.rand(n, channels, height, width, generator=random, dtype=torch.float64)
    removed = torch.rand(images.shape, generator=random) < draw(st.sampled_from([0.0, 0.2, 0.7, 0.97]))
    spared = torch.randint(height * width, (n, channels, 1), generator=random)
    removed.flatten(2).scatter_(2, spared, False)
    return images, removed


def some_images(n: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 6, 5, generator=torch.Generator().manual_seed(seed))


@given(holed())
def test_imputation_is_roads_definition(drawn):
    images, removed = drawn
    found = impute(images, removed)
    for image, mask, filled in zip(*(t.flatten(0, 1).numpy() for t in (images, removed, found)), strict=True):
        np.testing.assert_allclose(filled, imputed_densely(image, mask), rtol=1e-9, atol=1e-12)


@given(holed())
def test_imputation_stays_between_what_is_known(drawn):
    images, removed = drawn
    found = impute(images, removed)
    assert torch.equal(found[~removed], images[~removed])
    for image, mask, filled in zip(*(t.flatten(0, 1) for t in (images, removed, found)), strict=True):
        assert filled.min() >= image[~mask].min() - 1e-12
        assert filled.max() <= image[~mask].max() + 1e-12


@given(holed())
def test_imputation_alone_and_among_others(drawn):
    images, removed = drawn
    together = impute(images, removed)
    alone = torch.cat([impute(images[i : i + 1], removed[i : i + 1]) for i in range(len(images))])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-12)


def test_many_images_are_solved_in_parts(monkeypatch):
    monkeypatch.setattr("lrp_core.evaluation.fills._UNKNOWNS", 60)
    images = some_images(9).double()
    removed = torch.rand(images.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    for image, mask, filled in zip(images[:, 0], removed[:, 0], impute(images, removed)[:, 0], strict=True):
        np.testing.assert_allclose(filled, imputed_densely(image.numpy(), mask.numpy()), atol=1e-12)


def test_with_nothing_left_the_mean_stands_in():
    images, mean = some_images(), torch.full((1, 6, 5), 0.3)
    removed = torch.zeros_like(images, dtype=torch.bool)
    removed[2] = True
    removed[1, 0, 2, 2] = True
    found = impute(images, removed, mean)
    assert torch.equal(found[2], mean)
    assert found[1, 0, 2, 2] != images[1, 0, 2, 2]
    with pytest.raises(InputError, match=r"^image 2 has no pixel left to impute from: give the mean image$"):
        impute(images, removed)


def test_road_is_the_imputation_and_its_noise():
    images = some_images(500)
    removed = torch.zeros_like(images, dtype=torch.bool)
    removed[:, :, 1:4, 1:4] = True
    noise = (make_fill("road", images, seed=3).apply(images, removed) - impute(images, removed))[removed]
    assert float(noise.mean()) == pytest.approx(0, abs=4 * ROAD_NOISE / len(noise) ** 0.5)
    assert float(noise.std()) == pytest.approx(ROAD_NOISE, rel=0.1)


@pytest.mark.parametrize("name", FILLS)
@given(seed=st.integers(0, 100), share=st.floats(0, 1))
def test_only_removed_pixels_change(name, seed, share):
    images = some_images(seed=seed)
    before = images.clone()
    removed = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)) < share
    fill = make_fill(name, images, mean=torch.full((1, 6, 5), 0.4), seed=seed)
    filled = fill.apply(images, removed)
    assert torch.equal(filled[~removed], before[~removed])
    assert torch.equal(images, before)
    assert not bool(((filled != images) & ~fill.changes(images)).any())


@pytest.mark.parametrize("name", FILLS)
def test_a_fill_of_some_images_is_theirs(name):
    images = some_images(6)
    fill = make_fill(name, images, mean=torch.full((1, 6, 5), 0.4), seed=1)
    removed = torch.rand(images.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    whole = fill.apply(images, removed)
    for rows in (slice(2, 5), torch.tensor([4, 0, 0])):
        torch.testing.assert_close(fill.take(rows).apply(images[rows], removed[rows]), whole[rows])


@pytest.mark.parametrize("name", ["noise", "road"])
def test_noise_comes_from_the_seed_alone(name):
    images = some_images()
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, again, other = (make_fill(name, images, seed=seed).values for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1]), "every image has its own"
    if name == "noise":
        assert 0 <= float(first.min()) <= float(first.max()) < 1


def test_blur_by_hand():
    """A single pixel becomes a Gaussian: the ratio of two values is that of the bell, and nothing is lost inside."""
    images = torch.zeros(2, 1, 41, 41)
    images[0, 0, 20, 20] = 1
    blurred = make_fill("blur", images).values
    assert float(blurred[0].sum()) == pytest.approx(1, abs=1e-4)
    two_off = float(blurred[0, 0, 20, 22] / blurred[0, 0, 20, 20])
    assert two_off == pytest.approx(np.exp(-(2**2) / (2 * BLUR_SIGMA**2)), rel=1e-4)
    assert not blurred[1].any(), "images do not run into each other"
    assert torch.equal(make_fill("blur", torch.full((1, 2, 5, 5), 0.5)).values, torch.full((1, 2, 5, 5), 0.5))


def test_pixel_statistics_are_numpys(toy):
    found = PixelStatistics.of(toy.train, batch_size=7)
    pixels = toy.train.pixels.numpy()
    np.testing.assert_allclose(found.mean, pixels.mean(0) / 255, rtol=1e-6)
    np.testing.assert_allclose(found.lit_share, (pixels > 0).mean(0), rtol=1e-6)


def test_lit_share_by_hand():
    pixels = torch.zeros(4, 1, 1, 2, dtype=torch.uint8)
    pixels[0, 0, 0, 1] = 1
    found = PixelStatistics.of(Split(pixels, torch.zeros(4, dtype=torch.int64), torch.arange(4)))
    assert found.lit_share.flatten().tolist() == [0, 0.25]


@pytest.mark.parametrize(
    ("name", "shape", "mean", "words"),
    [
        ("zeros", (2, 1, 4, 4), None, "unknown fill 'zeros': did you mean 'zero'"),
        ("mean", (2, 1, 4, 4), None, "needs the mean of the training images"),
        ("mean", (2, 1, 4, 4), (1, 4, 5), r"shape \(1, 4, 5\), the images have \(1, 4, 4\)"),
        ("blur", (2, 16), None, "needs images"),
        ("road", (2, 16), None, "needs images"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_fills_that_cannot_be(name, shape, mean, words):
    with pytest.raises(InputError, match=words):
        make_fill(name, torch.zeros(shape), mean=None if mean is None else torch.zeros(mean))
