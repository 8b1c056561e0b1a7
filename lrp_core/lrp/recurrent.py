"""LSTM, GRU and plain recurrent layers: all steps of all layers and directions as one operation.

Gates are constants and the signals take all relevance (Arras et al. 2017, sec. 3.1; 2019, sec. 11.3.2); every sum in a
cell, that of a product with weights as well as that of c_t = f c_(t-1) + i g, shares out by LRP-0 or LRP-epsilon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .operations import Back
from .relevance import Relevance, stabilise
from .ruled import DEFAULTS, OperationKind, Ruled, epsilon_of
from .rules import Rule


class Cell(NamedTuple):
    """The weights of one layer in one direction; `projection` is that of an LSTM with a projected output."""

    of_input: Tensor
    of_state: Tensor
    input_bias: Tensor | None
    state_bias: Tensor | None
    projection: Tensor | None = None


CellBack = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Relevance at h_t and c_t -> a factor of relevance at x_t, and relevance at h_(t-1) and c_(t-1)."""

Step = Callable[[Cell, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor, CellBack]]
"""(weights, x_t, h_(t-1), c_(t-1), eps) -> h_t, c_t and the way back."""


def share(r: Tensor, z: Tensor, eps: float) -> Tensor:
    """R / (z + eps sign z), and 0 where that is 0 / 0."""
    return r / stabilise(z, eps) if eps else (r / z).masked_fill_(z == 0, 0)


def lstm_step(w: Cell, x: Tensor, h: Tensor, c: Tensor, eps: float) -> tuple[Tensor, Tensor, CellBack]:
    """torch.nn.LSTM's cell."""
    z = F.linear(x, w.of_input, w.input_bias) + F.linear(h, w.of_state, w.state_bias)
    i, f, g, o = z.chunk(4, -1)
    kept, new = f.sigmoid() * c, i.sigmoid() * g.tanh()
    cell = kept + new
    raw = o.sigmoid() * cell.tanh()
    hidden = raw if w.projection is None else F.linear(raw, w.projection)
    rows = slice(2 * g.shape[-1], 3 * g.shape[-1])

    def back(r_h: Tensor, r_c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if w.projection is not None:
            r_h = raw * (share(r_h, hidden, eps) @ w.projection)
        s = share(r_c + r_h, cell, eps)
        s_g = share(new * s, g, eps)
        return s_g @ w.of_input[rows], h * (s_g @ w.of_state[rows]), kept * s

    return hidden, cell, back


def gru_step(w: Cell, x: Tensor, h: Tensor, c: Tensor, eps: float) -> tuple[Tensor, Tensor, CellBack]:
    """torch.nn.GRU's cell; it has no cell state, so `c` stays as it is."""
    (r_x, z_x, n_x), (r_h, z_h, n_h) = (
        F.linear(x, w.of_input, w.input_bias).chunk(3, -1),
        F.linear(h, w.of_state, w.state_bias).chunk(3, -1),
    )
    reset, update = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
    n = n_x + reset * n_h
    kept, new = update * h, (1 - update) * n.tanh()
    hidden = kept + new
    rows = slice(2 * n.shape[-1], 3 * n.shape[-1])

    def back(r_hidden: Tensor, r_c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s = share(r_hidden, hidden, eps)
        s_n = share(new * s, n, eps)
        return s_n @ w.of_input[rows], kept * s + h * ((reset * s_n) @ w.of_state[rows]), r_c

    return hidden, c, back


def _plain_step(activation: Callable[[Tensor], Tensor]) -> Step:
    def step(w: Cell, x: Tensor, h: Tensor, c: Tensor, eps: float) -> tuple[Tensor, Tensor, CellBack]:
        z = F.linear(x, w.of_input, w.input_bias) + F.linear(h, w.of_state, w.state_bias)

        def back(r_hidden: Tensor, r_c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            s = share(r_hidden, z, eps)
            return s @ w.of_input, h * (s @ w.of_state), r_c

        return activation(z), c, back

    return step


STEPS: dict[str, Step] = {
    "LSTM": lstm_step,
    "GRU": gru_step,
    "RNN_TANH": _plain_step(torch.tanh),
    "RNN_RELU": _plain_step(torch.relu),
}


@dataclass(frozen=True, eq=False)
class Recurrent(Ruled):
    """A recurrent layer over sequences [n, time, values] from states of zero.

    Its output lies side by side, [n, places]: all outputs, time by time; the last h of every layer and direction; for
    an LSTM the last c of each. `parts` takes it apart. `cells` holds the directions of each layer.
    """

    kind: ClassVar[OperationKind] = "recurrent"

    mode: str
    cells: tuple[tuple[Cell, ...], ...]
    rule: Rule = DEFAULTS["recurrent"]

    @property
    def hidden(self) -> int:
        """How many values the cell state has."""
        return self.cells[0][0].of_input.shape[0] // {"LSTM": 4, "GRU": 3}.get(self.mode, 1)

    @property
    def width(self) -> int:
        """How many values h has: those of the state, or of their projection."""
        return self.cells[0][0].of_state.shape[1]

    def run(self, *inputs: Tensor) -> tuple[Tensor, Back]:
        (x,) = inputs
        a, last_h, last_c, layers = x, [], [], []
        for directions in self.cells:
            outputs = []
            for backwards, cell in enumerate(directions):
                hs, c, backs = self._sequence(cell, a.flip(1) if backwards else a)
                outputs.append(hs.flip(1) if backwards else hs)
                last_h.append(hs[:, -1])
                last_c.append(c)
                layers.append((a, backs))
            a = torch.cat(outputs, -1)
        ends = [*last_h, *(last_c if self.mode == "LSTM" else [])]
        return torch.cat([a.flatten(1), *ends], 1), lambda r: [self._back(x, r.dense(), layers)]

    def parts(self, packed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs [n, time, values], last h and last c [n, layers x directions, values], of the packed output."""
        n, directions = sum(map(len, self.cells)), len(self.cells[0])
        ends = [n * self.width, n * self.hidden if self.mode == "LSTM" else 0]
        outputs, h, c = torch.split(packed, [packed.shape[1] - sum(ends), *ends], 1)
        return (
            outputs.reshape(len(packed), -1, directions * self.width),
            h.reshape(len(packed), n, self.width),
            c.reshape(len(c), n if c.shape[1] else 0, self.hidden),
        )

    def gives_product(self, arriving: bool) -> bool:
        return True

    def _sequence(self, cell: Cell, x: Tensor) -> tuple[Tensor, Tensor, list[CellBack]]:
        """h of every time [n, time, values], the last c, and every time's way back."""
        h, c = x.new_zeros(len(x), self.width), x.new_zeros(len(x), self.hidden)
        hs, backs = [], []
        for x_t in x.unbind(1):
            h, c, back = STEPS[self.mode](cell, x_t, h, c, epsilon_of(self.rule))
            hs.append(h)
            backs.append(back)
        return torch.stack(hs, 1), c, backs

    def _back(self, x: Tensor, r: Tensor, layers: list[tuple[Tensor, list[CellBack]]]) -> Relevance:
        r_out, r_h, r_c = self.parts(r)
        for number in reversed(range(len(self.cells))):
            directions = len(self.cells[number])
            factors = []
            for backwards in range(directions):
                place = number * directions + backwards
                a, backs = layers[place]
                arriving = r_out[..., backwards * self.width : (backwards + 1) * self.width]
                end_c = r_c[:, place] if r_c.shape[1] else r.new_zeros(len(r), self.hidden)
                factor = self._through_time(arriving.flip(1) if backwards else arriving, r_h[:, place], end_c, backs)
                factors.append(factor.flip(1) if backwards else factor)
            factor = sum(factors[1:], factors[0])
            r_out = a * factor
        return Relevance.product(x, factor)

    def _through_time(self, r: Tensor, r_h: Tensor, r_c: Tensor, backs: Sequence[CellBack]) -> Tensor:
        """The factors of relevance at the inputs of every time, for relevance at every h and at the last h and c."""
        factors = []
        for t in reversed(range(len(backs))):
            factor, r_h, r_c = backs[t](r[:, t] + r_h, r_c)
            factors.append(factor)
        return torch.stack(factors[::-1], 1)
