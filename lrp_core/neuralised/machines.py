"""Kernel machines with one output for each class, read from scikit-learn or fitted with its help."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import InputError
from ..lrp import register
from .additive import Linear
from .expansion import Expansion
from .exponential import Rbf
from .kernels import Kernel


class KernelSum(nn.Module):
    """f_k(x) = b_k + sum_i c_ki k(x, u_i): rows x [n, d] to outputs [n, classes], in float64."""

    vectors: Tensor
    coefficients: Tensor
    bias: Tensor

    def __init__(self, kernel: Kernel, vectors: Tensor, coefficients: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("vectors", vectors)
        self.register_buffer("coefficients", coefficients)
        self.register_buffer("bias", bias)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        rows = self.kernel.checked(x, "inputs").to(self.vectors)
        if rows.shape[1] != self.vectors.shape[1]:
            raise InputError(f"this machine takes rows of {self.vectors.shape[1]} features, not of {rows.shape[1]}")
        return self.kernel.expansion(rows, self.vectors, self.coefficients) + self.bias


register(KernelSum, lambda layer: Expansion(layer.kernel, layer.vectors, layer.coefficients, layer.bias))


class KernelMachine(nn.Sequential):
    """A kernel machine of `classes`, one against the rest: the class of the largest output is the answer.

    `vectors` [m, d] are the support vectors u_i, `coefficients` [classes, m] what scikit-learn calls dual coefficients
    (a_i y_i, and 0 for vectors that a class does not need), `bias` [classes]. Of two classes the outputs are -f and f.
    `lc.attribute` explains it under any composite, for there are no layers with weights: kernels that are sums over
    the features exactly, R_d = b / d + sum_i c_i k_d(x_d, u_id), the others by Taylor expansion at a root, where what
    is not conserved stands in the balance of `Explainer.explain` (Bach et al. 2015). Raises `InputError`.
    """

    expansion: KernelSum

    def __init__(self, kernel: Kernel, vectors: Any, coefficients: Any, bias: Any, classes: Sequence[Any]) -> None:
        if not isinstance(kernel, Kernel):
            raise InputError(f"kernel must be one of this package's, such as Intersection(), not {kernel!r}")
        rows = kernel.checked(vectors, "support vectors")
        factors = torch.as_tensor(coefficients, dtype=torch.float64).detach()
        offsets = torch.as_tensor(bias, dtype=torch.float64).detach()
        if len(classes) < 2 or factors.shape != (len(classes), len(rows)) or offsets.shape != (len(classes),):
            raise InputError(
                f"a machine of {len(rows)} vectors and {len(classes)} classes, at least 2, has as many rows of "
                f"coefficients and biases, not shapes {tuple(factors.shape)} and {tuple(offsets.shape)}"
            )
        super().__init__(OrderedDict(expansion=KernelSum(kernel, rows, factors, offsets)))
        self.classes = tuple(classes)

    @property
    def kernel(self) -> Kernel:
        return self.expansion.kernel

    @property
    def n_features(self) -> int:
        return self.expansion.vectors.shape[1]

    def keep(self, columns: Any) -> KernelMachine:
        """The machine of these features alone, in their order: small(x[:, columns]) = full(x with zeros elsewhere).

        For kernels that are sums, the parts of the other features are left out. For exponential ones, their distance
        from zero to each vector goes into its coefficient. Raises `InputError` for columns that are not there, or
        twice.
        """
        kept = torch.as_tensor(columns).detach().flatten()
        if kept.is_floating_point() or kept.dtype == torch.bool or not len(kept):
            raise InputError(f"columns must be positions of features to keep, at least one, not {columns!r:.60}")
        kept = kept.long()
        if not 0 <= int(kept.min()) <= int(kept.max()) < self.n_features or len(set(kept.tolist())) < len(kept):
            raise InputError(f"columns must be different positions between 0 and {self.n_features - 1}")
        full = self.expansion
        gone = torch.ones(self.n_features, dtype=torch.bool).index_fill_(0, kept, False)
        factors = full.coefficients
        if bool(gone.any()):
            factors = factors * self.kernel.at_zero(full.vectors[:, gone])
        return KernelMachine(self.kernel, full.vectors[:, kept], factors, full.bias, self.classes)


def fit_machine(features: Any, labels: Any, kernel: Kernel, *, c: float = 1.0) -> KernelMachine:
    """scikit-learn's SVC(C=c) for each class against the rest, on rows [n, d] and their labels [n].

    The kernel matrix is computed once for all classes. Raises `InputError`.
    """
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import SVC

    if not isinstance(kernel, Kernel):
        raise InputError(f"kernel must be one of this package's, such as Intersection(), not {kernel!r}")
    rows = kernel.checked(features)
    answers = np.asarray(labels)
    if answers.shape != (len(rows),):
        raise InputError(f"labels must be one for each of {len(rows)} rows, not shape {answers.shape}")
    if len(np.unique(answers)) < 2:
        raise InputError(
            "a machine tells classes apart, and all labels are the same: give rows of at least two classes"
        )
    if isinstance(c, bool) or not isinstance(c, int | float) or not 0 < c < float("inf"):
        raise InputError(f"c must be a number above 0, not {c!r}")
    matrix = kernel.matrix(rows, rows).numpy()
    fitted = OneVsRestClassifier(SVC(kernel="precomputed", C=c)).fit(matrix, answers)
    return read_machine(fitted, rows, kernel)


def read_machine(estimator: Any, features: Any = None, kernel: Kernel | None = None) -> KernelMachine:
    """A fitted SVC of two classes, or a OneVsRestClassifier of SVC, with the same decision values.

    SVC of more than two classes decides between pairs of them, which gives no output for each class: wrap it in
    OneVsRestClassifier. `features` are the rows [n, d] that it was fitted on, asked for where its kernel is a function
    or "precomputed"; for the latter, `kernel` says which one was. Raises `InputError`.
    """
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import SVC

    if not isinstance(estimator, SVC | OneVsRestClassifier):
        raise InputError(f"a machine is read from SVC or OneVsRestClassifier(SVC(...)), not {type(estimator).__name__}")
    if not hasattr(estimator, "classes_"):
        raise InputError(f"this {type(estimator).__name__} is not fitted yet: call fit first")
    binary = [estimator] if isinstance(estimator, SVC) else estimator.estimators_
    if not all(isinstance(one, SVC) for one in binary):
        raise InputError(
            "OneVsRestClassifier must hold an SVC for each class, fitted on rows both in the class and outside of it"
        )
    if isinstance(estimator, SVC) and len(estimator.classes_) > 2:
        raise InputError(
            f"SVC decides between pairs of its {len(estimator.classes_)} classes: fit OneVsRestClassifier(SVC(...)) "
            "for one output for each class"
        )
    if getattr(estimator, "multilabel_", False) or any(hasattr(one.dual_coef_, "toarray") for one in binary):
        raise InputError("a machine is read from an SVC of dense rows, each with one label: fit it on such rows")
    used = _kernel_of(binary[0], kernel)
    if callable(binary[0].kernel) or binary[0].kernel == "precomputed":
        if features is None:
            raise InputError("this SVC does not hold what it was fitted on: give it as features")
        rows = used.checked(features)
        many = binary[0].shape_fit_[0]
        if len(rows) != many:
            raise InputError(f"features must be the {many} rows that the SVC was fitted on, not {len(rows)}")
        support = [one.support_ for one in binary]
    else:
        parts = [used.checked(one.support_vectors_, "support vectors") for one in binary]
        ends = np.cumsum([0, *map(len, parts)])
        rows, support = torch.cat(parts), [np.arange(*pair) for pair in pairwise(ends)]
    factors = np.zeros((len(binary), len(rows)))
    for own, one, places in zip(factors, binary, support, strict=True):
        own[places] = one.dual_coef_[0]
    bias = np.array([one.intercept_[0] for one in binary])
    needed = np.flatnonzero((factors != 0).any(0))
    factors = factors[:, needed]
    if len(binary) == 1:
        factors, bias = np.concatenate([-factors, factors]), np.concatenate([-bias, bias])
    return KernelMachine(used, rows[torch.from_numpy(needed)], factors, bias, tuple(estimator.classes_.tolist()))


def _kernel_of(one: Any, kernel: Kernel | None) -> Kernel:
    """The kernel that an SVC was fitted with. Raises `InputError`."""
    own = one.kernel
    if own == "precomputed":
        if not isinstance(kernel, Kernel):
            raise InputError("say which kernel was precomputed: kernel=Intersection(), or another of this package's")
        return kernel
    if kernel is not None and kernel != own:
        raise InputError(f"kernel is for an SVC whose kernel was precomputed, and this one has {own!r}: leave it out")
    if isinstance(own, Kernel):
        return own
    if own == "linear":
        return Linear()
    if own == "rbf":
        return Rbf(float(one._gamma))
    raise InputError(
        f"SVC's kernel {own!r} has no relevance here: choose 'linear', 'rbf', Intersection(), "
        "AdditiveChi2() or ExpChi2()"
    )
