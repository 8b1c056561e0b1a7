"""The way from a page to the core is straight: nothing in pages/_ui only hands on what it was given."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lrp_core import views
from pages._ui.registry import FOLDER

MODULES = sorted((FOLDER / "_ui").glob("*.py"))


def only_hands_on(function: ast.FunctionDef) -> bool:
    """Whether a body, docstring and imports aside, is one name, or one call with the function's own arguments."""
    own = {a.arg for a in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]}
    own |= {a.arg for a in (function.args.vararg, function.args.kwarg) if a is not None}

    def is_dotted(node: ast.expr) -> bool:
        return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and is_dotted(node.value))

    def is_own(node: ast.expr) -> bool:
        """An argument as it came, or a field of it."""
        while isinstance(node, ast.Attribute | ast.Starred):
            node = node.value
        return isinstance(node, ast.Name) and node.id in own

    def uses_own_part(node: ast.expr) -> bool:
        """An object's method may stand before what the object keeps to itself."""
        return ast.unparse(node).startswith("self._")

    def is_given(node: ast.expr) -> bool:
        return is_own(node) or hands_on(node)

    def hands_on(node: ast.expr | None) -> bool:
        if isinstance(node, ast.Lambda):
            own.update(a.arg for a in node.args.args)
            return hands_on(node.body)
        if isinstance(node, ast.Call):
            return (
                is_dotted(node.func)
                and not uses_own_part(node.func)
                and all(map(is_given, [*node.args, *(k.value for k in node.keywords)]))
            )
        return node is not None and is_dotted(node) and not is_own(node)

    def is_aside(statement: ast.stmt) -> bool:
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        return is_text or isinstance(statement, ast.Import | ast.ImportFrom)

    body = [statement for statement in function.body if not is_aside(statement)]
    return len(body) == 1 and isinstance(body[0], ast.Return | ast.Expr) and hands_on(body[0].value)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.name)
def test_no_function_only_hands_on(file: Path):
    functions = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in functions if only_hands_on(node)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(a, b):\n  '''Text.'''\n  from m import g\n  return g(b, a)", True),
        ("def f(a):\n  return m.g(a.x, key=a)", True),
        ("def f(a, *b, **c):\n  g(a, *b, **c)", True),
        ("def f():\n  from m import G\n  return G", True),
        ("def f():\n  return tuple(m.G)", True),
        ("def f(a):\n  return lambda report: m.g(a, report)", True),
        ("def f(self):\n  return self._part.g()", False),
        ("def f(a):\n  return g(a, 1)", False),
        ("def f(a):\n  return g(a) + 1", False),
        ("def f(a):\n  b = g(a)\n  return h(b)", False),
        ("def f(a):\n  return g(T[a])", False),
        ("def f(a):\n  return f'{a}'", False),
    ],
)
def test_what_handing_on_is(text: str, expected: bool):
    [function] = ast.parse(text).body
    assert only_hands_on(function) == expected


def test_pages_and_views_open_no_data_themselves():
    files = [*FOLDER.rglob("*.py"), *Path(views.__file__).parent.glob("*.py")]
    assert [file.name for file in files if "load_dataset(" in file.read_text()] == []
