"""Measured speed: turns, ratios, what is said about them, and what is refused. No test looks at a time."""

from __future__ import annotations

import doctest
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import lrp_core as lc
from lrp_core.errors import Cancelled, InputError
from lrp_core.evaluation import forward_milliseconds, runtimes, timing
from lrp_core.evaluation.apart import measure_apart
from lrp_core.evaluation.speed import Footprint, Speed, Timing, make_timings, quartiles
from tests.support import toy_dataset

HAS_ONNX = runtimes.without_onnx() == ""
SHAPE = (20,)
MASK = lc.PixelMask(torch.tensor([2, 3, 7]), SHAPE)


@pytest.fixture
def full() -> nn.Module:
    return lc.build_model("mlp-300-100", shape=SHAPE, n_classes=3)


@pytest.fixture
def no_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    found = runtimes.find_spec
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if name == "onnxruntime" else found(name))


@pytest.fixture
def fake_clock(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    """Blocks that run nothing and note whose turn it was; the n-th one takes n seconds a call."""
    turns: list[Callable[[], Any]] = []

    def block(run: Callable[[], Any], number: int, threads: int) -> float:
        turns.append(run)
        return float(len(turns))

    monkeypatch.setattr(timing, "block_seconds", block)
    return turns


# How turns are taken


def test_all_take_turns_and_every_other_round_goes_backwards(fake_clock: list[Any]) -> None:
    runs = {name: (lambda name=name: name) for name in "abc"}
    taken = timing.take_turns(runs, rounds=3, threads=1, seconds=100.0)
    assert "".join(run() for run in fake_clock) == "abc" + "abc" + "cba" + "abc"
    assert taken == {"a": (4.0, 9.0, 10.0), "b": (5.0, 8.0, 11.0), "c": (6.0, 7.0, 12.0)}


def test_no_round_begins_once_time_is_up_but_three_are_measured(fake_clock: list[Any]) -> None:
    taken = timing.take_turns({"a": print, "b": print}, rounds=50, threads=1, seconds=1e-9)
    assert {len(seconds) for seconds in taken.values()} == {timing.FEWEST_ROUNDS}


def test_batch_sizes_are_measured_one_after_the_other() -> None:
    runs = {(name, batch): print for name in "ab" for batch in (1000, 1)}
    groups = timing.by_batch(runs, lambda key: key[1])
    assert [list(group) for group in groups] == [[("a", 1), ("b", 1)], [("a", 1000), ("b", 1000)]]


def test_fewer_rounds_than_three_can_be_asked_for(fake_clock: list[Any]) -> None:
    assert timing.take_turns({"a": print}, rounds=1, threads=1, seconds=1e-9) == {"a": (2.0,)}


def test_a_report_that_raises_ends_it_before_the_next_block(fake_clock: list[Any]) -> None:
    def on_block(key: str) -> None:
        if len(fake_clock) == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        timing.take_turns({"a": print, "b": print}, rounds=5, threads=1, seconds=1.0, on_block=on_block)
    assert len(fake_clock) == 3


def test_a_block_really_runs_what_it_is_given_without_gradients() -> None:
    seen: list[bool] = []
    seconds = timing.block_seconds(lambda: seen.append(torch.is_grad_enabled()), 5, 1)
    assert seconds > 0
    assert len(seen) >= 5
    assert not any(seen)


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    inside: list[int] = []
    timing.block_seconds(lambda: inside.append(torch.get_num_threads()), 2, 1)
    assert set(inside) == {1}
    assert torch.get_num_threads() == before


# Arithmetic


def test_ratios_are_of_medians_and_their_range_is_over_rounds() -> None:
    taken = {
        ("torch", "float32", 1, "full", False): (4.0, 6.0, 10.0),
        ("torch", "float32", 1, "smaller", False): (2.0, 1.0, 5.0),
        ("torch", "int8", 1, "full", False): (3.0, 3.0, 3.0),
        ("onnxruntime", "float32", 1, "smaller", False): (1.0, 1.0, 1.0),
    }
    full, small, int8, alone = make_timings(taken)
    assert (full.ratio, full.ratio_low, full.ratio_high) == (None, None, None)
    assert (small.milliseconds, small.ratio, small.ratio_low, small.ratio_high) == (2000.0, 3.0, 2.0, 6.0)
    assert int8.ratio == 2.0, "int8 is compared with the full network in float32"
    assert alone.ratio is None, "another runtime's full network is no measure"


def test_the_spread_is_that_of_the_quartiles() -> None:
    [one] = make_timings({("torch", "float32", 1000, "full", False): (5.0, 1.0, 3.0, 2.0, 4.0)})
    assert (one.milliseconds, one.low, one.high) == (3000.0, 2000.0, 4000.0)
    assert one.per_second == pytest.approx(1000 / 3)
    assert quartiles([7.0]) == (7.0, 7.0)
    assert quartiles([1.0, 2.0]) == (1.25, 1.75)


def test_a_measurement_is_steady_where_quartiles_lie_together() -> None:
    one = timed(1, "full", 2.0, None)
    assert measured(one).is_steady
    assert measured(replace(one, low=1.0, high=1.5)).is_steady
    assert not measured(one, replace(one, low=1.0, high=1.6)).is_steady


# What is said where it is not faster


def timed(batch: int, network: Any, milliseconds: float, ratio: float | None, picks: bool = False) -> Timing:
    return Timing(
        "torch", "float32", batch, network, picks, milliseconds, milliseconds, milliseconds, 3, ratio, ratio, ratio
    )


def footprint(network: Any, macs: int, modules: int = 5, places: int = 0, convolves: bool = False) -> Footprint:
    return Footprint(network, macs, 10, modules, places, convolves, 4, {}, 0, {})


def measured(*timings: Timing, full_macs: int = 1000, macs: int = 100, **small: Any) -> Speed:
    prints = (footprint("full", full_macs), footprint("smaller", macs, **small))
    return Speed(timings, prints, 1, 1.0, "a machine", {"torch": "2"})


def test_nothing_is_said_of_a_network_that_is_faster() -> None:
    speed = measured(timed(1, "full", 1.0, None), timed(1, "smaller", 0.4, 2.5), timed(1, "smaller", 0.5, 2.0, True))
    assert speed.note == ""


def test_as_many_products_are_named_first_and_once() -> None:
    timings = [timed(b, *rest) for b in (1, 1000) for rest in (("full", 1.0, None), ("smaller", 1.0, 1.0))]
    speed = measured(*timings, macs=1000, convolves=True)
    assert speed.note.count("inputs are masked computes as much as before") == 1
    assert "100 % of" in speed.note
    dense = measured(*timings, macs=950)
    assert "hardly less to compute" in dense.note
    assert "convolution" not in dense.note


def test_picking_that_costs_more_than_is_saved_is_named() -> None:
    speed = measured(
        timed(1000, "full", 1.0, None), timed(1000, "smaller", 0.5, 2.0), timed(1000, "smaller", 1.25, 0.8, True)
    )
    assert "In batches of 1,000" in speed.note
    assert "picking the kept inputs takes 0.75 ms where the network itself saves 0.5 ms" in speed.note


def test_at_batch_1_the_calls_of_modules_are_named_and_counted() -> None:
    speed = measured(timed(1, "full", 0.05, None), timed(1, "smaller", 0.05, 1.0), modules=5)
    assert "calls 5 modules (10 µs each)" in speed.note
    slow = measured(timed(1, "full", 50.0, None), timed(1, "smaller", 50.0, 1.0))
    assert "several microseconds" not in slow.note, "50 ms are no dispatch"
    more = measured(timed(1, "full", 50.0, None), timed(1, "smaller", 50.0, 1.0), modules=9)
    assert "calls 9 modules" in more.note
    assert "the full one 5" in more.note
    assert "10 % of the multiply-accumulates" in slow.note


def test_layers_that_scatter_are_named_where_onnx_runtime_is_not_faster() -> None:
    timings = [
        replace(timed(1000, *rest), runtime=runtime)
        for runtime, small in (("torch", ("smaller", 0.5, 2.0)), ("onnxruntime", ("smaller", 5.0, 0.2)))
        for rest in (("full", 1.0, None), small)
    ]
    assert "because 3 of its layers put values into their places" in measured(*timings, places=3).note
    assert measured(*timings, places=3).note.startswith("In batches of 1,000 in ONNX Runtime")
    assert "places" not in measured(*timings).note


def test_without_a_full_network_there_is_nothing_to_say() -> None:
    speed = measured(timed(1, "smaller", 1.0, None))
    assert speed.note == ""
    assert replace(speed, footprints=speed.footprints[1:]).note == ""


# The whole measurement


@pytest.mark.slow
def test_what_a_measurement_holds(full: nn.Module) -> None:
    small = lc.prune_inputs(full, MASK)
    steps: list[tuple[int, int, str]] = []
    data = toy_dataset()
    speed = lc.measure_speed(
        small, full, SHAPE, rounds=2, seconds=0.05, batches=(1, 50), on_step=lambda *step: steps.append(step)
    )
    runtimes_here = ["torch", "onnxruntime"] if HAS_ONNX else ["torch"]
    assert [(t.runtime, t.batch, t.network, t.picks) for t in speed.timings] == [
        (runtime, batch, *which)
        for runtime in runtimes_here
        for batch in (1, 50)
        for which in (("full", False), ("smaller", False), ("smaller", True))
    ]
    assert speed.rounds == 2
    assert speed.batches == (1, 50)
    full_print, small_print = speed.footprints
    assert full_print.macs == lc.measure_cost(full).macs > small_print.macs == lc.measure_cost(small).macs
    assert (full_print.input_bytes, small_print.input_bytes) == (80, 12)
    assert full_print.files["safetensors"] > small_print.files["safetensors"] > 4 * small_print.parameters
    assert full_print.peak_bytes >= 50 * 4 * 300, "a batch of hidden units at least"
    assert full_print.scores == {}
    done, totals = [d for d, _, _ in steps], {t for _, t, _ in steps}
    assert done == sorted(done)
    assert len(totals) == 1
    assert steps[-1][:2] == (totals.pop(), steps[-1][1])
    json.dumps(speed.to_dict(), allow_nan=False)
    assert len(speed.as_rows()) == len(speed.timings)
    assert data.n_inputs != 20, "the shape alone was given"


@pytest.mark.slow
def test_data_give_scores_of_the_validation_split_and_int8_has_its_own() -> None:
    data = toy_dataset()
    full = lc.fit(lc.build_model("mlp-300-100", data), data, recipe=lc.Recipe(epochs=3))
    small = lc.prune_inputs(full, lc.PixelMask(torch.arange(0, data.n_inputs, 2), data.shape))
    speed = lc.measure_speed(small, full, data, rounds=1, seconds=0.05, batches=(8,), int8=True)
    of_full, of_small = (one.scores for one in speed.footprints)
    assert of_full["torch, float32"] == lc.evaluate(full, data.validation).accuracy
    assert of_small["torch, float32"] == lc.evaluate(small, data.validation, encode=small.encode).accuracy
    assert "torch, int8" in of_small
    files = speed.footprints[0].files
    assert files["torch, int8"] < 0.5 * files["safetensors"]
    if HAS_ONNX:
        assert of_small["onnxruntime, float32"] == pytest.approx(of_small["torch, float32"], abs=0.02)
        assert files["onnx, int8"] < 0.5 * files["onnx"]
        assert {t.precision for t in speed.timings if t.runtime == "onnxruntime"} == {"float32", "int8"}


def test_neither_network_is_changed(full: nn.Module, no_onnx: None) -> None:
    full.train()
    small = lc.prune_inputs(full, MASK)
    before = {name: tensor.clone() for name, tensor in full.state_dict().items()}
    lc.measure_speed(small, full, SHAPE, rounds=1, seconds=0.01, batches=(2,), int8=True)
    assert full.training
    assert small.training
    assert all(parameter.requires_grad for parameter in full.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in full.state_dict().items())


def test_any_module_can_be_measured_and_one_alone(no_onnx: None) -> None:
    small = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    speed = lc.measure_speed(small, None, SHAPE, mask=MASK, rounds=1, seconds=0.01, batches=(1,))
    assert [(t.network, t.picks, t.ratio) for t in speed.timings] == [("smaller", False, None), ("smaller", True, None)]
    assert speed.note == ""
    alone = lc.measure_speed(nn.Linear(20, 3), None, SHAPE, rounds=1, seconds=0.01, batches=(1,))
    assert [t.picks for t in alone.timings] == [False], "without a mask there is nothing to pick"


def test_without_onnx_runtime_the_rows_are_absent_and_the_line_that_installs_it_is_said(
    full: nn.Module, no_onnx: None
) -> None:
    speed = lc.measure_speed(lc.prune_inputs(full, MASK), full, SHAPE, rounds=1, seconds=0.01, batches=(1,))
    assert {t.runtime for t in speed.timings} == {"torch"}
    assert set(speed.footprints[0].files) == {"safetensors"}
    [said] = speed.missing
    assert said.endswith("pip install onnxruntime")


@pytest.mark.skipif(not HAS_ONNX, reason="would write ONNX")
def test_what_cannot_be_written_as_onnx_is_named_and_the_rest_is_measured(
    full: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: Any, **named: Any) -> None:
        raise KeyError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    speed = lc.measure_speed(full, None, SHAPE, rounds=1, seconds=0.01, batches=(1,))
    assert {t.runtime for t in speed.timings} == {"torch"}
    [said] = speed.missing
    assert said.startswith("the smaller network was not measured in ONNX Runtime: it cannot be written as ONNX")


@pytest.mark.skipif(not HAS_ONNX, reason="would write ONNX")
def test_a_file_that_answers_otherwise_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"right": torch.ones(2, 3), "wrong": torch.ones(2, 3) + 0.1, "other": torch.ones(2, 4)}
    network = nn.Identity()
    for name, says in (("wrong", "answers otherwise"), ("other", "it gives")):
        monkeypatch.setattr(runtimes, "onnx_logits", lambda session, x, name=name: answers[name])
        with pytest.raises(InputError, match=says):
            runtimes.check_answers(None, network, answers["right"], exactly=True)
    monkeypatch.setattr(runtimes, "onnx_logits", lambda session, x: answers["wrong"])
    runtimes.check_answers(None, network, answers["right"], exactly=False)
    monkeypatch.undo()
    with pytest.raises(InputError, match="does not run it"):
        runtimes.check_answers(None, network, answers["right"], exactly=True)


@pytest.mark.slow
def test_a_network_of_doubles_is_measured_in_every_runtime(full: nn.Module) -> None:
    speed = lc.measure_speed(full.double(), None, SHAPE, rounds=1, seconds=0.01, batches=(1,))
    assert {t.runtime for t in speed.timings} == ({"torch", "onnxruntime"} if HAS_ONNX else {"torch"})
    assert speed.footprints[0].input_bytes == 8 * 20


def test_data_without_rows_to_score_are_taken_for_their_shape(full: nn.Module, no_onnx: None) -> None:
    empty = lc.Split(torch.zeros(0, 20), torch.zeros(0, dtype=torch.long))
    speed = lc.measure_speed(full, None, empty, rounds=1, seconds=0.01, batches=(1,))
    assert speed.footprints[0].scores == {}


def test_a_network_that_cannot_be_counted_is_refused_before_anything_is_measured(fake_clock: list[Any]) -> None:
    class Branches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :2] if float(x.sum()) > 0 else x[:, 1:3]

    with pytest.raises(InputError, match="Branches"):
        lc.measure_speed(Branches(), None, SHAPE)
    assert fake_clock == []


def test_int8_of_a_network_without_dense_layers_is_said_to_be_missing(no_onnx: None) -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten())
    speed = lc.measure_speed(network, None, (1, 4, 4), rounds=1, seconds=0.01, batches=(1,), int8=True)
    assert {t.precision for t in speed.timings} == {"float32"}
    assert any("no dense layer" in said for said in speed.missing)


def test_a_torch_without_dynamic_quantisation_is_said_to_be_one(
    full: nn.Module, no_onnx: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)
    speed = lc.measure_speed(full, None, SHAPE, rounds=1, seconds=0.01, batches=(1,), int8=True)
    assert {t.precision for t in speed.timings} == {"float32"}
    assert any("no dynamic quantisation any more" in said for said in speed.missing)


def test_picking_inside_the_graph_picks_what_the_mask_does() -> None:
    x = torch.rand(6, 2, 10)
    mask = lc.PixelMask(torch.tensor([0, 3, 19]), (2, 10))
    assert torch.equal(runtimes.Picking(nn.Identity(), mask)(x), mask.apply(x))


def test_the_peak_of_memory_is_what_is_held_at_once() -> None:
    def run() -> torch.Tensor:
        first = torch.empty(1000)
        second = torch.empty(500)
        del first, second
        return torch.empty(1200)

    assert runtimes.peak_bytes(run) == 6000


def test_cancelling_ends_the_measurement(full: nn.Module, no_onnx: None) -> None:
    seen: list[int] = []

    def on_step(done: int, total: int, text: str) -> None:
        seen.append(done)
        if done == 4:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        lc.measure_speed(lc.prune_inputs(full, MASK), full, SHAPE, rounds=9, seconds=60.0, on_step=on_step)
    assert seen == [0, 1, 2, 3, 4]


def test_a_measurement_comes_back_from_json(full: nn.Module, no_onnx: None) -> None:
    speed = lc.measure_speed(lc.prune_inputs(full, MASK), full, SHAPE, rounds=2, seconds=0.01, batches=(1, 3))
    assert Speed.from_dict(json.loads(json.dumps(speed.to_dict()))) == speed


@pytest.mark.slow
def test_another_process_measures_the_same_networks_and_can_be_stopped(full: nn.Module) -> None:
    small = lc.prune_inputs(full, MASK)
    steps: list[str] = []
    how: dict[str, Any] = {"rounds": 1, "seconds": 0.01, "batches": (1,)}
    speed = measure_apart(small, full, SHAPE, on_step=lambda done, total, text: steps.append(text), **how)
    assert [one.macs for one in speed.footprints] == [lc.measure_cost(full).macs, lc.measure_cost(small).macs]
    assert steps[-1] == "done"
    with pytest.raises(InputError, match="at least 1, not 0"):
        measure_apart(small, full, SHAPE, rounds=0)

    def stop(done: int, total: int, text: str) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        measure_apart(small, full, SHAPE, on_step=stop, **how)


def test_a_process_that_dies_is_said_to_have_ended(full: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(InputError, match="ended before it was done"):
        measure_apart(lc.prune_inputs(full, MASK), full, SHAPE)


@pytest.mark.parametrize("function", [lc.measure_speed, forward_milliseconds, quartiles])
def test_the_examples_are_true(function: Any, no_onnx: None) -> None:
    [example] = doctest.DocTestFinder().find(function, globs={"quartiles": quartiles})
    assert doctest.DocTestRunner().run(example) == (0, len(example.examples))
    assert example.examples


# What is refused


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"rounds": 0}, "at least 1, not 0"),
        ({"rounds": True}, "not True"),
        ({"threads": 0}, "not 0"),
        ({"threads": 100_000}, "not 100000"),
        ({"seconds": 0.0}, "more than 0 seconds"),
        ({"seconds": float("nan")}, "more than 0 seconds"),
        ({"batches": ()}, "batches"),
        ({"batches": (0,)}, "batches"),
    ],
)
def test_what_nothing_can_be_measured_with_is_refused(full: nn.Module, words: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        lc.measure_speed(lc.prune_inputs(full, MASK), full, SHAPE, **words)


def test_networks_on_other_inputs_are_refused(full: nn.Module) -> None:
    small = lc.prune_inputs(full, MASK)
    with pytest.raises(InputError, match="reads inputs of shape"):
        lc.measure_speed(small, full, (21,))
    with pytest.raises(InputError, match="does not take inputs of shape"):
        lc.measure_speed(nn.Linear(3, 3), full, SHAPE)
    with pytest.raises(InputError, match="does not take inputs of shape"):
        lc.measure_speed(small, nn.Linear(21, 3), SHAPE)
    with pytest.raises(InputError, match="2 and 3 outputs"):
        lc.measure_speed(small, nn.Linear(20, 2), SHAPE)
    with pytest.raises(InputError, match="says itself"):
        lc.measure_speed(small, full, SHAPE, mask=MASK)


# One forward pass


def test_one_forward_pass_is_measured_without_touching_the_network() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout()).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert forward_milliseconds(network, torch.rand(1, 4), rounds=2) > 0
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_one_forward_pass_is_the_median_over_rounds(fake_clock: list[Any]) -> None:
    assert forward_milliseconds(nn.Identity(), torch.rand(1, 4), rounds=3) == 3000.0, (
        "of 2, 3 and 4: 1 was the first look"
    )


def test_one_forward_pass_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(InputError, match="does not take a batch of shape"):
        forward_milliseconds(nn.Linear(4, 3), torch.rand(1, 5))
    with pytest.raises(InputError, match="at least 1, not 0"):
        forward_milliseconds(nn.Linear(4, 3), torch.rand(1, 4), rounds=0)
    with pytest.raises(InputError, match="threads"):
        forward_milliseconds(nn.Linear(4, 3), torch.rand(1, 4), threads=-1)
