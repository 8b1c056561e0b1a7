"""What a model is before it is read: the network in its wrappers, in evaluation mode, with its effective weights."""

from __future__ import annotations

import copy
import sys
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ...errors import UnsupportedLayer

REPARAMETRISING = (prune.BasePruningMethod, WeightNorm, SpectralNorm)
"""Torch's own hooks that only compute a weight out of others."""


def unwrapped(model: Any) -> nn.Module:
    """The network inside `DataParallel`, `AveragedModel`, `torch.compile` and exported programs, or the model itself.

    Raises `UnsupportedLayer` for what is no network of modules.
    """
    program: Any = model
    if isinstance(program, _types("torch.export", "ExportedProgram")):
        model = program.module()
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise UnsupportedLayer(
            f"a TorchScript model ({getattr(model, 'original_name', 'function')}) cannot be read: explain the "
            "torch.nn.Module that it was made from, or save that with torch.export"
        )
    if not isinstance(model, nn.Module):
        raise UnsupportedLayer(f"a network is a torch.nn.Module, not {type(model).__name__}")
    inner = _inside(model)
    return model if inner is None else unwrapped(inner)


def _inside(module: nn.Module) -> nn.Module | None:
    """What a wrapper holds."""
    if isinstance(module, _types("torch._dynamo.eval_frame", "OptimizedModule")):
        return cast("nn.Module", module.get_submodule("_orig_mod"))
    wrappers = (nn.DataParallel, *_types("torch.nn.parallel", "DistributedDataParallel"))
    if isinstance(module, (*wrappers, *_types("torch.optim.swa_utils", "AveragedModel"))):
        return module.get_submodule("module")
    return None


def _types(home: str, name: str) -> tuple[Any, ...]:
    """A type of torch's, if its home has been imported, which takes seconds: no object is of it otherwise."""
    kind = getattr(sys.modules.get(home), name, None)
    return () if kind is None else (kind,)


def evaluated(model: Any, *, frozen: bool = False) -> nn.Module:
    """`model` in evaluation mode: a copy, so that branches on `training` go the right way.

    It shares the model's tensors, unless it is `frozen`: then later changes of the model do not reach it.
    """
    inner = unwrapped(model)
    check_hooks(inner)
    memo: dict[int, Any] = {id(tensor): tensor for tensor in tensors(inner)}
    if frozen:
        memo = {key: _copied(tensor) for key, tensor in memo.items()}
    twin = _plain(copy.deepcopy(inner, memo).eval())
    own = type(twin).__module__.startswith("torch.nn") and not list(twin.children())
    return nn.Sequential(twin) if own else twin


def _copied(tensor: Tensor) -> Tensor:
    copied = tensor.detach().clone()
    return nn.Parameter(copied, requires_grad=False) if isinstance(tensor, nn.Parameter) else copied


def tensors(model: nn.Module) -> list[Tensor]:
    """Parameters, buffers, and tensors that stand on a module as plain attributes."""
    plain = (value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor))
    return [*model.parameters(), *model.buffers(), *plain]


def versions(model: nn.Module) -> tuple[tuple[Any, ...], ...]:
    """What changes with any tensor of a network: which ones they are, and how often each was changed in place."""
    return tuple((id(t), t.data_ptr(), None if t.is_inference() else t._version) for t in tensors(model))


def _plain(twin: nn.Module) -> nn.Module:
    """The copy without wrappers inside, without the checks of exported programs, and with its effective weights."""
    exported = _is_exported(twin)
    for module in list(twin.modules()):
        for name, child in list(module.named_children()):
            inner = _inside(child)
            if inner is not None:
                setattr(module, name, unwrapped(inner))
        module._forward_hooks.clear()
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, REPARAMETRISING):
                with torch.no_grad():
                    hook(module, None)
            del module._forward_pre_hooks[key]
    return _without_guards(twin) if exported else twin


def _is_exported(module: nn.Module) -> bool:
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    return isinstance(module, fx.GraphModule) and any(map(_is_export_check, hooks))


def _without_guards(module: Any) -> nn.Module:
    """The graph of an exported program, without its checks that the inputs are those of the export."""
    graph = module.graph
    graph.set_codegen(fx.graph.CodeGen())
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            graph.erase_node(node)
        if node.op == "output" and isinstance(node.args[0], tuple | list) and len(node.args[0]) == 1:
            node.args = (node.args[0][0],)
    return fx.GraphModule(module, graph, "ExportedProgram")


def _is_export_check(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).startswith("torch.export") or "_check_inputs" in getattr(
        hook, "__name__", ""
    )


def check_hooks(model: nn.Module) -> None:
    """Raise `UnsupportedLayer` for hooks that an explanation would not see."""
    for name, module in model.named_modules():
        foreign = [
            hook
            for hook in module._forward_pre_hooks.values()
            if not isinstance(hook, REPARAMETRISING) and not _is_export_check(hook)
        ]
        foreign += [hook for hook in module._forward_hooks.values() if not _is_export_check(hook)]
        if foreign:
            raise UnsupportedLayer(f"layer {name!r} has a forward hook, which an explanation would not see: remove it")
