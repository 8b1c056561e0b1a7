"""The gradient of a chain of dense layers and ReLUs, written out by hand.

A batch of a small network takes about a millisecond, of which autograd, new tensors and one optimizer step a
layer would be a third. Here one forward and one backward pass go through buffers that are made once, and all
weights lie in one vector, so that the optimizer has a single parameter to update.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, fx, nn

from .distillation import Teacher


class DenseChain:
    """Weights and gradients of dense `layers` with a ReLU between each two, for batches of at most `batch_size`.

    `flat` holds a copy of all weights and biases, and `flat.grad` what `gradient` found; `write_back` puts the
    weights into the layers. With another `dtype` than theirs, products and what lies between the layers are in that
    one, while the loss, the weights that the optimizer changes, and their gradient stay as they are.
    """

    def __init__(self, layers: Sequence[nn.Linear], batch_size: int, dtype: torch.dtype | None = None) -> None:
        self.layers = layers
        stored = [p.detach() for layer in layers for p in (layer.weight, layer.bias)]
        self.flat = nn.Parameter(torch.cat([p.flatten() for p in stored]))
        self.flat.grad = torch.zeros_like(self.flat)
        # The same memory, unless the products are in another dtype.
        dtype = dtype or self.flat.dtype
        self.rounded, self.rounded_gradient = self.flat.detach().to(dtype), self.flat.grad.to(dtype)
        weights, gradients = _views(self.rounded, stored), _views(self.rounded_gradient, stored)
        self.weights, self.biases = weights[::2], weights[1::2]
        self.weight_gradients, self.bias_gradients = gradients[::2], gradients[1::2]
        self.hidden = [self.rounded.new_empty(batch_size, layer.out_features) for layer in layers[:-1]]
        self.deltas = [torch.empty_like(hidden) for hidden in self.hidden]
        self.minus_one = self.flat.detach().new_full((1, batch_size), -1)

    @torch.no_grad()
    def gradient(
        self,
        x: Float[Tensor, "n *shape"],
        labels: Int64[Tensor, " n"],
        teacher: Teacher | None = None,
        answers: Float[Tensor, "n classes"] | None = None,
    ) -> Float[Tensor, ""]:
        """The mean cross-entropy of a batch, or a teacher's loss; its gradient is then in `flat.grad`."""
        n, dtype = len(x), self.rounded.dtype
        if dtype != self.flat.dtype:
            self.rounded.copy_(self.flat)
        inputs = [x.flatten(1).to(dtype)]
        for weight, bias, hidden in zip(self.weights[:-1], self.biases[:-1], self.hidden, strict=True):
            inputs.append(torch.addmm(bias, inputs[-1], weight.t(), out=hidden[:n]).relu_())
        # One row for each class: softmax over the short axis of [n, classes] takes several times as long.
        z = torch.addmm(self.biases[-1][:, None], self.weights[-1], inputs[-1].t())
        log_p = z.log_softmax(0, self.flat.dtype)
        loss = log_p.gather(0, labels[None]).mean().neg_()
        delta = log_p.exp_().scatter_add_(0, labels[None], self.minus_one[:, :n]).div_(n)
        if teacher is not None and answers is not None:
            loss = teacher.loss(z.t().to(self.flat.dtype), labels, answers)
            softened = (z / teacher.temperature).softmax(0, self.flat.dtype).sub_(answers.t())
            delta.mul_(1 - teacher.weight).add_(softened, alpha=teacher.weight * teacher.temperature / n)
        delta = delta.to(dtype).t()
        for i in reversed(range(len(self.layers))):
            torch.mm(delta.t(), inputs[i], out=self.weight_gradients[i])
            torch.sum(delta, 0, out=self.bias_gradients[i])
            if i:
                before = torch.mm(delta, self.weights[i], out=self.deltas[i - 1][:n])
                # In place: nothing of the gradient passes where the ReLU gave 0.
                delta = torch.ops.aten.threshold_backward(before, inputs[i], 0, grad_input=before)
        if dtype != self.flat.dtype and self.flat.grad is not None:
            self.flat.grad.copy_(self.rounded_gradient)
        return loss

    @torch.no_grad()
    def write_back(self) -> None:
        """Give the layers the weights that were trained."""
        # Of the vector that the optimizer changes: what products are computed with may be rounded.
        stored = _views(self.flat.detach(), [p for layer in self.layers for p in (layer.weight, layer.bias)])
        for layer, weight, bias in zip(self.layers, stored[::2], stored[1::2], strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)


def find_dense_chain(network: nn.Module, n_axes: int) -> list[nn.Linear] | None:
    """The dense layers of a network that is nothing but dense layers with biases and a ReLU between each two.

    `n_axes` is the number of axes of its input; with more than two it has to flatten them. None for any other
    network, and for one that is frozen in part, shares layers, has hooks, or is not on the CPU in float32.
    """
    parameters = list(network.parameters())
    if not all(p.requires_grad and p.dtype == torch.float32 and p.device.type == "cpu" for p in parameters):
        return None
    try:
        nodes = list(fx.Tracer().trace(network).nodes)
    # The network's own code runs on stand-ins for tensors, and fails on them in any of these ways: no dense chain.
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError, AttributeError, NotImplementedError):
        return None
    modules = dict(network.named_modules(remove_duplicate=False))
    if any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in modules.values()):
        return None
    layers: list[nn.Linear] = []
    is_flat, after_dense = n_axes == 2, False
    for node, before in zip(nodes[1:-1], nodes, strict=False):
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        if node.args != (before,):
            return None
        match layer:
            case nn.Flatten(start_dim=1, end_dim=-1) if not layers:
                is_flat = True
            case nn.Linear() if type(layer) is nn.Linear and is_flat and not after_dense:
                layers.append(layer)
            case nn.ReLU() if after_dense:
                pass
            case _:
                return None
        after_dense = layer is layers[-1] if layers else False
    used = [p for layer in layers for p in (layer.weight, layer.bias)]
    is_chain = after_dense and nodes[-1].args == (nodes[-2],)
    return layers if is_chain and [id(p) for p in used] == [id(p) for p in parameters] else None


def _views(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Consecutive parts of a vector, each in the shape of one of `like`."""
    parts = torch.split(flat, [tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
