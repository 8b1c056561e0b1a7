"""One search for a better set of inputs: relevance proposes, images that no proposal looks at judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Search:
    """How a set is improved in rounds.

    Each of at most `rounds` rounds makes `swaps` swaps. It counts if the judge's loss falls; if not, it is undone and
    the next one makes half as many, `least_swaps` at the least. It ends with no swaps left, or after `patience` rounds
    that were undone one after the other (None: never).
    """

    rounds: int
    swaps: int
    least_swaps: int = 0
    patience: int | None = None

    def improve(
        self,
        start: list[int],
        loss: float,
        step: Callable[[list[int], int], list[int]],
        judge: Callable[[list[int]], float],
        on_round: Callable[[int, float], None] | None,
    ) -> list[int]:
        """The best set found from `start`, whose loss is known: `step(set, swaps)` proposes, `judge(set)` decides."""
        best, swaps, undone = start, self.swaps, 0
        for number in range(1, self.rounds + 1):
            proposed = step(best, swaps)
            after = loss if set(proposed) == set(best) else judge(proposed)
            if after < loss:
                best, loss, undone = proposed, after, 0
            else:
                swaps, undone = max(self.least_swaps, swaps // 2), undone + 1
            if on_round:
                on_round(number, loss)
            if swaps == 0 or undone == self.patience:
                break
        return best
