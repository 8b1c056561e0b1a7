"""The engine: run the network forward once, remember every activation, walk the relevance back.

No autograd and no hooks: the model is read, never touched, and works the same whether its parameters
require gradients or not.
"""

from __future__ import annotations

import copy
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ..errors import InputError, NonFiniteRelevance, UnsupportedLayer, check_choice
from .affine import Affine, Convolution
from .composites import Composite, find_composite
from .conditions import Channels, Condition, channel_axis, conditions, step_named
from .contributions import absorbed, of_weights, propagate
from .explanation import Balance, Explanation
from .folding import fold_scales
from .given import as_inputs, as_start, as_target, is_finite, refusing_misfits
from .operations import Back, Operation
from .planning import prepare_rules, rectify_in_place, ruled_operations, simplify
from .reading.graph import Ending, trace_logits
from .reading.preparation import evaluated, tensors, versions
from .reading.tracer import NeedsExample
from .relevance import Relevance
from .ruled import kind_of
from .rules import Rule
from .starts import Start, Target, channel_relevance, start_relevance
from .steps import Step, leading_to, reading_the_input

CACHED_BYTES = 12 * 2**20
"""How large an activation may grow before a batch is taken in pieces: larger ones cost new pages of memory each."""

Visit: TypeAlias = Callable[[int, Relevance, Sequence[Relevance]], None]
"""Sees each step of the walk back: its number, the relevance at its output, and that at each of its inputs."""


_ANY: Mapping[int, Condition] = {}

READINGS = 8
"""For how many sizes of inputs a network whose reading depends on them is kept read."""


class Explainer:
    """A network and a composite, prepared once: modified weights are made here and not for every batch.

    Later changes of the model's parameters are not seen. A network whose `forward` works with the sizes of its values
    is read with the first batch of every size of inputs, or with `example`, a batch. Before the first explanation,
    its own logits are compared with those of the model. Raises `UnsupportedLayer` before anything is computed
    if the network holds an operation without a rule, or a layer for which the composite has none, and `InputError`
    for an unknown composite.

    >>> import torch
    >>> import lrp_core as lc
    >>> net = lc.build_model("mlp-300-100", shape=(20,), n_classes=3)
    >>> explanation = lc.Explainer(net, "lrp-0").explain(torch.rand(5, 20), 0)
    >>> explanation.relevance.shape
    torch.Size([5, 20])
    """

    def __init__(
        self,
        model: Any,
        composite: str | Composite = "epsilon-plus",
        *,
        example: Shaped[Tensor, "n *shape"] | None = None,
    ) -> None:
        self.composite = find_composite(composite)
        self._lock = threading.RLock()
        self._readings: dict[tuple[Any, ...], Explainer] = {}
        self._network: nn.Module | None = evaluated(model)
        self._versions = versions(self._network)
        self._checked = False
        self.steps: list[Step] = []
        self.rules: dict[int, Rule] = {}
        self.note = ""
        self.layer = ""
        self._whole: Explainer | None = None
        self._parts_of: dict[str, Explainer] = {}
        try:
            self._prepare(*trace_logits(self._network))
            self._by_size = False
        except NeedsExample:
            self._network, self._by_size = evaluated(model, frozen=True), True
        if self._by_size and example is not None:
            first = self._reading(as_inputs(example))
            self.steps, self.rules, self.note = first.steps, first.rules, first.note

    def _reading(self, inputs: Tensor) -> Explainer:
        """This explainer, or the one for inputs of this size, or the one that ends at a layer."""
        if self._whole is not None:
            return self._whole._reading(inputs)._up_to(self.layer)
        if not self._by_size:
            with self._lock:
                if not self._checked:
                    self._compare(inputs)
            return self
        key = (tuple(inputs.shape[1:]), inputs.dtype, str(inputs.device))
        with self._lock:
            if key not in self._readings:
                if len(self._readings) >= READINGS:
                    self._readings.pop(next(iter(self._readings)))
                self._readings[key] = self._read_with(inputs)
            return self._readings[key]

    def _read_with(self, inputs: Tensor) -> Explainer:
        """An explainer for inputs of one size."""
        if inputs.ndim < 2 or not len(inputs):
            raise InputError(
                f"this network is read with its first batch, which must hold an image, not shape {tuple(inputs.shape)}"
            )
        assert self._network is not None, "a network that is read by size is kept"
        reading = copy.copy(self)
        reading._by_size, reading._checked, reading._parts_of = False, False, {}
        reading._versions = versions(self._network)
        example = inputs[:2] if len(inputs) > 1 else inputs.expand(2, *inputs.shape[1:])
        network = copy.deepcopy(self._network, {id(t): t for t in tensors(self._network)})
        with refusing_misfits(inputs):
            reading._prepare(*trace_logits(network, example.detach().clone()))
        reading._compare(inputs)
        return reading

    @torch.no_grad()
    def _compare(self, inputs: Tensor) -> None:
        """Raise `UnsupportedLayer` if the steps do not compute on a few of the inputs what the model does."""
        if not len(inputs):
            return
        if self._network is None or versions(self._network) != self._versions:
            self._network, self._checked = None, True  # the model has changed since it was read
            return
        few, ours = self._forward_few(inputs)
        ours = ours if self._ending is None else self._ending.function(ours)
        theirs = self._network(few.clone())
        tolerance = 10 * math.sqrt(torch.finfo(ours.dtype).eps) * max(float(theirs.abs().max()), 1e-30)
        if ours.shape != theirs.shape or float((ours - theirs).abs().max()) > tolerance:
            raise UnsupportedLayer(
                f"{type(self._network).__name__} was not read as it is: its own output and that of the steps read off "
                "it differ; its forward does something that cannot be followed"
            )
        self._network, self._checked = None, True

    def _forward_few(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """A few of the inputs, beside a single one two made of it, and what the steps give for them."""
        few = inputs[-3:].detach()
        if len(few) == 1:
            made = torch.cat([few, few / 2 if few.is_floating_point() else few // 2, few * 0])
            with suppress(NonFiniteRelevance):  # as where a network divides by the sum of its inputs
                return made, self._forward(made)[0][-1]
        return few, self._forward(few)[0][-1]

    def _prepare(self, steps: list[Step], ending: Ending | None) -> None:
        """Modified weights, and all else that can be settled before any input is there."""
        self._ending = ending
        self.note = f"explained from the logits: {ending.says} at the end was taken off" if ending else ""
        steps = fold_scales(steps)
        steps = [
            replace(s, operation=s.operation.channels_last()) if isinstance(s.operation, Affine) else s for s in steps
        ]
        layers = {i: (s.name, s.operation) for i, s in enumerate(steps) if isinstance(s.operation, Affine)}
        first = reading_the_input(steps)
        reading = {place for place, i in enumerate(layers) if i in first}
        operations = [s.name for s in steps if kind_of(s.operation) is not None]
        rules = self.composite.rules_for(list(layers.values()), reading, operations)
        self.rules = dict(zip(layers, rules, strict=True))
        self._settle(ruled_operations(steps, self.composite))

    def _settle(self, steps: list[Step]) -> None:
        """What follows from steps under their rules."""
        self._plain = steps
        parts = prepare_rules(steps, self.rules)
        self.steps = rectify_in_place(steps, parts)
        self._parts = simplify(self.steps, parts)
        self._bytes_per_image: dict[tuple[int, ...], int] = {}
        self._images_last = any(isinstance(s.operation, Convolution) for s in steps)

    def starting_at(self, layer: str) -> Explainer:
        """An explainer of what one layer gives, not the network: relevance starts at its output.

        `layer` is a name among those of `Explanation.layers`. There, `target` is one of its channels (or units), None
        for the one with the largest sum; relevance starts with all values of the channel for the start "logit", and
        with ones for "one-hot". A start given as a tensor has the shape of the layer's output. Raises `InputError` for
        an unknown name, of a network that is read with its first batch only then.

        >>> import torch
        >>> import lrp_core as lc
        >>> net = lc.build_model("lenet-5", shape=(1, 28, 28), n_classes=10)
        >>> channel = lc.Explainer(net, "epsilon-plus").starting_at("features.3")
        >>> channel.relevance(torch.rand(2, 1, 28, 28), 5).shape
        torch.Size([2, 1, 28, 28])
        """
        twin = copy.copy(self)
        twin._whole, twin.layer, twin._parts_of = self, layer, {}
        if self.steps:
            part = self._up_to(layer)
            twin.steps, twin.rules, twin.note = part.steps, part.rules, ""
        return twin

    def _up_to(self, layer: str) -> Explainer:
        """This explainer without what comes after a layer."""
        with self._lock:
            if layer not in self._parts_of:
                part = copy.copy(self)
                part._checked, part._by_size, part._whole, part._network, part._parts_of = True, False, None, None, {}
                part.layer, part.note = layer, ""
                steps, place = leading_to(self._plain, step_named(self._plain, layer))
                part.rules = {place[i]: rule for i, rule in self.rules.items() if i in place}
                part._settle(steps)
                self._parts_of[layer] = part
            return self._parts_of[layer]

    def relevance(
        self,
        inputs: Shaped[Tensor, "n *shape"],
        target: Target | Literal["all"] = None,
        start: Start = "logit",
        *,
        channels: Channels | None = None,
    ) -> Float[Tensor, "n *rest"]:
        """Relevance of `inputs`, in their shape; intermediate relevance is not kept.

        For the target "all": of every class in turn, [n, classes, *shape], with one forward pass for all of them.
        `channels` maps names of layers to the channels that relevance may pass through there (concept relevance,
        Achtibat et al. 2023, eq. 5): all other relevance at the layer's output is set to zero. They are numbers along
        the second axis of the output, the last one of a dense layer, or a mask in its shape without the first axis.
        Raises `InputError`, and `NonFiniteRelevance` instead of returning NaN or infinity.
        """
        inputs, target, start = as_inputs(inputs), as_target(target), as_start(start)
        reading = self._reading(inputs)
        if reading is not self:
            return reading.relevance(inputs, target, start, channels=channels)
        chosen = conditions(self.steps, channels)
        pieces = [self._of_piece(*piece, chosen) for piece in self._pieces(inputs, target, start)]
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]

    def weight_relevance(
        self,
        inputs: Shaped[Tensor, "n *shape"],
        layer: str,
        target: Target = None,
        start: Start = "logit",
    ) -> Float[Tensor, "*weight"]:
        """Relevance of the weights of a layer, in their shape: R_jk = n_jk / d_k R_k under the layer's rule.

        It is summed over `inputs`, over the places that share a weight, and over all uses of the layer; a batch-norm
        that follows is folded into the weights. Its sum over the outputs k of a dense layer is the relevance of the
        layer's inputs, its sum over the inputs j what arrived at its outputs less what bias and epsilon absorbed.
        Raises `InputError` for a layer without weights or with a rule that shares out nothing by them, and
        `NonFiniteRelevance`.

        >>> import torch
        >>> import lrp_core as lc
        >>> net = lc.build_model("mlp-300-100", shape=(20,), n_classes=3)
        >>> lc.Explainer(net, "epsilon").weight_relevance(torch.rand(5, 20), "layers.0").shape
        torch.Size([300, 20])
        """
        inputs, target, start = as_inputs(inputs), as_target(target), as_start(start)
        reading = self._reading(inputs)
        if reading is not self:
            return reading.weight_relevance(inputs, layer, target, start)
        named = {i: self.steps[i].name for i in self.rules}
        uses = {i for i, name in named.items() if layer in (name, name.partition("@")[0])}
        if not uses:
            check_choice("layer with weights", layer, list(named.values()))
        pieces = [self._of_weights(uses, *piece) for piece in self._pieces(inputs, target, start)]
        return torch.stack(pieces).sum(0)

    def input_relevance(
        self, inputs: Shaped[Tensor, "n *shape"], target: Target = None, start: Start = "logit"
    ) -> dict[str, Tensor]:
        """Relevance at the inputs of every layer with weights, by its name: what the layer itself reads [n, ...].

        A second use of a layer has a name of its own, "name@2". Where others read the same values, the relevance of
        these is the sum over all of them. Raises `InputError` and `NonFiniteRelevance`.

        >>> import torch
        >>> import lrp_core as lc
        >>> net = lc.build_model("mlp-300-100", shape=(20,), n_classes=3)
        >>> {name: r.shape[1] for name, r in lc.Explainer(net, "lrp-0").input_relevance(torch.rand(5, 20)).items()}
        {'fc1': 20, 'fc2': 300, 'logits': 100}
        """
        inputs, target, start = as_inputs(inputs), as_target(target), as_start(start)
        reading = self._reading(inputs)
        if reading is not self:
            return reading.input_relevance(inputs, target, start)
        parts = [self._of_inputs(*piece) for piece in self._pieces(inputs, target, start)]
        return {self.steps[i].name: torch.cat([part[i] for part in parts]) for i in self.rules}

    def _of_inputs(self, inputs: Tensor, target: Any, start: Start) -> dict[int, Tensor]:
        values, backs = self._forward(inputs)
        read: dict[int, Tensor] = {}

        def note(i: int, arrived: Relevance, left: Sequence[Relevance]) -> None:
            if i in self.rules:
                read[i] = left[0].dense().clone(memory_format=torch.contiguous_format)

        self._relevance(backs, self._start(values[-1], target, start)[1], note)
        return read

    def _of_weights(self, uses: set[int], inputs: Tensor, target: Any, start: Start) -> Tensor:
        values, backs = self._forward(inputs)
        relevances: list[Tensor] = []

        def note(i: int, arrived: Relevance, left: Sequence[Relevance]) -> None:
            if i in uses:
                relevances.append(of_weights(self._parts[i], values[self.steps[i].sources[0] + 1], arrived))

        self._relevance(backs, self._start(values[-1], target, start)[1], note)
        total = torch.stack(relevances).sum(0)
        if not is_finite(total):
            raise NonFiniteRelevance(
                f"the relevance of the weights of {self.steps[min(uses)].name!r} became NaN or infinite: its "
                "denominators are too small; use a rule with a larger epsilon, or a wider number type"
            )
        return total.contiguous()

    def _pieces(self, inputs: Tensor, target: Any, start: Start) -> Iterable[tuple[Tensor, Any, Any]]:
        """Inputs few enough to be taken at once, with what is asked about them."""
        size = self._piece(inputs)
        if len(inputs) <= size:
            return [(inputs, target, start)]
        for name, value in (("target", target), ("start", start)):
            if isinstance(value, Tensor) and value.ndim and len(value) != len(inputs):
                raise InputError(f"there are {len(inputs)} images, and {name} has {len(value)} entries")
        return zip(_split(inputs, size), *(_split(value, size) for value in (target, start)), strict=False)

    def _of_piece(self, inputs: Tensor, target: Any, start: Start, chosen: Mapping[int, Condition]) -> Tensor:
        """Relevance of inputs few enough to be taken at once."""
        values, backs = self._forward(inputs)
        if isinstance(target, str):
            check_choice("target", target, ("all",))
            starts = [self._start(values[-1], k, start)[1] for k in range(self._n_targets(values[-1]))]
            return torch.stack([self._relevance(backs, r, chosen=chosen) for r in starts], dim=1)
        return self._relevance(backs, self._start(values[-1], target, start)[1], chosen=chosen)

    def _start(self, output: Tensor, target: Any, start: Start) -> tuple[Tensor, Relevance]:
        """What is explained, and the relevance of every output."""
        if not self.layer or isinstance(start, Tensor):
            return start_relevance(output, target, start)
        return channel_relevance(output, channel_axis(self.steps[-1]), target, start)

    def _n_targets(self, output: Tensor) -> int:
        if self.layer:
            return output.shape[channel_axis(self.steps[-1])]
        if output.ndim != 2:
            raise InputError(f"the network returns shape {tuple(output.shape)}, not logits [n, classes]")
        return output.shape[1]

    def explain(
        self,
        inputs: Shaped[Tensor, "n *shape"],
        target: Target = None,
        start: Start = "logit",
        *,
        channels: Channels | None = None,
    ) -> Explanation:
        """Relevance of `inputs` and of every layer, with the balance of what arrived and left.

        `channels` as for `relevance`; what is not chosen is zero in `layers`, and stands in the balance.
        Raises `InputError`, and `NonFiniteRelevance` instead of returning NaN or infinity.
        """
        inputs, target, start = as_inputs(inputs), as_target(target), as_start(start)
        reading = self._reading(inputs)
        if reading is not self:
            return reading.explain(inputs, target, start, channels=channels)
        chosen = conditions(self.steps, channels)
        values, backs = self._forward(inputs)
        explained, r = self._start(values[-1], target, start)
        layers: dict[str, Tensor] = {}
        balance: list[Balance] = []

        def note(i: int, arrived: Relevance, left: Sequence[Relevance]) -> None:
            if i in chosen:
                passed = chosen[i].of(arrived)
                balance.append(_kept(self.steps[i].name, "channels", *_sums(len(inputs), arrived, [passed])))
                arrived = passed
            layers[self.steps[i].name] = arrived.dense().clone(memory_format=torch.contiguous_format)
            entry = self._balance(i, values, arrived, left)
            if entry is not None:
                balance.append(entry)

        relevance = self._relevance(backs, r, note, chosen)
        return Explanation(
            relevance, dict(reversed(layers.items())), explained, values[-1].clone(), balance[::-1], self.note
        )

    @torch.no_grad()
    def _forward(self, inputs: Tensor) -> tuple[list[Tensor], list[Back]]:
        """The network's input and after it the output of every step; and every step's way back."""
        x = inputs.detach()
        if self._images_last and x.ndim == 4:
            x = x.clone(memory_format=torch.channels_last)
        values, backs = [x], []
        for i, step in enumerate(self.steps):
            read = [values[source + 1] for source in step.sources]
            try:
                z, back = self._run(i, step.operation, read)
            except (RuntimeError, IndexError) as error:
                if not inputs.is_floating_point():
                    raise InputError(
                        f"inputs must be floating point (pixels / 255), not {inputs.dtype}: only an embedding takes "
                        "whole numbers"
                    ) from error
                raise InputError(
                    f"inputs of shape {tuple(inputs.shape)} and type {inputs.dtype} do not fit the network: layer "
                    f"{step.name!r} refused {', '.join(str(tuple(a.shape)) for a in read)} "
                    f"({str(error).splitlines()[0]})"
                ) from error
            values.append(z)
            backs.append(back)
        if len(inputs) and (values[-1].ndim == 0 or len(values[-1]) != len(inputs)):
            raise InputError(
                f"{f'layer {self.layer!r}' if self.layer else 'the network'} gives shape {tuple(values[-1].shape)} for "
                f"{len(inputs)} images: it must keep one row for each, also for a single one"
            )
        if not is_finite(values[-1]):
            broken = next(step.name for step, z in zip(self.steps, values[1:], strict=True) if not is_finite(z))
            raise NonFiniteRelevance(
                f"the network itself gives NaN or infinity, first at layer {broken!r}: its training may have diverged"
            )
        return values, backs

    def _piece(self, inputs: Tensor) -> int:
        """How many images are best taken at once: as many as keep the largest activation of a CPU near its cache."""
        if inputs.device.type != "cpu" or len(inputs) < 2:
            return max(1, len(inputs))
        shape = tuple(inputs.shape[1:])
        if shape not in self._bytes_per_image:
            try:
                values, _ = self._forward(inputs[:1])
            except InputError:
                return len(inputs)  # for the refusal to speak of all of them
            self._bytes_per_image[shape] = max(value.numel() * value.element_size() for value in values)
        pieces = math.ceil(len(inputs) * self._bytes_per_image[shape] / CACHED_BYTES)
        return math.ceil(len(inputs) / pieces)

    def _run(self, i: int, operation: Affine | Operation, inputs: list[Tensor]) -> tuple[Tensor, Back]:
        if not isinstance(operation, Affine):
            return operation.run(*inputs)
        (a,) = inputs
        return operation(a), lambda r: [propagate(self._parts[i], a, r)]

    def _relevance(
        self,
        backs: list[Back],
        start: Relevance,
        visit: Visit | None = None,
        chosen: Mapping[int, Condition] = _ANY,
    ) -> Tensor:
        """Relevance of the input in a tensor of its own. Raises `NonFiniteRelevance`."""
        relevance = self._walk_back(backs, start, visit, chosen).dense().contiguous()
        if not is_finite(relevance):
            self._walk_back(backs, start, self._refuse_non_finite, chosen)
        return relevance.clone() if relevance is start.tensor else relevance

    @torch.no_grad()
    def _walk_back(
        self,
        backs: list[Back],
        start: Relevance,
        visit: Visit | None = None,
        chosen: Mapping[int, Condition] = _ANY,
    ) -> Relevance:
        """Relevance of the input, from `start` at the output, through the `chosen` channels."""
        arrived: list[Relevance | None] = [None] * len(self.steps) + [start]
        for i in reversed(range(len(self.steps))):
            r = arrived.pop()
            assert r is not None, "every step leads to the output"
            parts = backs[i](chosen[i].of(r) if i in chosen else r)
            if visit:
                visit(i, r, parts)
            for source, part in zip(self.steps[i].sources, parts, strict=True):
                before = arrived[source + 1]
                arrived[source + 1] = part if before is None else before + part
        (relevance,) = arrived
        assert relevance is not None, "the output depends on the input"
        return relevance

    def _balance(self, i: int, values: list[Tensor], arrived: Relevance, left: Sequence[Relevance]) -> Balance | None:
        """What became of relevance at step `i`, if it is one where some is absorbed."""
        step, operation = self.steps[i], self.steps[i].operation
        n = len(values[0])
        before, after = _sums(n, arrived, left)
        if isinstance(operation, Affine):
            where = absorbed(self._parts[i], values[step.sources[0] + 1], arrived)
            where = {name: _per_image(share, n) for name, share in where.items()}
            return Balance(step.name, str(self.rules[i]), before, after, **where, entropy=torch.zeros_like(before))
        size = torch.finfo(before.dtype).eps * _per_image(arrived.dense().abs(), n)
        if bool(((before - after).abs() > 1e3 * size).any()):
            entropy = operation.entropy([values[source + 1] for source in step.sources], arrived)
            return _kept(step.name, type(operation).__name__, before, after, entropy)
        return None

    def _refuse_non_finite(self, i: int, arrived: Relevance, left: Sequence[Relevance]) -> None:
        if all(is_finite(r.dense()) for r in left):
            return
        rule = f" under {self.rules[i]}" if i in self.rules else ""
        raise NonFiniteRelevance(
            f"relevance became NaN or infinite at layer {self.steps[i].name!r}{rule}: its denominators are too small "
            f"for {arrived.tensor.dtype}; use a rule with a larger epsilon, or a wider number type"
        )


def _split(value: Any, size: int) -> Iterable[Any]:
    """Pieces of what there is one of for each image; what there is one of for all, again and again."""
    if isinstance(value, Tensor) and value.ndim:
        return tuple(value[i : i + size] for i in range(0, len(value), size))
    return itertools.repeat(value)


def _sums(images: int, arrived: Relevance, left: Sequence[Relevance]) -> tuple[Tensor, Tensor]:
    """What arrived at a step and what left it, as sums for each image."""
    return _per_image(arrived.dense(), images), torch.stack([_per_image(r.dense(), images) for r in left]).sum(0)


def _kept(layer: str, rule: str, arrived: Tensor, left: Tensor, entropy: Tensor | None = None) -> Balance:
    """The balance of a step without weights, which keeps what does not leave."""
    nothing = torch.zeros_like(arrived)
    entropy = nothing if entropy is None else entropy
    return Balance(layer, rule, arrived, left, arrived - left - entropy, nothing, nothing, entropy)


def _per_image(r: Tensor, images: int) -> Tensor:
    return r.reshape(images, -1).sum(1) if images else r.new_zeros(0)
