"""Which weights of a network go together when a hidden unit, a filter or an input goes: its coupled channels.

Labels are carried through the steps that the network's explanation has. A layer's outputs get labels of their own,
its inputs the labels of what it reads; where values are added, multiplied, concatenated, pooled or moved, their labels
are, too. All that bears one label goes or stays as one: a *unit*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import InputError
from ..lrp.affine import Affine, Convolution, Dense, Scale
from ..lrp.attention import Product, Softmax
from ..lrp.gates import Gate, GatedHalves, Quotient
from ..lrp.normalisation import Normalisation
from ..lrp.operations import (
    Activation,
    Average,
    Concatenation,
    Extreme,
    Identity,
    MaxPool,
    Multiple,
    Operation,
    Rearrangement,
    Rectifier,
    Sum,
)
from ..lrp.reading.graph import trace
from ..lrp.reading.registry import registered
from ..lrp.reading.tracer import NeedsExample
from ..lrp.steps import Step
from .labels import FIXED, NOTHING, Labels, broadcast
from .sequences import runs_as
from .units import STAYS, Coupled, Coupling

DENSE = (nn.Linear,)
CONVOLVING = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
SCALING = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.PReLU)
MIXING: dict[type[Operation], str] = {
    Normalisation: "divides each channel by what it computes of all of them",
    Quotient: "divides by it, or it by others",
    Multiple: "multiplies it by numbers that are no layer's weights",
    Sum: "adds numbers to it that are no layer's weights",
    Product: "multiplies it with other values of the network",
    Softmax: "divides each channel by the sum over all of them",
}
"""What operations do with what they read, as a reason for why that has to stay."""


def couple(network: nn.Module, shape: Sequence[int], *, groups: Tensor | None = None) -> Coupling:
    """The units of `network` on inputs of `shape`; inputs of one of the `groups` [n_inputs], numbers, are one unit.

    The network is only read. What it does not let go, such as the width of a layer whose size stands in `forward`, or
    weights that a function uses, is no unit; `fixed` says why. Raises `UnsupportedLayer` for a network that cannot be
    read, or that has hooks, `InputError` for inputs that it does not take.
    """
    shape = tuple(shape)
    walk = _Walk(network, shape, groups)
    walk.run()
    return walk.coupling()


class _Walk:
    """Two alike images on their way through the steps, and the labels of their values."""

    def __init__(self, network: nn.Module, shape: tuple[int, ...], groups: Tensor | None) -> None:
        self.network, self.shape = network, shape
        self.modules = dict(network.named_modules(remove_duplicate=False))
        self.labels = Labels()
        n = torch.Size(shape).numel()
        self.inputs = self.labels.fresh(n)
        if groups is not None:
            self.labels.join(self.inputs, self.inputs[_first_of(groups)][groups])
        self.layers: dict[str, Coupled] = {}
        self.fixed: dict[str, str] = {}
        self.of_weights: dict[int, str] = {}

    @torch.no_grad()
    def run(self) -> None:
        first = next(self.network.parameters(), torch.zeros(()))
        random = torch.Generator().manual_seed(0)
        x = torch.rand(1, *self.shape, generator=random).to(first).expand(2, *self.shape).contiguous()
        try:
            steps = trace(self.network)
        except NeedsExample:
            steps = trace(self.network, x)
        values, labels = [x], [self.inputs.view(1, *self.shape).expand(2, *self.shape)]
        for step in steps:
            read = [values[source + 1] for source in step.sources]
            try:
                z = step.operation(*read) if isinstance(step.operation, Affine) else step.operation.run(*read)[0]
            except (RuntimeError, IndexError) as error:
                raise InputError(
                    f"{type(self.network).__name__} does not take inputs of shape {self.shape}: "
                    f"{str(error).splitlines()[0]}"
                ) from error
            values.append(z)
            labels.append(self.step(step, [labels[source + 1] for source in step.sources], read, z))
        self._settle()
        self.labels.fix(labels[-1])

    def _settle(self) -> None:
        """Fix what could only go as a whole, and say of all that stays why."""
        inputs, stays = self.labels.of(self.inputs), torch.tensor([FIXED])
        for layer in self.layers.values():
            rows = torch.unique(self.labels.of(layer.rows))
            if len(layer.rows) > 1 and len(rows) == 1 and not bool(torch.isin(rows, torch.cat([inputs, stays])).any()):
                self._fix("its outputs can only go all at once", rows)
        for name in self._giving(stays):
            self.fixed.setdefault(name, "its outputs go together with others that have to stay")

    def step(self, step: Step, read: list[Tensor], values: list[Tensor], z: Tensor) -> Tensor:
        """The labels of a step's output, [2, ...] like `z`."""
        match step.operation:
            case Affine():
                return self._layer(step, read[0], values[0], z)
            case Activation() | Rectifier() | Identity():
                return self._scaling(step, read[0]) if self._is_prelu(step) else read[0]
            case Multiple(constant=constant) if torch.as_tensor(constant).numel() == 1:
                return read[0]
            case Rearrangement(function=function):
                return self._moved(read[0], function(read[0].double()).round().long())
            case MaxPool(function=largest):
                return self.labels.pooled(lambda a: largest(a)[0], read[0], largest=True)
            case Average(function=mean):
                return self.labels.pooled(mean, read[0], largest=False)
            case Sum(constant=constant) if torch.as_tensor(constant).numel() == 1:
                return self._joined(read)
            case Extreme():
                return self._joined(read)
            case Gate() if not isinstance(step.operation, Quotient):
                return self._joined(read)
            case GatedHalves(axis=axis):
                return self._joined(list(read[0].chunk(2, axis)))
            case Concatenation():
                operation = step.operation
                constants = tuple(None if c is None else torch.full_like(c, FIXED) for c in operation.constants)
                return replace(operation, constants=constants).run(*(r.double() for r in read))[0].round().long()
        does = [says for kind, says in MIXING.items() if isinstance(step.operation, kind)] or ["mixes its channels"]
        self._fix(f"its outputs are read by {step.name!r}, which {does[0]}", *read)
        return torch.full(z.shape, FIXED)

    def _moved(self, read: Tensor, moved: Tensor) -> Tensor:
        """Labels, moved as their values; what is made of several channels, as by a pixel shuffle, goes whole."""
        is_turned = any(self.labels.differ_along(moved, axis) for axis in range(1, moved.ndim))
        if moved.ndim == read.ndim > 2 and self.labels.differ_along(read, 1) and not is_turned:
            self.labels.along(moved, 1)
        return moved

    def _joined(self, read: list[Tensor]) -> Tensor:
        """Values that are computed place by place: where one is, the others are.

        One value that meets several units, as a map that all channels are multiplied by, stays.
        """
        wide = broadcast(*read)
        joined: list[Tensor] = []
        for narrow, labels in zip(read, wide, strict=True):
            lone = [1] * (labels.ndim - narrow.ndim) + list(narrow.shape)
            axes = [a for a, size in enumerate(lone) if size < labels.shape[a]]
            if any(self.labels.vary(other, axis) for other in wide if other is not labels for axis in axes):
                self._fix("its outputs are added to several others, or multiplied with them", narrow)
            else:
                joined.append(labels)
        for other in joined[1:]:
            self.labels.join(joined[0], other)
        return torch.stack(joined).amax(0)  # beside nothing stands something

    def _fix(self, why: str, *labels: Tensor) -> None:
        """These cannot be removed; the layers that give them keep their width for a reason."""
        for some in labels:
            for name in self._giving(some):
                self.fixed.setdefault(name, why)
            self.labels.fix(some)

    def _giving(self, labels: Tensor) -> list[str]:
        """The layers with weights that have any of these labels among their outputs."""
        some = torch.unique(self.labels.of(labels))
        return [
            name
            for name, layer in self.layers.items()
            if layer.columns is not None
            and len(layer.rows) > 1
            and bool(torch.isin(self.labels.of(layer.rows), some[some != NOTHING]).any())
        ]

    def _is_prelu(self, step: Step) -> bool:
        module = self.modules.get(step.name.partition("@")[0])
        return isinstance(module, nn.PReLU) and module.num_parameters > 1

    def _module(self, step: Step, kinds: tuple[type[nn.Module], ...]) -> nn.Module | None:
        """The torch layer that a step is, whose tensors can be cut; None for weights of another kind."""
        module = self.modules.get(step.name.partition("@")[0])
        own = next((kind for kind in kinds if isinstance(module, kind)), None)
        if module is None or own is None or not runs_as(module, own) or registered(module) is not None:
            return None
        return None if parametrize.is_parametrized(module) else module

    def _layer(self, step: Step, read: Tensor, value: Tensor, z: Tensor) -> Tensor:
        """The labels behind a layer with weights."""
        operation = step.operation
        if isinstance(operation, Scale):
            return self._scaling(step, read)
        assert isinstance(operation, Dense | Convolution)
        module = self._module(step, DENSE if isinstance(operation, Dense) else CONVOLVING)
        axis = -1 if isinstance(operation, Dense) else 1
        columns = self.labels.along(read, axis)
        if module is None:
            self._keep(step.name, columns)
            return torch.full(z.shape, FIXED)
        rows = self._rows(operation, columns)
        self._note(step.name, module, operation, rows, columns, value, z)
        shape = [1] * z.ndim
        shape[axis] = len(rows)
        return self.labels.of(rows).view(shape).expand(z.shape)

    def _keep(self, name: str, reads: Tensor) -> None:
        """A step whose weights nobody can cut, and what it reads."""
        self.fixed.setdefault(name.partition("@")[0], "its weights are not those of a layer of torch.nn")
        self._fix(f"its outputs are read by {name!r}, whose weights are not those of a layer of torch.nn", reads)

    def _rows(self, operation: Dense | Convolution, columns: Tensor) -> Tensor:
        """Labels of a layer's outputs, tied to its inputs where groups tie them."""
        rows = self.labels.fresh(operation.outputs)
        groups = operation.groups if isinstance(operation, Convolution) else 1
        if groups > 1:
            of_inputs, of_outputs = columns.view(groups, -1), rows.view(groups, -1)
            if bool((columns == NOTHING).any()):  # as behind channels of zeros, which cannot go with the others
                self._fix("its outputs are read by a grouped convolution beside zeros", columns)
                self.labels.fix(rows)
            if of_inputs.shape[1] == 1:  # each input is a group of its own
                self.labels.join(of_outputs, of_inputs)
            else:
                self.labels.join(of_inputs, of_inputs[:1])
                self.labels.join(of_outputs, of_outputs[:1])
        return rows

    def _scaling(self, step: Step, read: Tensor) -> Tensor:
        """The labels behind a batch-norm, or a PReLU with a slope for each channel: those before it."""
        channels = self.labels.along(read, 1)
        module = self._module(step, SCALING)
        if module is None:
            self._keep(step.name, channels)
            return torch.full(read.shape, FIXED)
        name = step.name.partition("@")[0]
        if name in self.layers:
            self.labels.join(self.layers[name].rows, channels)
        else:
            parameters, numbers = _for_each(module, len(channels))
            self.layers[name] = Coupled(name, channels, None, row_parameters=parameters, row_numbers=numbers)
            self._share(name, module)
        return self.labels.of(read)

    def _note(
        self,
        called: str,
        module: nn.Module,
        operation: Dense | Convolution,
        rows: Tensor,
        columns: Tensor,
        value: Tensor,
        z: Tensor,
    ) -> None:
        """Remember a layer; one that is used again has the outputs and inputs of its first use."""
        name = called.partition("@")[0]
        if isinstance(operation, Dense):
            kernel, places, groups = 1, z[0].numel() // z.shape[-1], 1
        else:
            kernel = operation.weight[0, 0].numel()
            places = (value if operation.transposed else z)[0, 0].numel()
            groups = operation.groups
        if name in self.layers:
            before = self.layers[name]
            self.labels.join(before.rows, rows)
            if before.columns is not None:
                self.labels.join(before.columns, columns)
            self.layers[name] = replace(before, pair_macs=before.pair_macs + kernel * places)
            return
        parameters, numbers = _for_each(module, len(rows), beside="weight")
        self.layers[name] = Coupled(
            name,
            rows,
            columns,
            pair_macs=kernel * places,
            pair_parameters=kernel,
            pair_numbers=kernel,
            row_parameters=parameters,
            row_numbers=numbers,
            groups=groups,
            follows=groups > 1 and groups == len(columns),
            is_convolution=isinstance(operation, Convolution),
            is_transposed=isinstance(operation, Convolution) and operation.transposed,
        )
        self._share(name, module)

    def _share(self, name: str, module: nn.Module) -> None:
        """Join layers that hold the same parameters."""
        for parameter in module.parameters(recurse=False):
            other = self.of_weights.setdefault(id(parameter), name)
            if other == name:
                continue
            ours, theirs = self.layers[name], self.layers[other]
            if parameter.ndim > 1:
                ours = replace(ours, pair_parameters=0)
            else:
                ours = replace(ours, row_parameters=ours.row_parameters - parameter.numel() // len(ours.rows))
            self.layers[name] = ours
            if len(ours.rows) != len(theirs.rows) or (ours.columns is None) != (theirs.columns is None):
                self._fix(f"it shares its weights with {other!r}", ours.rows, theirs.rows)
                continue
            self.labels.join(ours.rows, theirs.rows)
            if ours.columns is not None and theirs.columns is not None:
                self.labels.join(ours.columns, theirs.columns)

    def coupling(self) -> Coupling:
        """The units, counted in the order in which they are met: inputs first."""
        ends = [self.inputs, *(part for layer in self.layers.values() for part in (layer.rows, layer.columns))]
        labels = [self.labels.of(part) if part is not None else None for part in ends]
        met = torch.unique(torch.cat([part for part in labels if part is not None]))
        met = met[(met != FIXED) & (met != NOTHING)]
        number = torch.full((int(met.max()) + 1 if len(met) else 2,), STAYS)
        number[met] = torch.arange(len(met))
        units = [None if part is None else _numbered(part, number) for part in labels]
        assert units[0] is not None
        layers = []
        for layer, rows, columns in zip(self.layers.values(), units[1::2], units[2::2], strict=True):
            assert rows is not None
            layers.append(replace(layer, rows=rows, columns=columns))
        return Coupling(len(met), units[0], tuple(layers), dict(self.fixed))


def _numbered(labels: Tensor, number: Tensor) -> Tensor:
    known = labels.clamp(max=len(number) - 1)
    return torch.where(labels < len(number), number[known], torch.tensor(STAYS))


def _first_of(groups: Tensor) -> Tensor:
    """The first input of each group [n_groups]."""
    n_groups = int(groups.max()) + 1
    return torch.full((n_groups,), len(groups)).scatter_reduce(0, groups, torch.arange(len(groups)), "amin")


def _for_each(module: nn.Module, rows: int, beside: str = "") -> tuple[int, int]:
    """Parameters, and numbers stored, for each output of a layer, beside its weight."""
    own = {name: p for name, p in module.named_parameters(recurse=False) if name != beside}
    stored = {name: t for name, t in module.named_buffers(recurse=False) if t.ndim}
    parameters = sum(p.numel() for p in own.values()) // rows
    return parameters, parameters + sum(t.numel() for t in stored.values()) // rows
