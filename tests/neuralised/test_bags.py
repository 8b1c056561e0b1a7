"""Bags of words: counts and the way back, each against plain loops; a transformer as scikit-learn knows them."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from sklearn.utils import estimator_checks

import lrp_core as lc
from lrp_core.errors import InputError
from lrp_core.neuralised import BagOfWords, Intersection
from tests.support import check_sentence, toy_split

from . import plain


def pictures(n: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Images of which about half the pixels are 0, so that patches repeat."""
    random = np.random.default_rng(seed)
    return np.maximum(random.normal(0, 1, (n, *shape)), 0).round(1)


@st.composite
def bags(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...], int]:
    """The options of a bag of words, the shape of its images, and a seed for them."""
    size, n_words = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    shape = (draw(st.integers(1, 3)), draw(st.integers(size, 9)), draw(st.integers(size, 9)))
    options = {
        "size": size,
        "stride": draw(st.integers(1, 3)),
        "n_words": n_words,
        "grids": draw(st.sampled_from([(1,), (2,), (1, 2), (3, 1)])),
        "nearest": draw(st.integers(1, n_words)),
        "normalise": draw(st.booleans()),
    }
    return options, shape, draw(st.integers(0, 99))


def fitted(options: dict[str, Any], shape: tuple[int, ...], seed: int) -> tuple[BagOfWords, np.ndarray]:
    """A bag fitted on a few images, no two of its words the same, and the images."""
    bag, images = BagOfWords(**options), pictures(5, shape, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different patches than words
        bag.fit(images)
    bag.vocabulary_ += np.random.default_rng(0).normal(0, 0.1, bag.vocabulary_.shape)
    return bag, images


@given(bags())
def test_counts_are_what_plain_loops_count(drawn: tuple[dict[str, Any], tuple[int, ...], int]) -> None:
    bag, images = fitted(*drawn)
    encoding = bag.encode(images)
    for i, image in enumerate(images):
        m = plain.mapping(image, bag)
        assert np.abs(encoding.counts[i] - m.sum(1) / m.sum()).max() < 1e-12
    assert np.abs(encoding.counts.sum(1) - 1).max() < 1e-12
    assert bag.get_feature_names_out().shape == encoding.counts.shape[1:]


@given(bags(), st.integers(0, 99))
def test_relevance_goes_back_as_the_equations_say(
    drawn: tuple[dict[str, Any], tuple[int, ...], int], seed: int
) -> None:
    """Also for words that an image lacks, and for words that no image has."""
    bag, images = fitted(*drawn)
    encoding = bag.encode(images)
    relevance = np.random.default_rng(seed).normal(size=encoding.counts.shape)
    of_patches, of_pixels = encoding.to_patches(relevance), encoding.to_pixels(relevance)
    for i, image in enumerate(images):
        r = plain.words_to_patches(relevance[i], plain.mapping(image, bag))
        assert np.abs(of_patches[i] - r).max() < 1e-11
        assert np.abs(of_pixels[i] - plain.patches_to_pixels(r, image, bag.size, bag.stride)).max() < 1e-11
    for r in (of_patches, of_pixels):
        assert np.abs(r.reshape(len(images), -1).sum(1) - relevance.sum(1)).max() < 1e-11


def test_words_that_no_image_has_share_their_relevance_among_all_patches() -> None:
    images = pictures(6, (1, 6, 6))
    bag = BagOfWords(size=3, stride=1, n_words=3).fit(images)
    bag.vocabulary_[1] = 1e6
    encoding = bag.encode(images)
    of_the_word = np.array(["word 1," in name for name in bag.get_feature_names_out()])
    assert not encoding.counts[:, of_the_word].any()
    of_patches = encoding.to_patches(np.where(of_the_word, 1.0, 0.0) + np.zeros_like(encoding.counts))
    assert np.allclose(of_patches, 4 / 16, rtol=0, atol=1e-15)


def test_blank_images_have_one_word_in_each_cell() -> None:
    bag = BagOfWords(size=3, stride=1, n_words=4).fit(pictures(6, (8, 8)))
    encoding = bag.encode(np.zeros((2, 8, 8)))
    assert (encoding.counts > 0).sum() == 8
    assert np.isfinite(encoding.to_pixels(np.ones_like(encoding.counts))).all()


@pytest.mark.parametrize("nearest", [1, 3])
def test_the_other_images_do_not_matter(nearest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(30, (2, 9, 8))
    bag = BagOfWords(size=3, n_words=7, nearest=nearest).fit(images)
    together = bag.transform(images)
    alone = np.concatenate([bag.transform(one[None]) for one in images])
    assert np.abs(together - alone).max() < 1e-12
    monkeypatch.setattr("lrp_core.neuralised.bags.images_in_block", lambda *_: 7)
    assert np.abs(together - bag.transform(images)).max() < 1e-12


def test_bytes_stand_for_numbers_up_to_one_and_a_single_channel_may_be_left_out() -> None:
    pixels = toy_split(40).raw.numpy()
    bag = BagOfWords(size=3, n_words=8)
    counts = bag.fit(pixels).transform(pixels)
    assert np.array_equal(counts, bag.fit(pixels / 255).transform(pixels))
    assert np.array_equal(counts, bag.fit(pixels[:, 0]).transform(pixels[:, 0]))
    assert bag.encode(pixels[:, 0]).to_pixels(counts).shape == (40, 6, 6)
    assert np.array_equal(counts, bag.fit(torch.from_numpy(pixels)).transform(torch.from_numpy(pixels)))


def test_the_vocabulary_is_that_of_the_seed() -> None:
    images = pictures(40, (9, 9))
    first, again, other = (
        BagOfWords(size=3, n_words=9, n_patches=100, random_state=seed).fit(images).vocabulary_ for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_words_are_centres_of_the_patches() -> None:
    """Of images made of two kinds of patches, the two words are these."""
    kinds = np.array([[[0.0, 1.0], [1.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]])
    which = np.random.default_rng(0).integers(0, 2, (50, 3, 3))
    images = kinds[which].transpose(0, 1, 3, 2, 4).reshape(50, 6, 6)
    bag = BagOfWords(size=2, stride=2, n_words=2, grids=(1,), normalise=False).fit(images)
    assert np.allclose(sorted(bag.vocabulary_.tolist()), sorted(kinds.reshape(2, 4).tolist()))
    one = int(np.abs(bag.vocabulary_ - kinds[0].ravel()).sum(1).argmin())
    assert np.allclose(bag.transform(images)[:, one], (which == 0).reshape(50, -1).mean(1))


def test_normalised_words_do_not_know_brightness_and_contrast() -> None:
    images = pictures(20, (8, 8))
    bag = BagOfWords(size=4, n_words=6).fit(images)
    assert np.allclose(
        bag.contrast_, np.sqrt(np.mean([p.var() for one in images for *_, p in plain.patches(one[None], 4, 2)])) / 3
    )
    other = BagOfWords(size=4, n_words=6).fit(7 * images + 3)
    assert np.allclose(other.vocabulary_, bag.vocabulary_)
    assert np.allclose(other.transform(7 * images + 3), bag.transform(images))
    assert np.allclose(bag.transform(images + 100), bag.transform(images))
    assert not np.allclose(
        BagOfWords(size=4, n_words=6, normalise=False).fit(images).transform(images + 1), bag.transform(images)
    )


@pytest.mark.parametrize("size", [1, 6])
def test_images_are_left_as_they_were(size: int) -> None:
    """Also where patches are the pixels, or the images, themselves."""
    images = pictures(9, (6, 6))
    before = images.copy()
    BagOfWords(size=size, stride=1, n_words=2).fit(images).transform(images)
    assert np.array_equal(images, before)


# As a transformer of scikit-learn


@pytest.mark.parametrize(
    "check",
    [
        "no_attributes_set_in_init",
        "get_params_invariance",
        "set_params",
        "parameters_default_constructible",
        "estimator_repr",
        "estimator_tags_renamed",
        "valid_tag_types",
        "mixin_order",
    ],
)
def test_checks_of_scikit_learn_that_need_no_table_pass(check: str, unchecked: None) -> None:
    getattr(estimator_checks, f"check_{check}")("BagOfWords", BagOfWords())


def test_scikit_learn_takes_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)  # its checks on tables are not for images
        estimator_checks.check_estimator(BagOfWords())
    bag = BagOfWords(size=3, stride=1, n_words=5, grids=(1, 2), nearest=2, n_patches=77, random_state=4)
    twin = clone(bag)
    assert twin is not bag
    assert twin.get_params() == bag.get_params()
    assert twin.set_params(n_words=6).n_words == 6
    assert repr(bag).startswith("BagOfWords(")
    images = pictures(20, (6, 6))
    bag.fit(images)
    assert np.array_equal(pickle.loads(pickle.dumps(bag)).transform(images), bag.transform(images))
    assert np.array_equal(clone(bag).fit_transform(images), bag.transform(images))
    frame = bag.set_output(transform="pandas").transform(images)
    assert list(frame.columns) == list(bag.get_feature_names_out())
    assert frame.columns[0] == "word 0"
    assert frame.columns[5] == "word 0, row 0, column 0 of 2 x 2"


def test_pipelines_and_searches_take_it(toy: lc.Dataset) -> None:
    images, labels = toy.train.raw.numpy(), toy.train.labels.numpy()
    bag = BagOfWords(size=2, n_words=6, grids=(3,), normalise=False)
    pipeline = make_pipeline(bag, SVC(kernel=Intersection(), C=10.0))
    search = GridSearchCV(pipeline, {"bagofwords__nearest": [1, 2], "svc__C": [10.0]}, cv=2, error_score="raise")
    assert search.fit(images, labels).score(toy.test.raw.numpy(), toy.test.labels.numpy()) > 0.9


# What is refused

IMAGES = pictures(4, (6, 6))


@pytest.mark.parametrize(
    ("options", "images", "says"),
    [
        ({}, IMAGES, "smaller than a patch of 8 x 8"),
        ({"size": 0}, IMAGES, "size must be"),
        ({"size": 2.5}, IMAGES, "size must be"),
        ({"stride": 0}, IMAGES, "stride must be"),
        ({"size": 3, "n_words": True}, IMAGES, "n_words must be"),
        ({"grids": 2}, IMAGES, "grids must be"),
        ({"grids": ()}, IMAGES, "grids must be"),
        ({"grids": "12"}, IMAGES, "grids must be"),
        ({"grids": (2, 2)}, IMAGES, "each size once"),
        ({"grids": (0,)}, IMAGES, "each of grids"),
        ({"size": 3, "n_words": 4, "nearest": 5}, IMAGES, "nearest must be at most"),
        ({"size": 3, "n_words": 4, "nearest": 0}, IMAGES, "nearest must be"),
        ({"size": 3, "n_words": 10, "n_patches": 9}, IMAGES, "n_patches must be"),
        ({"size": 3, "n_words": 40}, IMAGES, "too few for 40 words"),
        ({"size": 3}, np.where(IMAGES > 1, np.nan, IMAGES), "NaN or infinity"),
        ({"size": 3}, IMAGES[0], "must be of shape"),
        ({"size": 3}, IMAGES[:0], "no images"),
        ({"size": 3}, IMAGES.astype(str), "array of numbers"),
        ({"size": 3}, np.zeros((2, 0, 6, 6)), "at least one pixel"),
    ],
)
def test_what_cannot_be_a_bag_is_refused(options: dict[str, Any], images: Any, says: str, unchecked: None) -> None:
    with pytest.raises(InputError, match=says) as caught:
        BagOfWords(**options).fit(images)
    check_sentence(caught.value)


def test_an_unfitted_bag_and_other_images_are_refused() -> None:
    bag = BagOfWords(size=3, n_words=4)
    with pytest.raises(InputError, match="call fit") as caught:
        bag.transform(IMAGES)
    check_sentence(caught.value)
    with pytest.raises(NotFittedError):
        bag.get_feature_names_out()
    bag.fit(IMAGES)
    with pytest.raises(InputError, match=r"fitted on images of shape \(6, 6\)"):
        bag.transform(pictures(2, (6, 7)))
    with pytest.raises(InputError, match="shape of the counts"):
        bag.encode(IMAGES).to_pixels(np.zeros((4, 3)))
