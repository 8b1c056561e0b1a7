"""Shapes in annotations are really checked, in these tests, by jaxtyping and beartype."""

from __future__ import annotations

import ast
from pathlib import Path

import jaxtyping
import pytest
import torch

import lrp_core
from lrp_core.lrp import attribute
from lrp_core.ranking import RelevanceStatistics

from .networks import mlp

KINDS = {"Float", "Int64", "UInt8", "Bool", "Shaped", "Int", "Num", "Integer"}
PACKAGE = Path(lrp_core.__file__).parent


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_shape_is_a_string(path: Path) -> None:
    """`Float[Tensor, n * shape]` without quotes cannot be evaluated, and its function is then not checked at all."""
    unquoted = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id in KINDS
        and isinstance(node.slice, ast.Tuple)
        and not isinstance(node.slice.elts[1], ast.Constant)
    ]
    assert not unquoted


def test_a_batch_and_labels_of_different_length_are_caught() -> None:
    statistics = RelevanceStatistics.empty(2, 3)
    with pytest.raises(jaxtyping.TypeCheckError):
        statistics.update(torch.ones(4, 3), torch.zeros(5, dtype=torch.int64))


def test_what_is_no_tensor_is_caught() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        attribute(mlp([2, 2]), [[0.0, 1.0]])
