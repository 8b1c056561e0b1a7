"""Measuring two networks beside each other in every runtime that is here."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

from torch import Tensor, nn

from ..data import Dataset, Split
from ..errors import InputError
from ..pruning import PixelMask
from ..pruning.crop import CONVOLUTIONS
from ..pruning.layers import Frame, Scatter
from ..training import NumberEvaluation, evaluate
from ..training.feeding import encoded, to_floats
from . import runtimes
from .speed import Footprint, Key, Name, Speed, make_timings, this_machine
from .subjects import Subject, make_subjects
from .timing import Run, by_batch, check_how, take_turns

OnStep = Callable[[int, int, str], None]

BATCHES = (1, 1000)
MEASURING_SHARE = 0.4
"""Of the budget, what is measured in at the least: writing files for ONNX Runtime takes seconds of it before."""


def measure_speed(
    small: nn.Module,
    full: nn.Module | None,
    data: Dataset | Split | Sequence[int],
    *,
    mask: PixelMask | None = None,
    batches: Sequence[int] = BATCHES,
    rounds: int = 25,
    threads: int = 1,
    seconds: float = 20.0,
    int8: bool = False,
    on_step: OnStep | None = None,
) -> Speed:
    """Measure `small` beside `full` on this machine: time, files, memory, and with `int8` what quantising brings.

    Both are given random numbers: how long a dense product takes does not depend on its values. `data` says the shape
    of one full input; data with labels also give the accuracy (or R^2), of a data set on its validation split. `mask`
    says what `small` reads, unless it is a `PrunedNetwork`, which says so itself; without one it takes full inputs.
    `full` None measures `small` alone.

    Eager torch in inference mode and, where it is installed, ONNX Runtime, on `threads` threads of the CPU, in each of
    `batches`, one after the other. All of one batch size takes turns in each of the `rounds`
    (`torch.utils.benchmark.Timer`), of which there are fewer once `seconds` are over, but at least three: a network
    that takes longer is waited for. The smaller network is measured on kept inputs, and on full ones with the picking.

    `on_step(done, total, text)` is told about each step, and ends the measurement by raising. Raises `InputError` for
    networks that do not take such inputs or give different numbers of outputs, for 0 rounds, and for more threads than
    there are cores.

    >>> import torch
    >>> import lrp_core as lc
    >>> net = lc.build_model("mlp-300-100", shape=(20,), n_classes=3)
    >>> small = lc.prune_inputs(net, lc.PixelMask(torch.tensor([2, 3, 7]), (20,)))
    >>> speed = lc.measure_speed(small, net, (20,), rounds=3, seconds=0.1)
    >>> speed.of(1000, network="full").milliseconds > 0
    True
    """
    check_how(rounds, threads)
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"a measurement takes more than 0 seconds, not {seconds!r}")
    if not batches or any(type(batch) is not int or batch < 1 for batch in batches):
        raise InputError(f"batches are whole numbers of inputs, at least 1, not {tuple(batches)}")
    began = time.monotonic()
    shape, split = _shape_and_split(data)
    subjects = make_subjects(small, full, mask, shape)
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(subjects, tuple(sorted(set(batches))), threads, split, Path(folder))
        work = bench.preparations(int8)
        blocks = (rounds + 1) * bench.count_runs(int8)
        total = len(work) + blocks
        tell = on_step or (lambda done, total, text: None)
        for done, (text, step) in enumerate(work):
            tell(done, total, text)
            step()
        left = max(MEASURING_SHARE * seconds, seconds - (time.monotonic() - began))
        done = len(work)

        def on_block(key: Key) -> None:
            nonlocal done
            tell(min(done, total - 1), total, _said(key))
            done += 1

        taken: dict[Key, tuple[float, ...]] = {}
        runs = bench.side_by_side()
        groups = by_batch(runs, lambda key: key[2])
        for group in groups:
            share = left / len(groups)
            taken |= take_turns(group, rounds=rounds, threads=threads, seconds=share, on_block=on_block)
        timings = make_timings({key: taken[key] for key in runs})
    tell(total, total, "done")
    return Speed(
        timings,
        tuple(bench.prints()),
        threads,
        time.monotonic() - began,
        this_machine(),
        _versions(),
        tuple(dict.fromkeys(bench.missing)),
    )


@dataclass
class _Bench:
    """What is measured: filled step by step, so that each step can be told about and stopped before."""

    subjects: tuple[Subject, ...]
    batches: tuple[int, ...]
    threads: int
    split: Split | None
    folder: Path
    runs: dict[Key, Run] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    files: dict[Name, dict[str, int]] = field(default_factory=dict)
    peaks: dict[Name, int] = field(default_factory=dict)
    scores: dict[Name, dict[str, float]] = field(default_factory=dict)

    def count_runs(self, int8: bool) -> int:
        """How many runs there will be, if everything can be measured."""
        variants = sum(2 if subject.mask is not None else 1 for subject in self.subjects)
        runtimes_here = 1 if runtimes.without_onnx() else 2
        return variants * len(self.batches) * runtimes_here * (2 if int8 else 1)

    def preparations(self, int8: bool) -> list[tuple[str, Callable[[], None]]]:
        """What has to be done before anything can be timed, step by step."""
        work: list[tuple[str, Callable[[], None]]] = []
        for one in self.subjects:
            work.append((f"memory of the {one.name} network", partial(self._prepare_torch, one)))
            if int8:
                work.append((f"the {one.name} network as int8", partial(self._prepare_int8, one)))
        if reason := runtimes.without_onnx():
            self.missing.append(reason)
            return work
        for one in self.subjects:
            for picks in (False, True) if one.mask is not None else (False,):
                text = f"the {one.name} network{' with the picking' if picks else ''} for ONNX Runtime"
                work.append((text, partial(self._prepare_onnx, one, picks, int8)))
        return work

    def side_by_side(self) -> dict[Key, Run]:
        """The runs in the order in which they take turns: what is compared stands together."""
        return dict(sorted(self.runs.items(), key=lambda item: (item[0][0] != "torch", item[0])))

    def prints(self) -> list[Footprint]:
        return [
            Footprint(
                one.name,
                one.cost.macs,
                one.cost.parameters,
                sum(1 for layer in one.network.modules() if not any(True for _ in layer.children())),
                sum(isinstance(layer, Scatter | Frame) for layer in one.network.modules()),
                any(isinstance(layer, CONVOLUTIONS) for layer in one.network.modules()),
                one.cost.n_inputs * next((p.element_size() for p in one.network.parameters()), 4),
                self.files[one.name],
                self.peaks[one.name],
                self.scores.get(one.name, {}),
            )
            for one in self.subjects
        ]

    def _prepare_torch(self, one: Subject) -> None:
        self.files[one.name] = {"safetensors": runtimes.file_bytes(one.network)}
        x = one.inputs(self.batches[-1], full=False)
        self.peaks[one.name] = runtimes.peak_bytes(partial(one.network, x))
        self._add_torch(one, one.network, "float32")

    def _prepare_int8(self, one: Subject) -> None:
        try:
            small = runtimes.as_int8(one.network)
        except InputError as error:
            self.missing.append(f"int8 of the {one.name} network in torch was not measured: {error}")
            return
        self.files[one.name]["torch, int8"] = runtimes.file_bytes(small)
        self._add_torch(one, small, "int8")

    def _add_torch(self, one: Subject, network: nn.Module, precision: str) -> None:
        mask = one.mask
        for batch in self.batches:
            self.runs["torch", precision, batch, one.name, False] = partial(network, one.inputs(batch, full=False))
            if mask is not None:
                x = one.inputs(batch, full=True)
                self.runs["torch", precision, batch, one.name, True] = _after_picking(network, mask, x)
        if self.split is not None:
            encode = None if mask is None else mask.apply
            score = evaluate(network, self.split, device="cpu", encode=encode).score
            self.scores.setdefault(one.name, {})[f"torch, {precision}"] = score

    def _prepare_onnx(self, one: Subject, picks: bool, int8: bool) -> None:
        network = one.picked(one.network) if picks else one.network
        named = f"the {one.name} network{' with the picking' if picks else ''}"
        path = self.folder / f"{one.name}-{picks}.onnx"
        try:
            runtimes.write_onnx(network, one.inputs(2, full=picks), path)
            self._add_onnx(one, path, picks, "float32")
        except InputError as error:
            self.missing.append(f"{named} was not measured in ONNX Runtime: {error}")
            return
        if not int8:
            return
        target = path.with_suffix(".int8.onnx")
        try:
            runtimes.quantise_onnx(path, target)
            self._add_onnx(one, target, picks, "int8")
        except InputError as error:
            self.missing.append(f"{named} was not measured as int8 in ONNX Runtime: {error}")

    def _add_onnx(self, one: Subject, path: Path, picks: bool, precision: str) -> None:
        session = runtimes.onnx_session(path, self.threads)
        x = one.inputs(self.batches[0], full=picks)
        network = one.picked(one.network) if picks else one.network
        runtimes.check_answers(session, network, x, exactly=precision == "float32")
        runs: dict[Key, Run] = {}
        for batch in self.batches:
            x = one.inputs(batch, full=picks)
            runs["onnxruntime", precision, batch, one.name, picks] = runtimes.onnx_run(session, x, one.n_outputs)
        self.runs |= runs
        if picks:
            return
        kind = "onnx" if precision == "float32" else "onnx, int8"
        self.files[one.name][kind] = path.stat().st_size
        if self.split is not None:
            inputs = to_floats(encoded(self.split, None if one.mask is None else one.mask.apply))
            logits = runtimes.onnx_logits(session, inputs)
            self.scores.setdefault(one.name, {})[f"onnxruntime, {precision}"] = _score(logits, self.split)


def _after_picking(network: nn.Module, mask: PixelMask, x: Tensor) -> Run:
    return lambda: network(mask.apply(x))


def _score(logits: Tensor, split: Split) -> float:
    if split.has_numbers:
        return NumberEvaluation.of(logits, split.labels).score
    return float((logits.argmax(1) == split.labels).double().mean())


def _shape_and_split(data: Dataset | Split | Sequence[int]) -> tuple[tuple[int, ...], Split | None]:
    if isinstance(data, Dataset):
        return data.shape, data.validation if len(data.validation) else None
    if isinstance(data, Split):
        return data.shape, data if len(data) else None
    return tuple(int(side) for side in data), None


def _said(key: Key) -> str:
    runtime, precision, batch, network, picks = key
    name = {"torch": "torch", "onnxruntime": "ONNX Runtime"}[runtime]
    return f"{name}, {precision}, batch {batch:,}: {network}{' with the picking' if picks else ''}"


def _versions() -> dict[str, str]:
    names = ("torch",) if runtimes.without_onnx() else ("torch", "onnxruntime")
    return {name: version(name) for name in names}
