"""Splits: stratified samples, and the rows that are taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrp_core.errors import InputError

from ..support import toy_split
from .comparing import assert_stratified


@given(n=st.integers(1, 241), seed=st.integers(0, 5))
def test_a_sample_of_any_size_is_stratified(toy, n, seed):
    uneven = toy.train.take(torch.cat([torch.arange(0, 240, 3), torch.arange(1, 100, 3), torch.arange(2, 20, 3)]))
    n = min(n, len(uneven))
    sample = uneven.sample(n, seed=seed)
    assert len(sample) == n
    assert len(set(sample.indices.tolist())) == n, "drawn twice"
    assert_stratified(sample.labels, uneven.labels)
    assert torch.equal(sample.pixels, toy.train.pixels[sample.indices])
    assert torch.equal(sample.labels, toy.train.labels[sample.indices])
    assert torch.equal(sample.indices, uneven.sample(n, seed=seed).indices)


def test_samples_of_other_seeds_differ_and_come_in_random_order(toy):
    one, other = (toy.train.sample(60, seed=seed).indices.tolist() for seed in (0, 1))
    assert set(one) != set(other)
    assert one != sorted(one)
    everything = toy.train.sample(len(toy.train)).indices.tolist()
    assert sorted(everything) == list(range(240))


def test_sampling_leaves_the_global_random_state(toy):
    before = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    toy.train.sample(10)
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), before[1])


@pytest.mark.parametrize("n", [0, -1, 241])
def test_samples_that_cannot_be_drawn(toy, n):
    with pytest.raises(InputError, match=f"cannot sample {n} images: choose between 1 and 240"):
        toy.train.sample(n)


@given(st.lists(st.integers(0, 19), min_size=1, max_size=30))
def test_take_takes_those_in_that_order(positions):
    split = toy_split(20)
    taken = split.take(torch.tensor(positions))
    for i, position in enumerate(positions):
        assert torch.equal(taken.pixels[i], split.pixels[position])
        assert (taken.labels[i], taken.indices[i]) == (split.labels[position], split.indices[position])


def test_images_first_asked_for_in_inference_mode_are_tensors_like_any_other() -> None:
    split = toy_split(12)
    with torch.inference_mode():
        taken = split.take(torch.arange(4))
        assert not split.images.is_inference()
        assert not taken.images.is_inference()
    assert split.images.requires_grad_().requires_grad
    assert torch.equal(taken.images, toy_split(12).images[:4])
