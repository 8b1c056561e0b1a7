"""How long calls take, measured in turns: the noise of a shared machine then hits all of them alike."""

from __future__ import annotations

import copy
import logging
import math
import os
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import InputError

Run = Callable[[], Any]
K = TypeVar("K", bound=Hashable)

SHORTEST = 0.002
"""Seconds of the shortest block of calls: below that the clock and the loop around the calls show."""

FEWEST_ROUNDS = 3
"""So many rounds are measured even when time is up: with fewer there is no spread."""


def block_seconds(run: Run, number: int, threads: int) -> float:
    """Seconds of one call, over `number` in a row after at least two that do not count (`torch.utils.benchmark`)."""
    timer = _timer_type()("run()", globals={"run": run}, num_threads=threads)
    with torch.inference_mode():
        return float(timer.timeit(number).median)


def take_turns(
    runs: Mapping[K, Run],
    *,
    rounds: int,
    threads: int,
    seconds: float,
    on_block: Callable[[K], None] | None = None,
) -> dict[K, tuple[float, ...]]:
    """Seconds of one call of each run, one number a round; all take turns in a round, every other one backwards.

    A block holds so many calls that all rounds take about `seconds`; once they are over, no round begins, though at
    least three are measured. `on_block` is called before each block, and ends the measurement by raising.
    """
    deadline = time.monotonic() + seconds
    number: dict[K, int] = {}
    share = seconds / (rounds * max(1, len(runs)))
    for key, run in runs.items():
        if on_block:
            on_block(key)
        one = max(block_seconds(run, 1, threads), 1e-9)
        number[key] = max(1, math.ceil(SHORTEST / one), math.floor(share / one) - 2)
    taken: dict[K, list[float]] = {key: [] for key in runs}
    for i in range(rounds):
        if i >= FEWEST_ROUNDS and time.monotonic() >= deadline:
            break
        for key in runs if i % 2 == 0 else reversed(list(runs)):
            if on_block:
                on_block(key)
            taken[key].append(block_seconds(runs[key], number[key], threads))
    return {key: tuple(each) for key, each in taken.items()}


def by_batch(runs: Mapping[K, Run], batch_of: Callable[[K], int]) -> list[dict[K, Run]]:
    """The runs of each batch size, smallest first: short calls then get their rounds before long ones begin."""
    return [
        {key: run for key, run in runs.items() if batch_of(key) == batch} for batch in sorted(set(map(batch_of, runs)))
    ]


def forward_milliseconds(network: nn.Module, example: Tensor, *, rounds: int = 7, threads: int = 1) -> float:
    """Milliseconds of one forward pass of `example` [n, ...], the median over `rounds` blocks of calls.

    The network runs as it is in evaluation mode, without gradients, on the example's device; a copy is measured. A
    block takes two milliseconds or one call, so that a small network is measured in a few hundredths of a second.
    Raises `InputError` for 0 rounds, for more threads than there are cores, and for inputs that it does not take.

    >>> import torch
    >>> from lrp_core.evaluation import forward_milliseconds
    >>> forward_milliseconds(torch.nn.Linear(20, 3), torch.rand(5, 20)) > 0
    True
    """
    check_how(rounds, threads)
    twin = copy.deepcopy(network).eval()
    try:
        one = block_seconds(lambda: twin(example), 1, threads)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{type(network).__name__} does not take a batch of shape {tuple(example.shape)}: {reason}"
        ) from error
    number = max(1, math.ceil(SHORTEST / max(one, 1e-9)))
    return 1000 * statistics.median(block_seconds(lambda: twin(example), number, threads) for _ in range(rounds))


def check_how(rounds: int, threads: int) -> None:
    """Raise `InputError` for a number of rounds or threads that nothing can be measured with."""
    if type(rounds) is not int or rounds < 1:
        raise InputError(f"a measurement takes a whole number of rounds, at least 1, not {rounds!r}")
    cores = os.cpu_count() or 1
    if type(threads) is not int or not 1 <= threads <= cores:
        raise InputError(f"threads is a whole number from 1 to {cores}, the cores of this machine, not {threads!r}")


def _timer_type() -> Any:
    # Its import looks for compilers, and warns where CUDA is installed and no GPU is there: nothing here needs one.
    log = logging.getLogger("torch.utils.cpp_extension")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        from torch.utils.benchmark import Timer
    finally:
        log.setLevel(before)
    return Timer
