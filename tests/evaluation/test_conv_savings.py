"""What a mask saves in networks that convolve: each way computes what it says, or says why it is closed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import lrp_core as lc
from lrp_core.errors import Cancelled, InputError
from lrp_core.evaluation.conv_ways import WAYS, find_ways
from tests.support import toy_dataset


def box_mask(shape: tuple[int, ...], *spans: tuple[int, int]) -> lc.PixelMask:
    """Every other input of a box, its corners among them, in the first channel."""
    keep = torch.zeros(shape, dtype=torch.bool)
    keep[(0, *(slice(*span) for span in spans))] = True
    indices = keep.flatten().nonzero().flatten()
    return lc.PixelMask(
        indices[(torch.arange(len(indices)) % 2 == 0) | (torch.arange(len(indices)) > len(indices) - 3)], shape
    )


IMAGES = (1, 28, 28)
MASK = box_mask(IMAGES, (5, 22), (4, 20))


def ways_of(name: str, shape: tuple[int, ...], mask: lc.PixelMask) -> dict[str, Any]:
    network = lc.build_model(name, shape=shape, n_classes=4).eval()
    return {way.name: way for way in find_ways(network, mask)}


@pytest.mark.parametrize("name", ["lenet-5", "cnn-32-64"])
def test_every_way_of_the_image_networks_runs_on_full_inputs(name: str) -> None:
    ways = ways_of(name, IMAGES, MASK)
    assert list(ways) == [way for way, _, _ in WAYS]
    x = torch.rand(3, *IMAGES)
    for way in ways.values():
        assert not way.why_not
        encoded = way.encode(x)
        assert encoded.shape[1:] == way.shape
        assert way.network(encoded).shape == (3, 4)


def test_canvas_and_crop_compute_what_the_network_does_on_masked_inputs() -> None:
    network = lc.build_model("lenet-5", shape=IMAGES, n_classes=4).eval()
    ways = {way.name: way for way in find_ways(network, MASK)}
    x = torch.rand(3, *IMAGES)
    expected = network(MASK.remove(x))
    for name in ("canvas", "crop"):
        assert torch.allclose(ways[name].network(ways[name].encode(x)), expected, atol=1e-5), name
    assert torch.equal(ways["full"].network(ways["full"].encode(x)), network(x))


@pytest.mark.parametrize("name", [name for name, _, _ in WAYS if name != "full"])
def test_no_way_reads_a_removed_input(name: str) -> None:
    way = ways_of("lenet-5", IMAGES, MASK)[name]
    x = torch.rand(3, *IMAGES)
    other = torch.where(MASK.keep, x, torch.rand(3, *IMAGES))
    assert torch.equal(way.network(way.encode(x)), way.network(way.encode(other)))


def test_half_the_resolution_averages_cells() -> None:
    way = ways_of("lenet-5", IMAGES, MASK)["half resolution"]
    x = torch.zeros(1, *IMAGES)
    x[0, 0, 5, 4] = 1.0
    assert MASK.keep[0, 5, 4]
    [value] = way.encode(x)[way.encode(x) > 0].tolist()
    assert value == pytest.approx(0.25)


def test_counts_get_smaller_way_by_way() -> None:
    network = lc.build_model("lenet-5", shape=IMAGES, n_classes=4)
    found = {one.name: one for one in lc.conv_savings(network, MASK, measure=False)}
    assert found["canvas"].macs == found["full"].macs == lc.measure_cost(network).macs
    assert found["full"].input_bytes == 4 * 784
    assert found["crop"].input_bytes == 4 * len(MASK)
    order = ("full", "crop", "box", "stride", "half of all filters")
    assert [found[name].macs for name in order] == sorted((found[name].macs for name in order), reverse=True)
    first = {name: way.network for name, way in ways_of("lenet-5", IMAGES, MASK).items()}
    assert first["half of all filters"].body.conv1.out_channels == 3
    assert first["half of all filters"].body.conv2.out_channels == 8
    assert (
        first["half of the first filters"].body.conv1.out_channels,
        first["half of the first filters"].body.conv2.out_channels,
    ) == (3, 16)
    assert first["stride"].body.conv1.stride == (2, 2)
    assert not hasattr(first["stride"].body, "pool1")


@pytest.mark.parametrize(
    ("name", "shape", "mask", "closed", "says"),
    [
        ("lenet-5", (1, 27, 28), box_mask((1, 27, 28), (5, 22), (4, 20)), {"half resolution"}, "even sides"),
        (
            "transformer-1d",
            (2, 40),
            box_mask((2, 40), (5, 31)),
            {"stride", "half of the first filters", "half of all filters"},
            "stride of 1",
        ),
    ],
)
def test_what_does_not_run_is_closed_with_its_reason(
    name: str, shape: tuple[int, ...], mask: lc.PixelMask, closed: set[str], says: str
) -> None:
    found = lc.conv_savings(lc.build_model(name, shape=shape, n_classes=3), mask, measure=False)
    assert {one.name for one in found if not one.is_open} == closed
    assert any(says in one.why_not for one in found)
    assert all(one.macs == one.parameters == 0 for one in found if not one.is_open)


def test_a_network_without_a_spec_keeps_what_needs_no_building() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 3))
    found = lc.conv_savings(network, box_mask((1, 8, 8), (2, 6), (2, 6)), measure=False)
    assert {one.name for one in found if one.is_open} == {"full", "canvas", "crop"}
    assert all("register_model" in one.why_not or "own networks" in one.why_not for one in found if not one.is_open)


def test_an_odd_box_becomes_even_where_there_is_room() -> None:
    ways = ways_of("cnn-32-64", (1, 9, 9), box_mask((1, 9, 9), (2, 7), (4, 9)))
    assert ways["box"].network.body.scatter.shape == (1, 6, 6)
    whole = ways_of("cnn-32-64", (1, 11, 11), box_mask((1, 11, 11), (0, 11), (0, 11)))
    assert whole["box"].network.body.scatter.shape == (1, 11, 11)
    assert "no longer fit" in whole["stride"].why_not


def test_series_have_their_ways_too() -> None:
    ways = ways_of("cnn-1d", (3, 64), box_mask((3, 64), (10, 50)))
    assert not [way.name for way in ways.values() if way.why_not]
    assert ways["stride"].network.body.conv1.stride == (4,)


def test_each_way_is_trained_and_measured_on_validation_rows() -> None:
    data = toy_dataset()
    side = data.shape[-1]
    mask = box_mask(data.shape, (1, side - 1), (1, side - 1))
    network = lc.build_model("lenet-5", data)
    steps: list[str] = []
    words: dict[str, Any] = {"data": data, "train": lc.Recipe(epochs=1), "seeds": (0, 1), "measure": False}
    found = lc.conv_savings(network, mask, **words, on_step=lambda done, total, text: steps.append(text))
    usable = [one for one in found if one.is_open]
    assert len(usable) >= 4
    assert all(len(one.scores) == 2 and 0 <= one.score <= 1 for one in usable)
    assert len(steps) == 2 * len(usable)
    canvas, crop = (next(one for one in found if one.name == name) for name in ("canvas", "crop"))
    assert canvas.score == pytest.approx(crop.score, abs=0.05), "one function, trained alike"
    again = lc.conv_savings(network, mask, **words)
    assert [one.scores for one in again] == [one.scores for one in found]


def test_all_are_timed_at_each_batch_size_and_can_be_cancelled() -> None:
    network = lc.build_model("lenet-5", shape=(1, 8, 8), n_classes=3)
    mask = box_mask((1, 8, 8), (1, 7), (1, 7))
    found = lc.conv_savings(network, mask, batches=(1, 5), rounds=1, seconds=0.01)
    assert all([batch for batch, _ in one.milliseconds] == [1, 5] for one in found if one.is_open)
    assert found[0].milliseconds_at(5) > 0
    assert found[0].milliseconds_at(7) is None

    def stop(done: int, total: int, text: str) -> None:
        assert done < total
        if done == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        lc.conv_savings(network, mask, on_step=stop)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"train": lc.Recipe()}, "takes both"),
        ({"data": toy_dataset()}, "takes both"),
        ({"data": toy_dataset(), "train": lc.Recipe()}, "the mask is for inputs of shape"),
        ({"rounds": 0}, "at least 1"),
        ({"threads": 0}, "threads"),
    ],
)
def test_what_cannot_be_done_is_refused(words: dict[str, Any], says: str) -> None:
    network = lc.build_model("lenet-5", shape=IMAGES, n_classes=3)
    with pytest.raises(InputError, match=says):
        lc.conv_savings(network, MASK, **words)


def test_other_networks_are_refused() -> None:
    dense = lc.build_model("softmax", shape=IMAGES, n_classes=3)
    with pytest.raises(InputError, match="no convolution"):
        lc.conv_savings(dense, MASK)
    lenet = lc.build_model("lenet-5", shape=IMAGES, n_classes=3)
    with pytest.raises(InputError, match="pruned already"):
        lc.conv_savings(lc.prune_inputs(lenet, MASK), MASK)
    with pytest.raises(InputError, match="does not take inputs"):
        lc.conv_savings(lenet, lc.PixelMask.full((3, 28, 28)))
