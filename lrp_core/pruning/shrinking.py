"""The smaller network that is left when units go: both layers beside them really shrink.

The result is an ordinary network of the same class with smaller layers; `widths` on it says how wide they are, so that
a file can tell how to build it again.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, UnsupportedLayer
from .coupling import CONVOLVING, DENSE, SCALING, couple
from .units import STAYS, Coupled, Coupling

Widths = dict[str, tuple[int, int | None]]
"""For the name of each layer that has shrunk its outputs and inputs; None for a layer without inputs of its own, and
for inputs of the network, which a mask counts."""

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def shrink(
    network: nn.Module, coupling: Coupling, removed: Tensor, *, means: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """`network` without its `removed` units, bool [n_units] of its `coupling`: a copy, in the mode that it is in.

    It computes what `network` does where what reads a removed unit reads 0 instead, up to rounding. With `means`, by
    the name of each layer what it reads on average [inputs], a removed unit counts as its mean in dense layers and
    convolutions that have a bias, but not in grouped or transposed ones; zeros that a convolution sets around what it
    reads count as the mean, too. Raises `InputError` if an input is to go, which `prune_inputs` is for, or all outputs
    of a layer.
    """
    if bool(removed[coupling.is_input].any()):
        raise InputError("inputs go by a mask (prune_inputs), and hidden units by their number here")
    twin = copy.deepcopy(network)
    made: dict[Tensor, nn.Parameter] = {}
    gone = torch.cat([removed, torch.zeros(1, dtype=torch.bool)])
    for layer in coupling.layers:
        rows = (~gone[layer.rows]).nonzero().flatten()
        columns = None if layer.columns is None else (~gone[layer.columns]).nonzero().flatten()
        if len(rows) == len(layer.rows) and (columns is None or len(columns) == len(_columns(layer))):
            continue
        if not len(rows) or (columns is not None and not len(columns)):
            raise InputError(f"layer {layer.name!r} would have no outputs or inputs left: keep one at least")
        module = twin.get_submodule(layer.name)
        if means is not None and columns is not None and not layer.follows:
            _absorb(module, layer, gone, means.get(layer.name))
        cut(module, layer, rows, columns, made)
    vars(twin)["widths"] = widths_of(network) | widths_without(coupling, removed)
    return twin


def widths_of(network: nn.Module) -> Widths:
    """How wide the layers of a network are whose units have been removed; empty for any other one."""
    widths = vars(network).get("widths")
    return dict(widths) if isinstance(widths, dict) else {}


def resize(network: nn.Module, widths: Widths) -> nn.Module:
    """A copy of a full network with layers as wide as `widths` say, for the weights of a smaller one to go into.

    Raises `InputError` for a layer that it does not have, or that is not wider.
    """
    twin = copy.deepcopy(network)
    made: dict[Tensor, nn.Parameter] = {}
    modules = dict(twin.named_modules(remove_duplicate=False))
    for name, (rows, columns) in widths.items():
        module = modules.get(name)
        if not isinstance(module, (*DENSE, *CONVOLVING, *SCALING)):
            raise InputError(f"the network has no layer {name!r} that can be cut")
        layer = _plain(name, module)
        n_columns = None if layer.columns is None else len(layer.columns)
        wanted = n_columns if columns is None else columns
        if not 0 < rows <= len(layer.rows) or (n_columns is not None and not 0 < (wanted or 0) <= n_columns):
            raise InputError(f"layer {name!r} cannot have {rows} outputs and {columns} inputs")
        if layer.follows and rows * (n_columns or 0) != len(layer.rows) * (wanted or 0):
            raise InputError(f"layer {name!r} has outputs of its own for each input: {rows} of {wanted} are not even")
        rest = None if wanted is None else _evenly(layer, len(_columns(layer)), wanted)
        cut(module, layer, _evenly(layer, len(layer.rows), rows), rest, made)
    if widths:
        vars(twin)["widths"] = dict(widths)
    return twin


def _evenly(layer: Coupled, width: int, wanted: int) -> Tensor:
    """The first places of a layer that is so wide, as many in each of its groups."""
    groups = 1 if layer.follows else layer.groups
    if wanted % groups:
        raise InputError(f"layer {layer.name!r} has {groups} groups, which cannot share {wanted} channels")
    return (torch.arange(groups)[:, None] * (width // groups) + torch.arange(wanted // groups)).flatten()


def _plain(name: str, module: Any) -> Coupled:
    """A layer by itself, as wide as it is."""
    if isinstance(module, nn.Linear):
        return Coupled(name, torch.arange(module.out_features), torch.arange(module.in_features))
    if isinstance(module, CONVOLVING):
        rows, columns = torch.arange(module.out_channels), torch.arange(module.in_channels)
        return Coupled(
            name,
            rows,
            columns,
            groups=module.groups,
            follows=1 < module.groups == module.in_channels,
            is_convolution=True,
            is_transposed=isinstance(module, TRANSPOSED),
        )
    n = module.num_parameters if isinstance(module, nn.PReLU) else module.num_features
    return Coupled(name, torch.arange(n), None)


def cut(module: Any, layer: Coupled, rows: Tensor, columns: Tensor | None, made: dict[Tensor, nn.Parameter]) -> None:
    """Leave a layer these of its outputs [rows] and inputs [columns], in place; `made` knows parameters cut before."""

    def taken(parameter: Any, *axes: Tensor | None) -> Any:
        if parameter is None:
            return None
        if parameter not in made:
            small = parameter.detach()
            for axis, kept in enumerate(axes):
                small = small if kept is None else small.index_select(axis, kept.to(small.device))
            made[parameter] = nn.Parameter(small.contiguous(), requires_grad=parameter.requires_grad)
        return made[parameter]

    if isinstance(module, nn.PReLU):
        module.weight, module.num_parameters = taken(module.weight, rows), len(rows)
        return
    if isinstance(module, SCALING):
        module.weight, module.bias = taken(module.weight, rows), taken(module.bias, rows)
        for name in ("running_mean", "running_var"):
            buffer = getattr(module, name)
            if buffer is not None:
                setattr(module, name, buffer[rows.to(buffer.device)].clone())
        module.num_features = len(rows)
        return
    assert columns is not None, "dense layers and convolutions read"
    if isinstance(module, nn.Linear):
        module.weight = taken(module.weight, rows, columns)
        module.in_features, module.out_features = len(columns), len(rows)
    else:
        module.weight = taken(module.weight, *_axes(layer, rows, columns))
        module.groups = len(columns) if layer.follows else module.groups
        module.in_channels, module.out_channels = len(columns), len(rows)
    module.bias = taken(module.bias, rows)


def _axes(layer: Coupled, rows: Tensor, columns: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Which places of a convolution's weight are left, along its first two axes."""
    transposed = layer.is_transposed
    if layer.follows:
        return (columns if transposed else rows), None
    if layer.groups > 1:  # the second axis is that of one group
        if transposed:
            return columns, rows[rows < len(layer.rows) // layer.groups]
        return rows, columns[columns < len(_columns(layer)) // layer.groups]
    return (columns, rows) if transposed else (rows, columns)


@torch.no_grad()
def _absorb(module: Any, layer: Coupled, gone: Tensor, mean: Tensor | None) -> None:
    """Add to a layer's bias what the removed units give on average."""
    lost = gone[_columns(layer)].nonzero().flatten()
    if mean is None or module.bias is None or not len(lost) or layer.groups > 1 or layer.is_transposed:
        return  # what a place gets of a transposed kernel differs from place to place
    weight = module.weight.detach().double()
    shift = (weight.flatten(2).sum(2) if weight.ndim > 2 else weight)[:, lost] @ mean.double()[lost].to(weight.device)
    bias = module.bias.detach().double() + shift
    module.bias = nn.Parameter(bias.to(module.bias.dtype), requires_grad=module.bias.requires_grad)


def _columns(layer: Coupled) -> Tensor:
    assert layer.columns is not None, "only layers that scale have none"
    return layer.columns


def widths_without(coupling: Coupling, removed: Tensor) -> Widths:
    """How wide layers are that shrink when units are removed, bool [n_units]; the network's inputs do not count."""
    is_input = torch.cat([coupling.is_input, torch.zeros(1, dtype=torch.bool)])
    gone = torch.cat([removed, torch.zeros(1, dtype=torch.bool)]) & ~is_input
    widths: Widths = {}
    for layer in coupling.layers:
        rows = int((~gone[layer.rows]).sum())
        columns = None if layer.columns is None else int((~gone[layer.columns]).sum())
        if layer.columns is not None and bool(is_input[layer.columns].all()):
            columns = None
        if rows < len(layer.rows) or (columns is not None and columns < len(_columns(layer))):
            widths[layer.name] = (rows, columns)
    return widths


def silenced(network: nn.Module, coupling: Coupling, removed: Tensor) -> nn.Module:
    """A copy of `network`, as wide as before, in which what reads `removed` units reads 0: what `shrink` computes."""
    twin = copy.deepcopy(network)
    gone = torch.cat([removed, torch.zeros(1, dtype=torch.bool)])
    done: set[int] = set()
    with torch.no_grad():
        for layer in coupling.layers:
            if layer.columns is None or layer.follows:
                continue
            module: Any = twin.get_submodule(layer.name)
            if id(module.weight) in done:
                continue
            done.add(id(module.weight))
            reads = gone[layer.columns]
            if layer.groups > 1:
                reads = reads[: len(reads) // layer.groups]
            if layer.is_transposed:
                module.weight[gone[layer.columns]] = 0
            else:
                module.weight[:, reads] = 0
    return twin


def couple_checked(network: nn.Module, shape: tuple[int, ...], *, groups: Tensor | None = None) -> Coupling:
    """`couple`, and units of each family taken out of hidden layers to see that the network then runs and agrees.

    Layers of families for which it does not are fixed, and say why; all of them, if only removals together fail.
    """
    coupling = couple(network, shape, groups=groups)
    stuck = torch.zeros(coupling.n_units, dtype=torch.bool)
    fixed = dict(coupling.fixed)
    x = _probe(network, shape)
    free = [family.units for family in coupling.families if not family.inputs and len(family.units) > 1]
    alone = [(units, tried) for units in free for tried in (units[:1], _but_the_middle(units))]
    for units, tried in (*alone, (torch.cat(free), None)) if free else ():
        removed = torch.zeros(coupling.n_units, dtype=torch.bool)
        removed[torch.cat([_but_the_middle(some) for some in free]) if tried is None else tried] = True
        removed &= ~stuck
        why = _refusal(network, coupling, removed, x) if bool(removed.any()) else ""
        if why:
            stuck[units] = True
            fixed |= dict.fromkeys(_names(coupling, removed), why)
    return _without_stuck(replace(coupling, fixed=fixed), stuck)


def _but_the_middle(units: Tensor) -> Tensor:
    """All units but one, so that what counts from either end is noticed."""
    return torch.cat([units[: len(units) // 2], units[len(units) // 2 + 1 :]])


def _probe(network: nn.Module, shape: tuple[int, ...]) -> Tensor:
    first = next(network.parameters(), torch.zeros(()))
    return torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)).to(first)


@torch.no_grad()
def _refusal(network: nn.Module, coupling: Coupling, removed: Tensor, x: Tensor) -> str:
    """Why these units cannot go, empty if they can."""
    expected = silenced(network, coupling, removed).eval()(x.clone())
    try:
        actual = shrink(network, coupling, removed).eval()(x.clone())
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        return f"its width stands elsewhere in the network ({str(error).splitlines()[0]})"
    close = 1e3 * torch.finfo(expected.dtype).eps * max(1.0, float(expected.abs().max()))
    if actual.shape != expected.shape or not torch.allclose(actual, expected, rtol=1e-3, atol=close):
        return "the network does something with its width that cannot be followed"
    return ""


def _names(coupling: Coupling, removed: Tensor) -> list[str]:
    """The layers that these units are outputs of, or if there are none, whose inputs they are."""
    gone = torch.cat([removed, torch.zeros(1, dtype=torch.bool)])
    giving = [layer.name for layer in coupling.layers if bool(gone[layer.rows].any())]
    return giving or [
        layer.name for layer in coupling.layers if layer.columns is not None and bool(gone[layer.columns].any())
    ]


def _without_stuck(coupling: Coupling, stuck: Tensor) -> Coupling:
    """The coupling in which stuck units are none, the others numbered in their order."""
    if not bool(stuck.any()):
        return coupling
    number = torch.full((coupling.n_units + 1,), STAYS)
    number[:-1][~stuck] = torch.arange(int((~stuck).sum()))
    layers = tuple(
        replace(layer, rows=number[layer.rows], columns=None if layer.columns is None else number[layer.columns])
        for layer in coupling.layers
    )
    return replace(coupling, n_units=int((~stuck).sum()), inputs=number[coupling.inputs], layers=layers)


def check_shrinkable(network: nn.Module, coupling: Coupling) -> None:
    """Raise `UnsupportedLayer` by the name of a layer if there is no hidden unit that can go."""
    if bool((~coupling.is_input).any()):
        return
    name, why = next(iter(coupling.fixed.items()), ("", ""))
    reason = f"layer {name!r} keeps its width, as {why}" if name else "it has no hidden layer"
    raise UnsupportedLayer(f"{type(network).__name__} has no hidden unit that can be removed: {reason}")
